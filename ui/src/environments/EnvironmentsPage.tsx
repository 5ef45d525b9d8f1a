/** Environments that were deployed here, and their newest builds. */

import { useQuery } from "@tanstack/react-query";
import { Link, useNavigate, useParams, useSearch } from "@tanstack/react-router";

import { get, type Schemas } from "../api/http";
import { type Column, DataTable, sortIn, sortOut } from "../parts/DataTable";
import { Empty } from "../parts/Empty";
import { Failure } from "../parts/Failure";
import { count } from "../parts/format";
import { Moment } from "../parts/Moment";
import { Reward } from "../parts/Reward";
import { Line } from "../trace/Text";
import type { Run } from "../api/types";
import { useTitle } from "../parts/useTitle";
import "../jobs/jobs.css";

type Environment = Schemas["EnvironmentItem"];

const TONES: Record<string, string> = { SUCCEEDED: "good", FAILED: "bad", TIMED_OUT: "bad", STOPPED: "warn" };

function Build({ of }: { of: Environment["latest_build"] }) {
  if (!of) return <span className="quiet">never built</span>;
  return (
    <>
      <span className={`badge ${TONES[of.status] ?? "accent"}`}>{of.status.toLowerCase().replaceAll("_", " ")}</span> <span className="quiet number">version {of.version}</span>
    </>
  );
}

const COLUMNS: Column<Environment>[] = [
  {
    id: "name",
    header: "Environment",
    width: "minmax(200px, 2fr)",
    value: (one) => one.name.toLowerCase(),
    cell: (one) => (
      <Link to="/environments/$environmentId" params={{ environmentId: one.id }} className="row-link">
        <Line>{one.name}</Line>
      </Link>
    ),
  },
  { id: "build", header: "Newest build", width: "minmax(180px, 1.4fr)", value: (one) => one.latest_build?.version, cell: (one) => <Build of={one.latest_build} /> },
  { id: "updated", header: "Changed", width: "130px", isRight: true, value: (one) => one.updated_at, cell: (one) => <Moment iso={one.updated_at} /> },
];

export function EnvironmentsPage() {
  useTitle("Environments");
  const search = useSearch({ strict: false });
  const navigate = useNavigate();
  const query = useQuery({ queryKey: ["environments"], queryFn: ({ signal }) => get("/v2/registry", { query: { limit: 100, sort_by: "date" }, signal }) });
  return (
    <div className="list-page">
      <header className="list-head">
        <h1>Environments</h1>
        <span className="quiet number">{query.data ? count(query.data.total) : ""}</span>
      </header>
      {query.error ? (
        <div className="page">
          <Failure error={query.error} />
        </div>
      ) : query.data && !query.data.items.length ? (
        <Empty icon="environments" title="No environment is kept here" command="hud init my-environment">
          Evaluations run environments from their files; nothing has to be kept here for that.
        </Empty>
      ) : (
        <DataTable label="Environments" rows={query.data?.items ?? []} columns={COLUMNS} rowKey={(one) => one.id} sort={sortIn(search.sort)} onSort={(sort) => void navigate({ to: ".", search: { ...search, sort: sortOut(sort) }, replace: true })} />
      )}
    </div>
  );
}

const RUNS: Column<Run>[] = [
  {
    id: "task",
    header: "Newest runs",
    width: "minmax(180px, 2fr)",
    value: (run) => run.task_slug,
    cell: (run) => (
      <Link to="/trace/$traceId" params={{ traceId: run.id }} className="row-link">
        <Line>{run.task_slug}</Line>
      </Link>
    ),
  },
  { id: "reward", header: "Reward", width: "120px", value: (run) => run.reward, cell: (run) => <Reward run={run} /> },
  { id: "model", header: "Model", width: "minmax(120px, 1fr)", value: (run) => run.model, cell: (run) => <Line>{run.model ?? ""}</Line> },
  { id: "began", header: "Began", width: "120px", isRight: true, value: (run) => run.start_time, cell: (run) => <Moment iso={run.start_time} /> },
];

export function EnvironmentPage() {
  const { environmentId } = useParams({ from: "/environments/$environmentId" });
  const query = useQuery({ queryKey: ["environment", environmentId], queryFn: ({ signal }) => get("/v2/registry/{environment_id}", { path: { environment_id: environmentId }, signal }) });
  const name = query.data?.name;
  useTitle(name, "environment");
  const runs = useQuery({ queryKey: ["runs in", name], queryFn: ({ signal }) => get("/v2/traces", { query: { limit: 200, env: name ?? "" }, signal }), enabled: name !== undefined });
  if (query.error)
    return (
      <div className="page">
        <Failure error={query.error} />
      </div>
    );
  if (!query.data) return <div aria-busy="true" />;
  return (
    <div className="list-page">
      <header className="list-head">
        <div>
          <nav className="crumbs" aria-label="Where this is">
            <Link to="/environments">environments</Link>
          </nav>
          <h1>
            <Line>{query.data.name}</Line>
          </h1>
        </div>
        <Build of={query.data.latest_build} />
      </header>
      <DataTable label="Runs" rows={runs.data?.items ?? []} columns={RUNS} rowKey={(run) => run.id} sort={null} onSort={() => undefined} rowHeight={36} />
    </div>
  );
}
