/** The files of a bundle, as `hud view --bundle` writes them; what was read last is kept. */

import { ApiFailure, request } from "../api/http";
import type { JobDetail, OutlineItem, Run, RunDetail, StepItem } from "../api/types";
import type { Schemas } from "../api/http";

export interface JobFile {
  job: JobDetail;
  scorecard: Schemas["Scorecard"];
  runs: number;
  runs_together: number;
}

export interface Piece {
  lines: OutlineItem[];
  steps: StepItem[];
}

export type Kinds = Schemas["KindsPage"];

export interface TraceFile {
  run: RunDetail;
  /** Of each piece: its first step, its last one, how many there are. */
  pieces: [number, number, number][];
  kinds: Kinds | null;
  first: Piece;
}

const KEPT = 24;
const kept = new Map<string, Promise<unknown>>();

export const jobFile = () => read<JobFile>("data/job.json");
export const runsFile = (page: number) => read<Run[]>(`data/runs/${page}.json`);
export const traceFile = (id: string) => read<TraceFile>(`data/traces/${id}.json`);
export const kindsFile = (id: string) => read<Kinds>(`data/traces/${id}/kinds.json`);
export const pieceFile = (id: string, index: number) => read<Piece>(`data/traces/${id}/${index}.json`);

function read<T>(name: string): Promise<T> {
  const held = kept.get(name) as Promise<T> | undefined;
  kept.delete(name);
  const asked = held ?? load<T>(name);
  kept.set(name, asked);
  for (const oldest of kept.keys()) {
    if (kept.size <= KEPT) break;
    kept.delete(oldest);
  }
  return asked;
}

async function load<T>(name: string): Promise<T> {
  try {
    return (await (await request(name)).json()) as T;
  } catch (error) {
    kept.delete(name);
    if (error instanceof ApiFailure && error.status === 0) throw new ApiFailure(0, "A file of this copy cannot be loaded.", "Is its host still there?");
    if (error instanceof SyntaxError) throw new ApiFailure(502, "A file of this copy is damaged.", "Write it anew: hud view --bundle DIR JOB.");
    throw error;
  }
}
