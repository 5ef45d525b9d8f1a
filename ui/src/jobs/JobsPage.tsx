/** Jobs, newest first. */

import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";

import { get } from "../api/http";
import { Failure } from "../parts/Failure";

export function JobsPage() {
  const query = useQuery({ queryKey: ["jobs"], queryFn: ({ signal }) => get("/v2/jobs", { signal }) });
  if (query.error) return <div className="page"><Failure error={query.error} /></div>;
  return (
    <div className="page">
      <h1>Jobs</h1>
      <ul>
        {query.data?.items.map((job) => (
          <li key={job.id}>
            <Link to="/jobs/$jobId" params={{ jobId: job.id }} className="link">{job.name}</Link>
          </li>
        ))}
      </ul>
    </div>
  );
}
