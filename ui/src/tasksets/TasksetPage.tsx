/** One taskset: who does best on it, its tasks and their versions, the jobs that ran it. */

import { useQuery } from "@tanstack/react-query";
import { Link, useNavigate, useParams, useSearch } from "@tanstack/react-router";

import { ApiFailure, get } from "../api/http";
import { Empty } from "../parts/Empty";
import { Failure } from "../parts/Failure";
import { Icon, type IconName } from "../parts/Icon";
import { Line } from "../trace/Text";
import { Leaderboard } from "./Leaderboard";
import { TasksetJobs } from "./TasksetJobs";
import { TasksetsPage } from "./TasksetsPage";
import { RunTaskset } from "./RunTaskset";
import { TasksetTasks } from "./TasksetTasks";
import { useTitle } from "../parts/useTitle";
import "../jobs/jobs.css";
import "./tasksets.css";

const VIEWS: Record<string, { label: string; icon: IconName }> = {
  leaderboard: { label: "Leaderboard", icon: "trophy" },
  tasks: { label: "Tasks", icon: "tasksets" },
  jobs: { label: "Jobs", icon: "jobs" },
};

/** The page of the address: of all tasksets where it names none. */
export function TasksetPage() {
  const { _splat } = useParams({ from: "/tasksets/$" });
  return _splat ? <Taskset name={_splat} /> : <TasksetsPage />;
}

function Taskset({ name }: { name: string }) {
  useTitle(name, "taskset");
  const search = useSearch({ strict: false });
  const navigate = useNavigate();
  const by = search.by === "model" || search.by === "agent" || search.by === "job" ? search.by : "agent-model";
  const options = { by, published: search.published === "1", include_changed: search.changed === "1" } as const;
  const query = useQuery({
    queryKey: ["leaderboard", name, options],
    queryFn: async ({ signal }) => get("/v2/leaderboards/{taskset}", { path: { taskset: name }, query: options, signal }),
    placeholderData: (before) => before,
  });
  if (query.error instanceof ApiFailure && query.error.status === 404)
    return (
      <Empty icon="tasksets" title="There is no such taskset here" command="hud sync tasks my-taskset tasks.py">
        Neither is one kept under this name, nor did a job run it.
      </Empty>
    );
  const view = search.view && search.view in VIEWS ? search.view : "leaderboard";
  return (
    <div className="list-page">
      <header className="list-head">
        <div>
          <nav className="crumbs" aria-label="Where this is">
            <Link to="/tasksets/$" params={{ _splat: undefined }}>
              tasksets
            </Link>
          </nav>
          <h1>
            <Line>{query.data?.taskset ?? name}</Line>
          </h1>
        </div>
        <span className="grow" />
        <div className="tabs" role="tablist">
          {Object.entries(VIEWS).map(([id, one]) => (
            <button key={id} type="button" role="tab" aria-selected={view === id} onClick={() => void navigate({ to: ".", search: { ...search, view: id, sort: undefined }, replace: true })}>
              <Icon name={one.icon} size={14} />
              {one.label}
            </button>
          ))}
        </div>
        {query.data?.taskset_id ? <RunTaskset taskset={query.data.taskset} id={query.data.taskset_id} /> : null}
      </header>
      {query.error ? (
        <div className="page">
          <Failure error={query.error} onRetry={() => void query.refetch()} />
        </div>
      ) : !query.data ? (
        <div aria-busy="true" />
      ) : view === "tasks" ? (
        <TasksetTasks taskset={query.data.taskset} id={query.data.taskset_id} />
      ) : view === "jobs" ? (
        <TasksetJobs board={query.data} onChange={() => void query.refetch()} />
      ) : (
        <Leaderboard board={query.data} />
      )}
    </div>
  );
}
