/** One environment: its versions and how each was built, what ran in it, and the variables it is run with. */

import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { Link, useNavigate, useParams, useSearch } from "@tanstack/react-router";
import { useMemo, useState } from "react";

import { ApiFailure, change, get, type Schemas } from "../api/http";
import type { Run } from "../api/types";
import { type Column, DataTable, sortIn, sortOut } from "../parts/DataTable";
import { Dialog } from "../parts/Dialog";
import { Empty } from "../parts/Empty";
import { Failure } from "../parts/Failure";
import { bytes, duration } from "../parts/format";
import { Icon, type IconName } from "../parts/Icon";
import { Moment } from "../parts/Moment";
import { Reward } from "../parts/Reward";
import { useTitle } from "../parts/useTitle";
import { Line } from "../trace/Text";
import { type BuildRow, BuildStatus, Version } from "./Build";
import { Variables } from "./Variables";
import "../jobs/jobs.css";

type Environment = Schemas["EnvironmentItem"];

const VIEWS: Record<string, { label: string; icon: IconName }> = {
  versions: { label: "Versions", icon: "environments" },
  runs: { label: "Runs", icon: "tasksets" },
  variables: { label: "Variables", icon: "key" },
};

export function environmentQuery(id: string) {
  return { queryKey: ["environment", id], queryFn: ({ signal }: { signal: AbortSignal }) => get("/v2/registry/{environment_id}", { path: { environment_id: id }, signal }) };
}

export function buildsQuery(id: string) {
  return { queryKey: ["builds", id], queryFn: ({ signal }: { signal: AbortSignal }) => get("/v2/registry/{environment_id}/builds", { path: { environment_id: id }, query: { limit: 500 }, signal }) };
}

export function EnvironmentPage() {
  const { environmentId } = useParams({ from: "/environments/$environmentId" });
  const search = useSearch({ strict: false });
  const navigate = useNavigate();
  const query = useQuery(environmentQuery(environmentId));
  useTitle(query.data?.name, "environment");
  if (query.error instanceof ApiFailure && query.error.status === 404)
    return (
      <Empty icon="unknown" title="There is no such environment here" command="hud deploy .">
        It was deployed elsewhere, or by another team.
      </Empty>
    );
  if (query.error)
    return (
      <div className="page">
        <Failure error={query.error} onRetry={() => void query.refetch()} />
      </div>
    );
  if (!query.data) return <div aria-busy="true" />;
  const view = search.view && search.view in VIEWS ? search.view : "versions";
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
        <Version of={query.data.latest_build} />
        <span className="grow" />
        <div className="tabs" role="tablist">
          {Object.entries(VIEWS).map(([id, one]) => (
            <button key={id} type="button" role="tab" aria-selected={view === id} onClick={() => void navigate({ to: ".", search: { ...search, view: id, sort: undefined }, replace: true })}>
              <Icon name={one.icon} size={14} />
              {one.label}
            </button>
          ))}
        </div>
      </header>
      {view === "runs" ? <Runs of={query.data} /> : view === "variables" ? <Variables of={query.data} /> : <Versions of={query.data} />}
    </div>
  );
}

function Versions({ of }: { of: Environment }) {
  const search = useSearch({ strict: false });
  const navigate = useNavigate();
  const query = useQuery(buildsQuery(of.id));
  const [asking, setAsking] = useState<BuildRow | null>(null);
  const run = of.latest_build?.version ?? null;
  const columns = useMemo((): Column<BuildRow>[] => {
    return [
      {
        id: "version",
        header: "Version",
        width: "minmax(96px, 0.6fr)",
        phone: "minmax(0, 1fr)",
        value: (build) => build.version,
        cell: (build) => (
          <Link to="/environments/$environmentId/builds/$buildId" params={{ environmentId: of.id, buildId: build.id }} className="row-link">
            {build.version === null ? "no version" : `version ${build.version}`}
          </Link>
        ),
      },
      { id: "status", header: "Build", width: "minmax(130px, 0.8fr)", phone: "96px", value: (build) => build.status, cell: (build) => <BuildStatus status={build.status} /> },
      { id: "why", header: "", width: "minmax(140px, 2fr)", cell: (build) => (build.error_message ? <span className="quiet"><Line>{build.error_message}</Line></span> : null) },
      { id: "actor", header: "Asked for by", width: "minmax(90px, 0.8fr)", value: (build) => build.actor, cell: (build) => <Line>{build.actor ?? ""}</Line> },
      { id: "size", header: "Context", width: "78px", isRight: true, value: (build) => build.size_bytes, cell: (build) => (build.size_bytes === null ? <span className="quiet">–</span> : bytes(build.size_bytes)) },
      { id: "took", header: "Took", width: "72px", isRight: true, value: (build) => build.duration_seconds, cell: (build) => (build.duration_seconds === null ? <span className="quiet">–</span> : duration(build.duration_seconds)) },
      { id: "created", header: "When", width: "104px", isRight: true, value: (build) => build.created_at, cell: (build) => <Moment iso={build.created_at} /> },
      {
        id: "run",
        header: "",
        width: "132px",
        phone: "112px",
        isRight: true,
        cell: (build) =>
          build.version !== null && build.version === run ? (
            <span className="badge accent">what is run</span>
          ) : build.status === "SUCCEEDED" && build.version !== null ? (
            <button type="button" className="button small above" onClick={() => setAsking(build)}>
              {run !== null && build.version > run ? "Run this" : "Roll back"}
            </button>
          ) : null,
      },
    ];
  }, [of.id, run]);
  if (query.error)
    return (
      <div className="page">
        <Failure error={query.error} onRetry={() => void query.refetch()} />
      </div>
    );
  if (query.data && !query.data.items.length)
    return (
      <Empty icon="environments" title="Nothing was built yet" command="hud deploy .">
        Each deploy is a build, and one that succeeds a version.
      </Empty>
    );
  return (
    <>
      <DataTable label="Versions" rows={query.data?.items ?? []} columns={columns} rowKey={(build) => build.id} sort={sortIn(search.sort)} onSort={(sort) => void navigate({ to: ".", search: { ...search, sort: sortOut(sort) }, replace: true })} />
      {asking?.version == null ? null : <Rollback of={of} version={asking.version} onClose={() => setAsking(null)} />}
    </>
  );
}

export function Rollback({ of, version, onClose }: { of: Environment; version: number; onClose: () => void }) {
  const client = useQueryClient();
  const roll = useMutation({
    mutationFn: () => change("post", "/v2/registry/{environment_id}/rollback", { path: { environment_id: of.id }, body: { version } }),
    onSuccess: async () => {
      await client.invalidateQueries({ queryKey: ["environment"] });
      void client.invalidateQueries({ queryKey: ["environments"] });
      onClose();
    },
  });
  return (
    <Dialog title={`Run version ${version} of ${of.name}?`} onClose={onClose}>
      <div className="asking">
        <p>
          Rollouts that begin from now on get version {version}
          {of.latest_build ? `, not ${of.latest_build.version}` : ""}. Those that are going on stay where they are; variables and tasksets stay as they are.
        </p>
        {roll.error ? <Failure error={roll.error} /> : null}
        <p className="asking-buttons">
          <button type="button" className="button" onClick={onClose}>
            Not now
          </button>
          <button type="button" className="button primary" onClick={() => roll.mutate()} disabled={roll.isPending}>
            Run version {version}
          </button>
        </p>
      </div>
    </Dialog>
  );
}

const RUNS: Column<Run>[] = [
  {
    id: "task",
    header: "Newest runs",
    width: "minmax(180px, 2fr)",
    phone: "minmax(0, 1fr)",
    value: (run) => run.task_slug,
    cell: (run) => (
      <Link to="/trace/$traceId" params={{ traceId: run.id }} className="row-link">
        <Line>{run.task_slug}</Line>
      </Link>
    ),
  },
  { id: "reward", header: "Reward", width: "120px", phone: "96px", value: (run) => run.reward, cell: (run) => <Reward run={run} /> },
  { id: "model", header: "Model", width: "minmax(120px, 1fr)", value: (run) => run.model, cell: (run) => <Line>{run.model ?? ""}</Line> },
  { id: "began", header: "Began", width: "120px", phone: "92px", isRight: true, value: (run) => run.start_time, cell: (run) => <Moment iso={run.start_time} /> },
];

function Runs({ of }: { of: Environment }) {
  const runs = useQuery({ queryKey: ["runs in", of.name], queryFn: ({ signal }) => get("/v2/traces", { query: { limit: 200, env: of.name }, signal }) });
  if (runs.error)
    return (
      <div className="page">
        <Failure error={runs.error} onRetry={() => void runs.refetch()} />
      </div>
    );
  if (runs.data && !runs.data.items.length)
    return (
      <Empty icon="tasksets" title="Nothing ran in it yet" command="hud eval my-taskset claude --remote">
        Runs of this environment are shown here, wherever they ran.
      </Empty>
    );
  return <DataTable label="Runs" rows={runs.data?.items ?? []} columns={RUNS} rowKey={(run) => run.id} sort={null} onSort={() => undefined} rowHeight={36} />;
}
