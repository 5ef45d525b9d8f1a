/** How far a job is, and what its members came to: graded, broken, still at it. */

import type { Counts } from "../api/types";
import { count } from "../parts/format";
import "./progress.css";

export function Progress({ counts }: { counts: Counts }) {
  const ungraded = Object.values(counts.ungraded).reduce((sum, one) => sum + one, 0);
  const parts = [
    { name: "graded", value: counts.graded },
    { name: "ungraded", value: ungraded },
    { name: "invalid", value: counts.invalid },
    { name: "running", value: counts.running },
  ];
  const says = parts.filter((part) => part.value).map((part) => `${count(part.value)} ${part.name}`);
  return (
    <span className="progress" title={says.join(", ")}>
      <span className="progress-text number">
        {count(counts.graded)}
        <span className="quiet">/{count(counts.runs)}</span>
      </span>
      <span className="progress-bar" aria-hidden="true">
        {parts.map((part) => (part.value ? <span key={part.name} className={`progress-${part.name}`} style={{ flexGrow: part.value }} /> : null))}
      </span>
    </span>
  );
}
