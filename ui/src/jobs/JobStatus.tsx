/** How a job stands. */

import type { Job } from "../api/types";

const TONES: Record<Job["status"], string> = { running: "accent", completed: "", interrupted: "warn", cancelled: "warn" };

export function JobStatus({ status }: { status: Job["status"] }) {
  return (
    <span className={`badge ${TONES[status] ?? ""}`}>
      {status === "running" ? <span className="pulse" /> : null}
      {status}
    </span>
  );
}
