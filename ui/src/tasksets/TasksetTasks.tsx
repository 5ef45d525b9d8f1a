/** The tasks of a taskset that is kept here: found by words, environment and columns; each with its versions. */

import { useInfiniteQuery, useQuery } from "@tanstack/react-query";
import { useNavigate, useSearch } from "@tanstack/react-router";
import { useCallback, useMemo, useState } from "react";

import { get, type Schemas } from "../api/http";
import { type Column, DataTable, sortIn, sortOut } from "../parts/DataTable";
import { Dialog } from "../parts/Dialog";
import { Empty } from "../parts/Empty";
import { Failure } from "../parts/Failure";
import { count } from "../parts/format";
import { Icon } from "../parts/Icon";
import { Moment } from "../parts/Moment";
import { Json } from "../trace/Json";
import { Line } from "../trace/Text";

type Task = Schemas["TaskItem"];

export function TasksetTasks({ taskset, id }: { taskset: string; id: string | null }) {
  const search = useSearch({ strict: false });
  const navigate = useNavigate();
  const [shown, setShown] = useState<string | null>(null);
  const query = useInfiniteQuery({
    queryKey: ["tasks", id, search.task, search.env],
    queryFn: ({ pageParam, signal }) =>
      get("/v2/tasksets/{taskset_id}/tasks", {
        path: { taskset_id: id ?? "" },
        query: { limit: 200, facets: !pageParam, ...(search.task ? { search: search.task } : {}), ...(search.env ? { env: search.env } : {}), ...(pageParam ? { cursor: pageParam } : {}) },
        signal,
      }),
    initialPageParam: "",
    getNextPageParam: (page) => page.next_cursor,
    enabled: id !== null,
  });
  const { hasNextPage, isFetchingNextPage, fetchNextPage } = query;
  const onEnd = useCallback(() => {
    if (hasNextPage && !isFetchingNextPage) void fetchNextPage();
  }, [hasNextPage, isFetchingNextPage, fetchNextPage]);
  const rows = useMemo(() => query.data?.pages.flatMap((page) => page.items) ?? [], [query.data]);
  const columns = useMemo((): Column<Task>[] => {
    const names = Object.keys(rows[0]?.columns ?? {}).slice(0, 3);
    return [
      {
        id: "slug",
        header: "Task",
        width: "minmax(180px, 1.6fr)",
        phone: "minmax(0, 1.4fr)",
        value: (task) => task.slug,
        cell: (task) => (
          <button type="button" className="task-open" onClick={() => setShown(task.slug)}>
            <Line>{task.slug}</Line>
          </button>
        ),
      },
      { id: "env", header: "Environment", width: "minmax(110px, 0.8fr)", value: (task) => task.env, cell: (task) => <Line>{task.env}</Line> },
      { id: "args", header: "Arguments", width: "minmax(200px, 2.4fr)", phone: "minmax(0, 1fr)", cell: (task) => <code className="quiet"><Line>{task.args_preview}</Line></code> },
      ...names.map((name): Column<Task> => ({ id: `column ${name}`, header: name, width: "minmax(80px, 0.7fr)", value: (task) => task.columns[name], cell: (task) => <Line>{task.columns[name] ?? ""}</Line> })),
      { id: "version", header: "Version", width: "68px", phone: "52px", isRight: true, value: (task) => task.version, cell: (task) => task.version },
      { id: "changed", header: "Changed", width: "120px", isRight: true, value: (task) => task.changed_at, cell: (task) => <Moment iso={task.changed_at} /> },
    ];
  }, [rows]);
  if (id === null)
    return (
      <Empty icon="tasksets" title="This taskset is not kept here" command={`hud sync tasks ${taskset} tasks.py`}>
        Jobs ran it from files. Sync it, and its tasks and their versions are kept.
      </Empty>
    );
  const facets = query.data?.pages[0]?.facets;
  return (
    <>
      <div className="job-bar">
        <span className="quiet number">{query.data ? `${count(query.data.pages[0]?.total ?? 0)} tasks` : ""}</span>
        <span className="grow" />
        {facets && facets.env.length > 1 ? (
          <select className="field" value={search.env ?? ""} aria-label="Environment" onChange={(event) => void navigate({ to: ".", search: { ...search, env: event.target.value || undefined }, replace: true })}>
            <option value="">Every environment</option>
            {facets.env.map((one) => (
              <option key={one.value} value={one.value}>
                {one.value} ({one.count})
              </option>
            ))}
          </select>
        ) : null}
        <label className="field-with-icon">
          <Icon name="search" size={14} />
          <input className="field" type="search" value={search.task ?? ""} placeholder="Find tasks" aria-label="Find tasks" onChange={(event) => void navigate({ to: ".", search: { ...search, task: event.target.value || undefined }, replace: true })} />
        </label>
      </div>
      {query.error ? (
        <div className="page">
          <Failure error={query.error} />
        </div>
      ) : (
        <DataTable label="Tasks" rows={rows} columns={columns} rowKey={(task) => task.slug} sort={sortIn(search.sort)} onSort={(sort) => void navigate({ to: ".", search: { ...search, sort: sortOut(sort) }, replace: true })} onEnd={onEnd} rowHeight={36} />
      )}
      {shown === null ? null : <TaskDialog id={id} slug={shown} onClose={() => setShown(null)} />}
    </>
  );
}

function TaskDialog({ id, slug, onClose }: { id: string; slug: string; onClose: () => void }) {
  const [version, setVersion] = useState<number | null>(null);
  const task = useQuery({ queryKey: ["task", id, slug, version], queryFn: ({ signal }) => get("/v2/tasksets/{taskset_id}/task", { path: { taskset_id: id }, query: { slug, ...(version === null ? {} : { version }) }, signal }) });
  const versions = useQuery({ queryKey: ["versions", id, slug], queryFn: ({ signal }) => get("/v2/tasksets/{taskset_id}/task/versions", { path: { taskset_id: id }, query: { slug }, signal }) });
  return (
    <Dialog title={slug} onClose={onClose} className="task-dialog">
      {task.error ? <Failure error={task.error} /> : task.data ? <Json value={task.data.record} open={3} /> : null}
      {versions.data && versions.data.items.length > 1 ? (
        <>
          <h3>Versions</h3>
          <ul className="versions">
            {versions.data.items.map((one) => (
              <li key={one.version}>
                <button type="button" aria-pressed={one.version === (version ?? task.data?.version)} onClick={() => setVersion(one.version)}>
                  <strong className="number">{one.version}</strong> <Moment iso={one.changed_at} /> <span className="quiet">{one.changed.length ? `changed ${one.changed.join(", ")}` : "the first"}</span>
                </button>
              </li>
            ))}
          </ul>
        </>
      ) : null}
    </Dialog>
  );
}
