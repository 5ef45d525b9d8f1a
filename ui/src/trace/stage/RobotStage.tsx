/** A robot's run: what its cameras filmed, what it felt and what it was told, tick by tick. */

import type { TraceSource } from "../source";

export function RobotStage({ source }: { source: TraceSource; cursor: number; onGo: (place: number) => void }) {
  return <p className="stage-note">{source.total} steps.</p>;
}
