/** Tasksets: those the platform keeps, and those that jobs ran from files. */

import { useQuery } from "@tanstack/react-query";
import { Link, useNavigate, useSearch } from "@tanstack/react-router";
import { useMemo } from "react";

import { get } from "../api/http";
import { type Column, DataTable, sortIn, sortOut } from "../parts/DataTable";
import { Empty } from "../parts/Empty";
import { Failure } from "../parts/Failure";
import { count, moment } from "../parts/format";
import { Moment } from "../parts/Moment";
import { Line } from "../trace/Text";
import { useTitle } from "../parts/useTitle";
import "../jobs/jobs.css";

const LOOKED_AT = 500;

interface Row {
  name: string;
  tasks: number | null;
  jobs: number;
  last: string | null;
  isKept: boolean;
}

const COLUMNS: Column<Row>[] = [
  {
    id: "name",
    header: "Taskset",
    width: "minmax(200px, 3fr)",
    phone: "minmax(0, 1fr)",
    value: (row) => row.name.toLowerCase(),
    cell: (row) => (
      <Link to="/tasksets/$" params={{ _splat: row.name }} className="row-link">
        <Line>{row.name}</Line>
      </Link>
    ),
  },
  { id: "kept", header: "Kept", width: "120px", value: (row) => (row.isKept ? 1 : 0), cell: (row) => (row.isKept ? <span className="badge">kept here</span> : <span className="quiet">from files</span>) },
  { id: "tasks", header: "Tasks", width: "80px", isRight: true, value: (row) => row.tasks, cell: (row) => (row.tasks === null ? <span className="quiet">–</span> : count(row.tasks)) },
  { id: "jobs", header: "Jobs", width: "80px", phone: "44px", isRight: true, value: (row) => row.jobs, cell: (row) => count(row.jobs) },
  { id: "last", header: "Last used", width: "140px", phone: "96px", isRight: true, value: (row) => (row.last ? moment(row.last)?.getTime() : null), cell: (row) => (row.last ? <Moment iso={row.last} /> : <span className="quiet">–</span>) },
];

export function TasksetsPage() {
  useTitle("Tasksets");
  const search = useSearch({ strict: false });
  const navigate = useNavigate();
  const kept = useQuery({ queryKey: ["tasksets"], queryFn: ({ signal }) => get("/v2/tasksets", { query: { limit: LOOKED_AT }, signal }) });
  const jobs = useQuery({ queryKey: ["recent jobs"], queryFn: ({ signal }) => get("/v2/jobs", { query: { limit: LOOKED_AT }, signal }) });
  const rows = useMemo(() => {
    const found = new Map<string, Row>();
    for (const one of kept.data?.items ?? []) found.set(one.name, { name: one.name, tasks: one.task_count, jobs: 0, last: one.updated_at, isKept: true });
    for (const job of jobs.data?.items ?? []) {
      if (!job.taskset_name) continue;
      const row = found.get(job.taskset_name) ?? { name: job.taskset_name, tasks: null, jobs: 0, last: null, isKept: false };
      row.jobs += 1;
      if (!row.last || job.created_at > row.last) row.last = job.created_at;
      found.set(job.taskset_name, row);
    }
    return [...found.values()].sort((one, other) => ((one.last ?? "") < (other.last ?? "") ? 1 : -1));
  }, [kept.data, jobs.data]);
  const error = kept.error ?? jobs.error;
  return (
    <div className="list-page">
      <header className="list-head">
        <h1>Tasksets</h1>
        <span className="quiet number">{kept.data && jobs.data ? count(rows.length) : ""}</span>
      </header>
      {error ? (
        <div className="page">
          <Failure error={error} />
        </div>
      ) : kept.data && jobs.data && !rows.length ? (
        <Empty icon="tasksets" title="No taskset yet" command="hud sync tasks my-taskset tasks.py">
          A taskset is kept here once it is synced, or shown once a job ran it.
        </Empty>
      ) : (
        <DataTable label="Tasksets" rows={rows} columns={COLUMNS} rowKey={(row) => row.name} sort={sortIn(search.sort)} onSort={(sort) => void navigate({ to: ".", search: { ...search, sort: sortOut(sort) }, replace: true })} />
      )}
    </div>
  );
}
