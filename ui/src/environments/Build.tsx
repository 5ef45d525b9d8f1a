/** A build in a word: what became of it, and which version it is. */

import type { Schemas } from "../api/http";
import "./environments.css";

export type BuildRow = Schemas["BuildRow"];

const TONES: Record<string, string> = { SUCCEEDED: "good", FAILED: "bad", TIMED_OUT: "bad", STOPPED: "warn" };
const WORDS: Record<string, string> = { SUCCEEDED: "built", IN_PROGRESS: "building", UPLOADING: "waits for its upload", CANCELLING: "stopping" };

export function isOver(status: string): boolean {
  return status in TONES;
}

export function BuildStatus({ status }: { status: string }) {
  return (
    <span className={`badge ${TONES[status] ?? "accent"}`}>
      {isOver(status) ? null : <span className="pulse" />}
      {WORDS[status] ?? status.toLowerCase().replaceAll("_", " ")}
    </span>
  );
}

export function Version({ of }: { of: { status: string; version: number | null } | null }) {
  if (!of) return <span className="quiet">never built</span>;
  return (
    <span className="build-status">
      <BuildStatus status={of.status} />
      {of.version === null ? null : <span className="quiet number">version {of.version}</span>}
    </span>
  );
}
