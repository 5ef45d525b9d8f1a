/** One job: its figures, and every run in it, as a matrix of task by repeat or as a list. */

import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { Link, useNavigate, useParams, useSearch } from "@tanstack/react-router";
import { useMemo, useState } from "react";

import { ApiFailure, change, get } from "../api/http";
import { jobQuery } from "../api/queries";
import type { JobDetail, Run } from "../api/types";
import { bundledJob } from "../bundle/place";
import { type Column, DataTable, sortIn, sortOut } from "../parts/DataTable";
import { Command } from "../parts/Copy";
import { Dialog } from "../parts/Dialog";
import { Empty } from "../parts/Empty";
import { Failure } from "../parts/Failure";
import { compact, count, dollars, duration, moment, plural, secondsBetween } from "../parts/format";
import { Icon } from "../parts/Icon";
import { Mean } from "../parts/Mean";
import { Moment } from "../parts/Moment";
import { endingOf, stopped } from "../parts/outcome";
import { Reward } from "../parts/Reward";
import { Line } from "../trace/Text";
import { JobStatus } from "./JobStatus";
import { Legend, Matrix } from "./Matrix";
import { Summary } from "./Summary";
import { members, taskRows, useRuns } from "./useRuns";
import { useTitle } from "../parts/useTitle";
import "./jobs.css";

export function JobPage() {
  const { jobId } = useParams({ from: "/jobs/$jobId" });
  const query = useQuery(jobQuery(jobId));
  if (query.data) return <JobView key={query.data.id} job={query.data} />;
  if (!query.error) return <div aria-busy="true" />;
  if (query.error instanceof ApiFailure && query.error.status === 404)
    return (
      <Empty icon="unknown" title="There is no such job here" command="hud jobs">
        It may have been recorded under another HUD_HOME, or deleted.
      </Empty>
    );
  return (
    <div className="page">
      <Failure error={query.error} onRetry={() => void query.refetch()} />
    </div>
  );
}

const RUN_COLUMNS: Column<Run>[] = [
  {
    id: "task",
    header: "Task",
    width: "minmax(170px, 2fr)",
    phone: "minmax(0, 1fr)",
    value: (run) => run.task_slug,
    cell: (run) => (
      <Link to="/trace/$traceId" params={{ traceId: run.id }} className="row-link">
        <Line>{run.task_slug || run.id.slice(0, 8)}</Line>
      </Link>
    ),
  },
  { id: "member", header: "#", width: "34px", phone: "22px", isRight: true, title: "Repeat", value: (run) => run.member, cell: (run) => <span className="quiet">{run.member + 1}</span> },
  { id: "reward", header: "Reward", width: "112px", phone: "96px", value: (run) => (run.invalid_reason === null ? run.reward : null), cell: (run) => <Reward run={run} /> },
  { id: "why", header: "Ended", width: "minmax(150px, 2.4fr)", value: (run) => run.error ?? run.stop_reason, cell: (run) => <Why run={run} /> },
  { id: "turns", header: "Turns", width: "52px", isRight: true, value: (run) => run.turns, cell: (run) => (run.turns ? count(run.turns) : <span className="quiet">–</span>) },
  { id: "tokens", header: "Tokens", width: "68px", isRight: true, value: (run) => run.prompt_tokens + run.completion_tokens, cell: (run) => (run.llm_calls ? compact(run.prompt_tokens + run.completion_tokens) : <span className="quiet">–</span>) },
  {
    id: "cost",
    header: "Cost",
    width: "74px",
    isRight: true,
    value: (run) => run.cost_usd ?? run.known_cost_usd,
    cell: (run) => (run.cost_usd !== null && run.llm_calls ? dollars(run.cost_usd) : run.known_cost_usd ? `≥ ${dollars(run.known_cost_usd)}` : <span className="quiet">–</span>),
  },
  { id: "took", header: "Took", width: "80px", phone: "54px", isRight: true, value: (run) => secondsBetween(run.start_time, run.end_time), cell: (run) => took(run) },
  { id: "began", header: "Began", width: "104px", isRight: true, value: (run) => moment(run.start_time)?.getTime(), cell: (run) => <Moment iso={run.start_time} /> },
];

function took(run: Run) {
  const seconds = secondsBetween(run.start_time, run.end_time);
  return seconds === null ? <span className="quiet">–</span> : duration(seconds);
}

function Why({ run }: { run: Run }) {
  const text = run.invalid_reason ?? run.error;
  if (text) return <Line>{text}</Line>;
  return <span className="quiet">{run.stop_reason ? stopped(run.stop_reason) : run.end_time === null ? "" : endingOf(run).short}</span>;
}

function JobView({ job }: { job: JobDetail }) {
  useTitle(job.name, "job");
  const search = useSearch({ strict: false });
  const navigate = useNavigate();
  const runs = useRuns(job.id);
  const [showsAttempts, setAttempts] = useState(false);
  const current = useMemo(() => members(runs.all), [runs.all]);
  const columns = useMemo(() => current.reduce((most, run) => Math.max(most, run.member + 1), 1), [current]);
  const view = search.view ?? (columns > 1 ? "matrix" : "runs");
  const words = (search.task ?? "").toLowerCase();
  const shown = useMemo(() => {
    const from = showsAttempts && view === "runs" ? runs.all : current;
    return from.filter((run) => (!words || run.task_slug.toLowerCase().includes(words)) && (!search.outcome || endingOf(run).short === search.outcome));
  }, [runs.all, current, showsAttempts, view, words, search.outcome]);
  const rows = useMemo(() => (view === "matrix" ? taskRows(shown) : []), [shown, view]);
  const set = (changed: Record<string, string | undefined>) => void navigate({ to: ".", search: { ...search, ...changed }, replace: true });
  const hasRetries = runs.all.length > current.length;
  return (
    <div className="list-page job-page">
      <JobHead job={job} />
      <Summary job={job} runs={current} />
      <div className="job-bar">
        <div className="tabs" role="tablist" aria-label="How to show the runs">
          {(["matrix", "runs"] as const).map((name) => (
            <button key={name} type="button" role="tab" aria-selected={view === name} onClick={() => set({ view: name })}>
              <Icon name={name === "matrix" ? "jobs" : "tasksets"} size={14} />
              {name === "matrix" ? "Tasks by repeat" : "Runs"}
            </button>
          ))}
        </div>
        <span className="quiet number">{runs.isComplete ? count(shown.length) : `${count(runs.all.length)} of ${count(runs.total)}…`}</span>
        <span className="grow" />
        {view === "matrix" ? <Legend runs={current} /> : null}
        {hasRetries && view === "runs" ? (
          <label className="check">
            <input type="checkbox" checked={showsAttempts} onChange={(event) => setAttempts(event.target.checked)} /> Every attempt
          </label>
        ) : null}
        {search.outcome ? (
          <button type="button" className="badge accent" onClick={() => set({ outcome: undefined })}>
            {search.outcome} <Icon name="close" size={10} />
          </button>
        ) : null}
        <label className="field-with-icon">
          <Icon name="search" size={14} />
          <input className="field" type="search" value={search.task ?? ""} placeholder="Filter tasks" aria-label="Filter tasks" onChange={(event) => set({ task: event.target.value || undefined })} />
        </label>
      </div>
      {runs.error ? (
        <div className="page">
          <Failure error={runs.error} onRetry={runs.reload} />
        </div>
      ) : runs.isComplete && !runs.all.length ? (
        <Empty icon="clock" title="No run has begun">
          {job.status === "running" ? "Runs appear here as they begin." : "The job ended before its first run."}
        </Empty>
      ) : view === "matrix" ? (
        <Matrix rows={rows} columns={columns} />
      ) : (
        <DataTable label="Runs" rows={shown} columns={RUN_COLUMNS} rowKey={(run) => run.id} sort={sortIn(search.sort)} onSort={(sort) => set({ sort: sortOut(sort) })} rowHeight={36} />
      )}
    </div>
  );
}

function JobHead({ job }: { job: JobDetail }) {
  const ran = secondsBetween(job.created_at, job.ended_at);
  return (
    <header className="trace-head job-head">
      <div className="trace-title">
        <nav className="crumbs" aria-label="Where this is">
          <Link to="/jobs">jobs</Link>
          <Icon name="chevron" size={10} />
          <span className="mono">{job.id.slice(0, 8)}</span>
        </nav>
        <h1>
          <Line>{job.name || "A job without a name"}</Line>
        </h1>
      </div>
      <JobStatus status={job.status} />
      <dl className="trace-facts">
        {job.agent ? <Fact label="Agent" text={job.agent} /> : null}
        {job.model ? <Fact label="Model" text={job.model} /> : null}
        {job.taskset_name && bundledJob !== null ? <Fact label="Taskset" text={job.taskset_name} /> : null}
        {job.taskset_name && bundledJob === null ? (
          <div>
            <dt className="label">Taskset</dt>
            <dd>
              <Link to="/tasksets/$" params={{ _splat: job.taskset_name }} className="link">
                <Line>{job.taskset_name}</Line>
              </Link>
            </dd>
          </div>
        ) : null}
        {job.runtime ? <Fact label="Runtime" text={job.runtime} /> : null}
        <div>
          <dt className="label">Created</dt>
          <dd>
            <Moment iso={job.created_at} />
          </dd>
        </div>
        {ran === null ? null : <Fact label="Took" text={duration(ran)} />}
      </dl>
      <div className="trace-tools">
        {bundledJob === null ? (
          <>
            <CompareWith job={job} />
            {job.status === "running" ? <Cancel job={job} /> : <Retry job={job} />}
          </>
        ) : null}
      </div>
    </header>
  );
}

/** Jobs of the same taskset, to compare with. */
function CompareWith({ job }: { job: JobDetail }) {
  const [isAsking, setAsking] = useState(false);
  const query = useQuery({
    queryKey: ["others", job.taskset_name],
    queryFn: ({ signal }) => get("/v2/jobs", { query: { limit: 100, ...(job.taskset_name ? { taskset: job.taskset_name } : {}) }, signal }),
    enabled: isAsking,
  });
  const others = query.data?.items.filter((one) => one.id !== job.id) ?? [];
  return (
    <>
      <button type="button" className="button" onClick={() => setAsking(true)}>
        <Icon name="compare" /> Compare
      </button>
      {isAsking ? (
        <Dialog title="Compare with" onClose={() => setAsking(false)}>
          {query.error ? <Failure error={query.error} /> : null}
          {query.data && !others.length ? <p className="quiet">No other job ran {job.taskset_name ? "this taskset" : "anything"}.</p> : null}
          <ul className="choices">
            {others.map((other) => (
              <li key={other.id}>
                <Link to="/compare" search={{ jobs: `${job.id},${other.id}` }}>
                  <span className="choices-name">
                    <Line>{[other.agent, other.model].filter(Boolean).join(" · ") || other.name}</Line>
                  </span>
                  <Mean mean={other.counts.mean_reward} />
                  <span className="quiet">
                    <Moment iso={other.created_at} />
                  </span>
                </Link>
              </li>
            ))}
          </ul>
        </Dialog>
      ) : null}
    </>
  );
}

function Fact({ label, text }: { label: string; text: string }) {
  return (
    <div>
      <dt className="label">{label}</dt>
      <dd className="number">
        <Line>{text}</Line>
      </dd>
    </div>
  );
}

/** Runs that the platform began, it can try again; for others the command says so. */
function Retry({ job }: { job: JobDetail }) {
  const [isAsking, setAsking] = useState(false);
  const client = useQueryClient();
  const again = Object.entries(job.counts.ungraded).reduce((sum, [cause, times]) => (cause === "cancelled" ? sum : sum + times), 0);
  const retry = useMutation({
    mutationFn: () => change("post", "/v2/jobs/{job_id}/retry", { path: { job_id: job.id } }),
    onSuccess: () => {
      setAsking(false);
      void client.invalidateQueries({ queryKey: ["job", job.id] });
    },
  });
  if (!again) return null;
  return (
    <>
      <button type="button" className="button" onClick={() => setAsking(true)}>
        <Icon name="again" /> Retry {count(again)}
      </button>
      {isAsking ? (
        <Dialog title={`Try ${plural(again, "ungraded run")} again?`} onClose={() => setAsking(false)}>
          <div className="asking">
            {job.runtime === "platform" ? (
              <p>Each gets another attempt, in the version of its environment that is run now. What is graded is never run again.</p>
            ) : (
              <>
                <p>This job was begun on a machine of yours, so it goes on there. What is graded is never run again.</p>
                <Command>{`hud eval --resume ${job.id}`}</Command>
              </>
            )}
            {retry.error ? <Failure error={retry.error} /> : null}
            <p className="asking-buttons">
              <button type="button" className="button" onClick={() => setAsking(false)}>
                {job.runtime === "platform" ? "Not now" : "Close"}
              </button>
              {job.runtime === "platform" ? (
                <button type="button" className="button primary" onClick={() => retry.mutate()} disabled={retry.isPending}>
                  Try again
                </button>
              ) : null}
            </p>
          </div>
        </Dialog>
      ) : null}
    </>
  );
}

function Cancel({ job }: { job: JobDetail }) {
  const [isAsking, setAsking] = useState(false);
  const client = useQueryClient();
  const cancel = useMutation({
    mutationFn: () => change("post", "/v2/rollouts/cancel_job", { body: { job_id: job.id } }),
    onSuccess: () => {
      setAsking(false);
      void client.invalidateQueries({ queryKey: ["job", job.id] });
    },
  });
  return (
    <>
      <button type="button" className="button danger" onClick={() => setAsking(true)}>
        <Icon name="stop" /> Cancel
      </button>
      {isAsking ? (
        <Dialog title="Cancel this job?" onClose={() => setAsking(false)}>
          <div className="asking">
            <p>Runs that are going on end ungraded, and no further ones begin. What was graded stays.</p>
            {cancel.error ? <Failure error={cancel.error} /> : null}
            <p className="asking-buttons">
              <button type="button" className="button" onClick={() => setAsking(false)}>
                Let it run
              </button>
              <button type="button" className="button danger" onClick={() => cancel.mutate()} disabled={cancel.isPending}>
                Cancel the job
              </button>
            </p>
          </div>
        </Dialog>
      ) : null}
    </>
  );
}
