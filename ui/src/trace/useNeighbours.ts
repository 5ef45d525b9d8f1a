/** The runs before and after one in its job, by task, repeat and attempt. */

import { useQuery } from "@tanstack/react-query";

import { get } from "../api/http";
import type { RunDetail } from "../api/types";

export interface Neighbours {
  before?: string;
  after?: string;
}

const LOOKED_AT = 1000;

export function useNeighbours(run: RunDetail): Neighbours {
  const jobId = run.job_id;
  const { data } = useQuery({
    queryKey: ["neighbours", jobId],
    queryFn: ({ signal }) => get("/v2/jobs/{job_id}/traces", { path: { job_id: jobId ?? "" }, query: { limit: LOOKED_AT }, signal }),
    select: (page) => page.items.map((item) => item.id),
    enabled: jobId !== null,
  });
  const at = data?.indexOf(run.id) ?? -1;
  if (!data || at < 0) return {};
  const [before, after] = [data[at - 1], data[at + 1]];
  return { ...(before ? { before } : {}), ...(after ? { after } : {}) };
}
