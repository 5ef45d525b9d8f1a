/** What pages ask the API for, each under a name by which it is remembered. */

import { QueryClient, queryOptions } from "@tanstack/react-query";

import { ApiFailure, get } from "./http";

export const queries = new QueryClient({
  defaultOptions: {
    queries: {
      staleTime: 15_000,
      refetchOnWindowFocus: false,
      retry: (times, error) => times < 2 && (!(error instanceof ApiFailure) || error.status === 0 || error.status >= 500),
    },
  },
});

export const meQuery = queryOptions({
  queryKey: ["me"],
  queryFn: ({ signal }) => get("/v2/auth/me", { signal }),
  staleTime: 300_000,
});

export function runQuery(id: string) {
  return queryOptions({
    queryKey: ["run", id],
    queryFn: ({ signal }) => get("/v2/trace/{trace_id}", { path: { trace_id: id }, signal }),
  });
}

export function jobQuery(id: string) {
  return queryOptions({
    queryKey: ["job", id],
    queryFn: ({ signal }) => get("/v2/jobs/{job_id}", { path: { job_id: id }, signal }),
  });
}

/** Long enough for the page to find what was asked for before it was there itself. */
const AHEAD_MS = 5_000;
const FIRST_RUNS = 200;

/** The runs that a job is opened with. */
export function firstRunsQuery(id: string) {
  return queryOptions({
    queryKey: ["first runs", id],
    queryFn: ({ signal }) => get("/v2/jobs/{job_id}/traces", { path: { job_id: id }, query: { limit: FIRST_RUNS }, signal }),
    staleTime: AHEAD_MS,
    gcTime: AHEAD_MS,
  });
}

const FIRST_LINES = 400;
const FIRST_STEPS = 16;

/** The lines that a trace is opened with: around the step `seq`, or from the beginning. */
export function firstLinesQuery(id: string, seq: number | null) {
  const from = seq === null ? { offset: 0 } : { after: Math.max(0, seq - 1 - FIRST_LINES / 4) };
  return queryOptions({
    queryKey: ["first lines", id, seq],
    queryFn: ({ signal }) => get("/v2/trace/{trace_id}/outline", { path: { trace_id: id }, query: { ...from, limit: FIRST_LINES }, signal }),
    staleTime: AHEAD_MS,
    gcTime: AHEAD_MS,
  });
}

/** The steps that a trace is opened with. */
export function firstStepsQuery(id: string, seq: number | null) {
  return queryOptions({
    queryKey: ["first steps", id, seq],
    queryFn: ({ signal }) => get("/v2/trace/{trace_id}/steps", { path: { trace_id: id }, query: { after: Math.max(0, (seq ?? 1) - 3), limit: FIRST_STEPS }, signal }),
    staleTime: AHEAD_MS,
    gcTime: AHEAD_MS,
  });
}

/** The step that an address names: `?step=7` or `#step-7`. */
export function seqIn(step: string | undefined, hash: string): number | null {
  const named = step ?? /^#?step-(\d{1,15})$/.exec(hash)?.[1];
  const seq = Number(named ?? Number.NaN);
  return Number.isSafeInteger(seq) && seq >= 0 ? seq : null;
}
