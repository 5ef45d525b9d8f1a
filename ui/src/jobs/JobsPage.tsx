/** All jobs, newest first; those that run move by themselves. */

import { useInfiniteQuery, useQueryClient } from "@tanstack/react-query";
import { Link, useNavigate, useSearch } from "@tanstack/react-router";
import { useCallback, useEffect, useMemo, useState } from "react";

import { get } from "../api/http";
import { follow } from "../api/live";
import type { Job } from "../api/types";
import { type Column, DataTable, sortIn, sortOut } from "../parts/DataTable";
import { Empty } from "../parts/Empty";
import { Failure } from "../parts/Failure";
import { count, moment } from "../parts/format";
import { Icon } from "../parts/Icon";
import { Mean } from "../parts/Mean";
import { Moment } from "../parts/Moment";
import { Line } from "../trace/Text";
import { JobStatus } from "./JobStatus";
import { Progress } from "./Progress";
import { useTitle } from "../parts/useTitle";
import "./jobs.css";

const PAGE = 200;

export const JOB_COLUMNS: Column<Job>[] = [
  {
    id: "name",
    header: "Job",
    width: "minmax(190px, 2.2fr)",
    phone: "minmax(0, 1fr)",
    value: (job) => job.name.toLowerCase(),
    cell: (job) => (
      <Link to="/jobs/$jobId" params={{ jobId: job.id }} className="row-link">
        <Line>{job.name || job.id.slice(0, 8)}</Line>
      </Link>
    ),
  },
  { id: "status", header: "Status", width: "104px", value: (job) => job.status, cell: (job) => <JobStatus status={job.status} /> },
  { id: "graded", header: "Graded", width: "minmax(130px, 1fr)", phone: "66px", value: (job) => job.counts.coverage, cell: (job) => <Progress counts={job.counts} /> },
  {
    id: "mean",
    header: "Mean reward",
    width: "minmax(140px, 1fr)",
    phone: "84px",
    value: (job) => job.counts.mean_reward,
    cell: (job) => <Mean mean={job.counts.mean_reward} bounds={boundsOf(job)} />,
  },
  { id: "agent", header: "Agent", width: "minmax(90px, 0.8fr)", value: (job) => job.agent, cell: (job) => <Line>{job.agent ?? ""}</Line> },
  { id: "model", header: "Model", width: "minmax(110px, 1.1fr)", value: (job) => job.model, cell: (job) => (job.model ? <Line>{job.model}</Line> : <span className="quiet">–</span>) },
  { id: "created", header: "Created", width: "118px", isRight: true, value: (job) => moment(job.created_at)?.getTime(), cell: (job) => <Moment iso={job.created_at} /> },
];

function boundsOf(job: Job): [number, number] | null {
  const { lower_bound: lower, upper_bound: upper } = job.counts;
  return lower !== null && upper !== null ? [lower, upper] : null;
}

export function JobsPage() {
  useTitle("Jobs");
  const search = useSearch({ strict: false });
  const navigate = useNavigate();
  const filters = useMemo(() => ({ name: search.name, status: search.status as Job["status"] | undefined, model: search.model, taskset: search.taskset }), [search.name, search.status, search.model, search.taskset]);
  const key = useMemo(() => ["jobs", filters], [filters]);
  const query = useInfiniteQuery({
    queryKey: key,
    queryFn: ({ pageParam, signal }) => get("/v2/jobs", { query: { ...filters, limit: PAGE, ...(pageParam ? { cursor: pageParam } : {}) }, signal }),
    initialPageParam: "",
    getNextPageParam: (page) => page.next_cursor,
  });
  useLiveJobs(key, () => void query.refetch());
  const rows = useMemo(() => query.data?.pages.flatMap((page) => page.items) ?? [], [query.data]);
  const total = query.data?.pages[0]?.total ?? null;
  const { hasNextPage, isFetchingNextPage, fetchNextPage } = query;
  const onEnd = useCallback(() => {
    if (hasNextPage && !isFetchingNextPage) void fetchNextPage();
  }, [hasNextPage, isFetchingNextPage, fetchNextPage]);
  const isFiltered = Object.values(filters).some(Boolean);
  const sort = sortIn(search.sort);
  return (
    <div className="list-page">
      <header className="list-head">
        <h1>Jobs</h1>
        {total === null ? null : <span className="quiet number">{count(total)}</span>}
        <span className="grow" />
        <NameFilter value={search.name ?? ""} onChange={(name) => void navigate({ to: ".", search: { ...search, name: name || undefined }, replace: true })} />
        <select className="field" value={search.status ?? ""} aria-label="Status" onChange={(event) => void navigate({ to: ".", search: { ...search, status: event.target.value || undefined }, replace: true })}>
          <option value="">Any status</option>
          <option value="running">Running</option>
          <option value="completed">Completed</option>
          <option value="interrupted">Interrupted</option>
          <option value="cancelled">Cancelled</option>
        </select>
      </header>
      {query.error ? (
        <div className="page">
          <Failure error={query.error} onRetry={() => void query.refetch()} />
        </div>
      ) : query.data && !rows.length ? (
        isFiltered ? (
          <Empty icon="filter" title="No job fits">
            <Link to="/jobs" className="link">
              Show all jobs
            </Link>
          </Empty>
        ) : (
          <Empty icon="jobs" title="No job has been recorded yet" command="hud eval tasks.py oracle --all">
            A job is an agent at work on tasks. Run one, and it fills this page as it goes.
          </Empty>
        )
      ) : (
        <DataTable label="Jobs" rows={rows} columns={JOB_COLUMNS} rowKey={(job) => job.id} sort={sort} onSort={(next) => void navigate({ to: ".", search: { ...search, sort: sortOut(next) }, replace: true })} onEnd={onEnd} />
      )}
    </div>
  );
}

function NameFilter({ value, onChange }: { value: string; onChange: (value: string) => void }) {
  const [typed, setTyped] = useState(value);
  useEffect(() => setTyped(value), [value]);
  useEffect(() => {
    if (typed === value) return;
    const timer = setTimeout(() => onChange(typed), 250);
    return () => clearTimeout(timer);
  }, [typed, value, onChange]);
  return (
    <label className="field-with-icon">
      <Icon name="search" size={14} />
      <input className="field" type="search" value={typed} placeholder="Filter by name" aria-label="Filter by name" onChange={(event) => setTyped(event.target.value)} />
    </label>
  );
}

/** Put jobs that change into the list as they do; new ones go to its top. */
function useLiveJobs(key: readonly unknown[], onReset: () => void): void {
  const client = useQueryClient();
  useEffect(() => {
    let isFirst = true;
    return follow({
      url: "/v2/jobs/events",
      onEvent: (event) => {
        if (event.kind === "reset" || (event.kind === "ready" && !isFirst)) onReset();
        if (event.kind === "ready") isFirst = false;
        if (event.kind !== "job") return;
        const job = event.data as Job;
        client.setQueryData<{ pages: { items: Job[]; total: number | null; next_cursor: string | null }[]; pageParams: unknown[] }>(key, (held) => {
          if (!held) return held;
          const isHeld = held.pages.some((page) => page.items.some((one) => one.id === job.id));
          if (!isHeld) {
            queueMicrotask(onReset);
            return held;
          }
          return { ...held, pages: held.pages.map((page) => ({ ...page, items: page.items.map((one) => (one.id === job.id ? job : one)) })) };
        });
      },
    });
  }, [client, JSON.stringify(key)]);
}
