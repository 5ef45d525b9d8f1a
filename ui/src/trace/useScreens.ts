/** Whether a run that goes on can be looked at live, and the screens it has. */

import { useQuery } from "@tanstack/react-query";

import { get, type Schemas } from "../api/http";
import type { RunDetail } from "../api/types";
import { bundledJob } from "../bundle/place";

export type ScreenState = Schemas["ScreenState"];
export type ScreenItem = Schemas["ScreenItem"];

const SOON_MS = 2_000;
const LATER_MS = 10_000;

/** Null for a run that is over, and while nothing is known yet. */
export function useScreens(run: RunDetail): ScreenState | null {
  const goesOn = run.end_time === null && run.status !== "interrupted" && bundledJob === null;
  const query = useQuery({
    queryKey: ["screens", run.id, run.attempt],
    queryFn: ({ signal }) => get("/v2/traces/{trace_id}/screen", { path: { trace_id: run.id }, signal }),
    enabled: goesOn,
    // Where an environment stands is no step, so nobody tells of it.
    refetchInterval: ({ state }) => {
      const known = state.data?.state;
      return known === "waiting" ? SOON_MS : known === "elsewhere" ? LATER_MS : false;
    },
  });
  return goesOn ? (query.data ?? null) : null;
}
