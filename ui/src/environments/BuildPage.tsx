/** One build: its log as it is written, how it ended, and what came of it. */

import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { Link, useNavigate, useParams, useSearch } from "@tanstack/react-router";
import { useEffect, useState } from "react";

import { ApiFailure, change, get, type Schemas } from "../api/http";
import { Empty } from "../parts/Empty";
import { Failure } from "../parts/Failure";
import { bytes, count, duration } from "../parts/format";
import { Icon } from "../parts/Icon";
import { Moment } from "../parts/Moment";
import { useTitle } from "../parts/useTitle";
import { Json } from "../trace/Json";
import { Line } from "../trace/Text";
import { BuildStatus, isOver } from "./Build";
import { environmentQuery, Rollback } from "./EnvironmentPage";
import { followBuild } from "./followBuild";
import { Log } from "./Log";
import "../frame/head.css";
import "../jobs/jobs.css";
import "../trace/trace.css";

type BuildDetail = Schemas["BuildDetail"];

const VIEWS = { log: "Log", made: "What was made" } as const;

export function BuildPage() {
  const { buildId } = useParams({ from: "/environments/$environmentId/builds/$buildId" });
  const query = useQuery({ queryKey: ["build", buildId], queryFn: ({ signal }) => get("/v2/builds/{build_id}", { path: { build_id: buildId }, signal }) });
  useTitle(query.data?.version == null ? "build" : `version ${query.data.version}`, query.data?.registry_name, "build");
  if (query.data) return <View key={query.data.id} build={query.data} />;
  if (!query.error) return <div aria-busy="true" />;
  if (query.error instanceof ApiFailure && query.error.status === 404)
    return (
      <Empty icon="unknown" title="There is no such build here" command="hud deploy .">
        It may be another team's, or of another platform.
      </Empty>
    );
  return (
    <div className="page">
      <Failure error={query.error} onRetry={() => void query.refetch()} />
    </div>
  );
}

function View({ build }: { build: BuildDetail }) {
  const { environmentId } = useParams({ from: "/environments/$environmentId/builds/$buildId" });
  const search = useSearch({ strict: false });
  const navigate = useNavigate();
  const environment = useQuery(environmentQuery(environmentId));
  const log = useLog(build);
  const [isAsking, setAsking] = useState(false);
  const view = search.view === "made" ? "made" : "log";
  const isRun = build.version !== null && environment.data?.latest_build?.version === build.version;
  return (
    <div className="build-page">
      <header className="trace-head">
        <div className="trace-title">
          <nav className="crumbs" aria-label="Where this is">
            <Link to="/environments">environments</Link>
            <Icon name="chevron" size={10} />
            <Link to="/environments/$environmentId" params={{ environmentId }}>
              <Line>{build.registry_name ?? "environment"}</Line>
            </Link>
          </nav>
          <h1>{build.version === null ? `Build ${build.id.slice(0, 8)}` : `Version ${build.version}`}</h1>
        </div>
        <BuildStatus status={build.status} />
        {isRun ? <span className="badge accent">what is run</span> : null}
        <dl className="trace-facts">
          {build.actor ? <Fact label="Asked for by">{<Line>{build.actor}</Line>}</Fact> : null}
          <Fact label="When">
            <Moment iso={build.created_at} />
          </Fact>
          {build.duration_seconds === null ? null : <Fact label="Took">{duration(build.duration_seconds)}</Fact>}
          {build.size_bytes === null ? null : <Fact label="Context">{bytes(build.size_bytes)}</Fact>}
          {build.image_name ? (
            <Fact label="Image">
              <Line>{build.image_name}</Line>
            </Fact>
          ) : null}
        </dl>
        <div className="trace-tools">
          {isOver(build.status) ? null : <Stop build={build} />}
          {!isRun && build.status === "SUCCEEDED" && build.version !== null && environment.data ? (
            <button type="button" className="button" onClick={() => setAsking(true)}>
              Run this version
            </button>
          ) : null}
        </div>
      </header>
      {build.error_message ? (
        <div className="verdict bad">
          <Icon name="error" size={15} />
          <p>
            <strong>It was not built.</strong> <Line>{build.error_message}</Line>
          </p>
        </div>
      ) : null}
      <div className="job-bar job-bar-top">
        <div className="tabs" role="tablist" aria-label="What to show of the build">
          {(Object.keys(VIEWS) as (keyof typeof VIEWS)[]).map((name) => (
            <button key={name} type="button" role="tab" aria-selected={view === name} onClick={() => void navigate({ to: ".", search: { ...search, view: name === "log" ? undefined : name }, replace: true })}>
              {VIEWS[name]}
            </button>
          ))}
        </div>
        {view === "log" ? <span className="quiet number">{count(log.lines.length)} lines</span> : null}
        {log.isLost ? <span className="badge warn">connection lost, trying again</span> : null}
      </div>
      {log.error ? (
        <div className="page">
          <Failure error={log.error} />
        </div>
      ) : view === "made" ? (
        <Made build={build} />
      ) : log.lines.length ? (
        <Log lines={log.lines} label="Log of the build" isLive={!isOver(build.status)} />
      ) : (
        <p className="build-empty">{isOver(build.status) ? (log.isLoading ? "" : "It said nothing.") : "It has said nothing yet; what it says appears here."}</p>
      )}
      {isAsking && environment.data && build.version !== null ? <Rollback of={environment.data} version={build.version} onClose={() => setAsking(false)} /> : null}
    </div>
  );
}

function Made({ build }: { build: BuildDetail }) {
  return (
    <div className="build-more">
      <h2>Asked for</h2>
      <Json value={build.asked} open={2} />
      {build.manifest ? (
        <>
          <h2>What it offers</h2>
          <Json value={build.manifest} open={1} />
        </>
      ) : null}
      {build.lock ? (
        <>
          <h2>Lock</h2>
          <Json value={build.lock} open={1} />
        </>
      ) : null}
    </div>
  );
}

function Stop({ build }: { build: BuildDetail }) {
  const client = useQueryClient();
  const stop = useMutation({
    mutationFn: () => change("post", "/v2/builds/{build_id}/cancel", { path: { build_id: build.id } }),
    onSettled: () => void client.invalidateQueries({ queryKey: ["build"] }),
  });
  return (
    <button type="button" className="button danger" onClick={() => stop.mutate()} disabled={stop.isPending} title={stop.error ? String(stop.error.message) : "Stop the build"}>
      <Icon name="stop" /> Stop
    </button>
  );
}

interface LogState {
  lines: readonly string[];
  isLoading: boolean;
  isLost: boolean;
  error: unknown;
}

const PAGE = 5_000;

/** The log: followed while the build goes on, else read once. */
function useLog(build: BuildDetail): LogState {
  const client = useQueryClient();
  const [state, setState] = useState<LogState>({ lines: [], isLoading: true, isLost: false, error: null });
  const [wasLive] = useState(() => !isOver(build.status));
  useEffect(() => {
    if (wasLive) {
      return followBuild(build.id, {
        onLines: (lines, isAnew) => setState((held) => ({ ...held, lines: isAnew ? lines : [...held.lines, ...lines], isLoading: false, isLost: false })),
        onChange: () => {
          // Ids in addresses may be written with dashes or without.
          for (const key of ["build", "environment", "builds"]) void client.invalidateQueries({ queryKey: [key] });
        },
        onLost: () => setState((held) => ({ ...held, isLost: true })),
      });
    }
    const ending = new AbortController();
    const read = async () => {
      const lines: string[] = [];
      let after: number | null = -1;
      while (after !== null) {
        const page: Schemas["BuildLines"] = await get("/v2/builds/{build_id}/log", { path: { build_id: build.id }, query: { after, limit: PAGE }, signal: ending.signal });
        lines.push(...page.lines.map((line) => line.text));
        after = page.next_after;
        setState({ lines: [...lines], isLoading: after !== null, isLost: false, error: null });
      }
    };
    read().catch((error: unknown) => {
      if (!ending.signal.aborted) setState((held) => ({ ...held, isLoading: false, error }));
    });
    return () => ending.abort();
  }, [build.id, build.registry_id, wasLive, client]);
  return state;
}

function Fact({ label, children }: { label: string; children: React.ReactNode }) {
  return (
    <div>
      <dt className="label">{label}</dt>
      <dd className="number">{children}</dd>
    </div>
  );
}
