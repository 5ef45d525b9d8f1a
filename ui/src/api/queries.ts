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
