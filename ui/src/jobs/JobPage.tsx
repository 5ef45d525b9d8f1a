/** One job. */

import { useQuery } from "@tanstack/react-query";
import { Link, useParams } from "@tanstack/react-router";

import { get } from "../api/http";
import { Failure } from "../parts/Failure";

export function JobPage() {
  const { jobId } = useParams({ from: "/jobs/$jobId" });
  const query = useQuery({ queryKey: ["runs", jobId], queryFn: ({ signal }) => get("/v2/jobs/{job_id}/traces", { path: { job_id: jobId }, signal }) });
  if (query.error) return <div className="page"><Failure error={query.error} /></div>;
  return (
    <div className="page">
      <ul>
        {query.data?.items.map((run) => (
          <li key={run.id}>
            <Link to="/trace/$traceId" params={{ traceId: run.id }} className="link">{run.task_slug}</Link>
          </li>
        ))}
      </ul>
    </div>
  );
}
