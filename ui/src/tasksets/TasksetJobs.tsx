/** The jobs that ran a taskset, and which of them are on the published leaderboard. */

import { useMutation, useQuery } from "@tanstack/react-query";
import { useNavigate, useSearch } from "@tanstack/react-router";
import { useMemo, useState } from "react";

import { change, get, type Schemas } from "../api/http";
import type { Job } from "../api/types";
import { JOB_COLUMNS } from "../jobs/JobsPage";
import { type Column, DataTable, sortIn, sortOut } from "../parts/DataTable";
import { Dialog } from "../parts/Dialog";
import { Failure } from "../parts/Failure";
import { Icon } from "../parts/Icon";

type Board = Schemas["LeaderboardReply"];

export function TasksetJobs({ board, onChange }: { board: Board; onChange: () => void }) {
  const search = useSearch({ strict: false });
  const navigate = useNavigate();
  const query = useQuery({ queryKey: ["jobs of", board.taskset], queryFn: ({ signal }) => get("/v2/jobs", { query: { taskset: board.taskset, limit: 1000 }, signal }) });
  const [asking, setAsking] = useState<Job | null>(null);
  const published = useMemo(() => new Map(board.publications.map((one) => [one.job_id, one])), [board.publications]);
  const unpublish = useMutation({
    mutationFn: (job: Job) => change("delete", "/v2/tasksets/{taskset}/publications", { path: { taskset: board.taskset }, query: { job_id: job.id } }),
    onSuccess: onChange,
  });
  const columns = useMemo((): Column<Job>[] => {
    // All of these have the taskset's name; on a phone who worked says more.
    const shown = JOB_COLUMNS.filter((column) => column.id !== "status").map((column) => (column.id === "model" ? { ...column, phone: "minmax(0, 1fr)" } : column.id === "graded" ? { ...column, phone: undefined } : column));
    const publish: Column<Job> = {
      id: "published",
      header: "Published",
      width: "128px",
      phone: "94px",
      value: (job) => (published.has(job.id) ? 1 : 0),
      cell: (job) =>
        published.has(job.id) ? (
          <button type="button" className="button small above" onClick={() => unpublish.mutate(job)} title={published.get(job.id)?.title ?? undefined}>
            <Icon name="done" /> Published
          </button>
        ) : (
          <button type="button" className="button small above" onClick={() => setAsking(job)} disabled={job.status === "running"}>
            Publish…
          </button>
        ),
    };
    return [...shown, publish];
  }, [published, unpublish]);
  return (
    <>
      {unpublish.error ? <div className="page"><Failure error={unpublish.error} /></div> : null}
      {query.error ? (
        <div className="page">
          <Failure error={query.error} />
        </div>
      ) : (
        <DataTable label="Jobs" rows={query.data?.items ?? []} columns={columns} rowKey={(job) => job.id} sort={sortIn(search.sort)} onSort={(sort) => void navigate({ to: ".", search: { ...search, sort: sortOut(sort) }, replace: true })} />
      )}
      {asking ? (
        <Publish
          taskset={board.taskset}
          job={asking}
          onDone={() => {
            setAsking(null);
            onChange();
          }}
          onClose={() => setAsking(null)}
        />
      ) : null}
    </>
  );
}

function Publish({ taskset, job, onDone, onClose }: { taskset: string; job: Job; onDone: () => void; onClose: () => void }) {
  const [title, setTitle] = useState([job.agent, job.model].filter(Boolean).join(" · "));
  const publish = useMutation({
    mutationFn: () => change("post", "/v2/tasksets/{taskset}/publications", { path: { taskset }, body: { job_id: job.id, title: title || null } }),
    onSuccess: onDone,
  });
  return (
    <Dialog title="Publish on the leaderboard" onClose={onClose}>
      <form
        className="asking"
        onSubmit={(event) => {
          event.preventDefault();
          publish.mutate();
        }}
      >
        <p>Everybody in the team sees this job on the published leaderboard of {taskset}, with its coverage and its interval.</p>
        <label className="labelled">
          <span className="label">Title</span>
          <input className="field" value={title} maxLength={200} onChange={(event) => setTitle(event.target.value)} autoFocus />
        </label>
        {publish.error ? <Failure error={publish.error} /> : null}
        <p className="asking-buttons">
          <button type="button" className="button" onClick={onClose}>
            Not now
          </button>
          <button type="submit" className="button primary" disabled={publish.isPending}>
            Publish
          </button>
        </p>
      </form>
    </Dialog>
  );
}
