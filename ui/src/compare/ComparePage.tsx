/** Jobs, models or agents side by side on the tasks they share, paired by task. */

import { useQuery } from "@tanstack/react-query";
import { Link, useNavigate, useSearch } from "@tanstack/react-router";
import { useMemo, useState } from "react";

import { request, type Schemas } from "../api/http";
import { type Column, DataTable, sortIn, sortOut } from "../parts/DataTable";
import { Empty } from "../parts/Empty";
import { Failure } from "../parts/Failure";
import { count, dollars, duration, percent, plural, reward } from "../parts/format";
import { Icon } from "../parts/Icon";
import { Mean } from "../parts/Mean";
import { rewardClass } from "../parts/outcome";
import { Line } from "../trace/Text";
import { Difference, signed } from "./Difference";
import { useTitle } from "../parts/useTitle";
import "../jobs/jobs.css";
import "../jobs/summary.css";
import "./compare.css";

type Comparison = Schemas["ComparisonItem"];
type Side = Schemas["ComparedSide"];
type Task = Schemas["ComparedTask"];

/** Several values of one name stand in one, with commas: ids hold none, names have theirs encoded. */
export function listed(text: string | undefined): string[] {
  return (text ?? "").split(",").filter(Boolean).map(decodeURIComponent);
}

export function unlisted(values: string[]): string | undefined {
  return values.length ? values.map(encodeURIComponent).join(",") : undefined;
}

export function ComparePage() {
  useTitle("Compare");
  const search = useSearch({ strict: false });
  const jobs = listed(search.jobs);
  const sides = listed(search.sides);
  const isAsked = jobs.length > 1 || Boolean(search.taskset);
  const words = new URLSearchParams();
  for (const job of jobs) words.append("job", job);
  if (!jobs.length && search.taskset) {
    words.append("taskset", search.taskset);
    words.append("by", search.by ?? "agent-model");
    for (const side of sides) words.append("side", side);
  }
  if (search.changed) words.append("include_changed", "true");
  words.append("limit", "10000");
  const query = useQuery({
    queryKey: ["compare", words.toString()],
    queryFn: async ({ signal }) => (await (await request(`/v2/compare?${words}`, { signal })).json()) as Schemas["ComparisonReply"],
    enabled: isAsked,
  });
  const [chosen, setChosen] = useState(0);
  if (!isAsked)
    return (
      <Empty icon="compare" title="Nothing to compare yet" command="hud compare JOB JOB">
        Choose two jobs or more in the <Link to="/jobs" className="link">list of jobs</Link>, or two rows of a taskset's leaderboard.
      </Empty>
    );
  if (query.error)
    return (
      <div className="page">
        <Failure error={query.error} onRetry={() => void query.refetch()} />
      </div>
    );
  const found = query.data?.comparisons ?? [];
  const shown = found[Math.min(chosen, found.length - 1)];
  return (
    <div className="list-page">
      <header className="list-head">
        <h1>Compare</h1>
        {search.taskset ? (
          <Link to="/tasksets/$" params={{ _splat: search.taskset }} className="link">
            <Line>{search.taskset}</Line>
          </Link>
        ) : null}
        <span className="grow" />
        <Changed />
      </header>
      {found.length > 1 ? (
        <div className="pairs" role="tablist" aria-label="Pairs">
          {found.map((one, index) => (
            <button key={index} type="button" role="tab" aria-selected={one === shown} onClick={() => setChosen(index)} className="panel pair">
              <span className="pair-names">
                <Line>{one.first.name}</Line> <span className="quiet">→</span> <Line>{one.second.name}</Line>
              </span>
              <Difference difference={one.difference} interval={one.interval_95} better={betterOf(one)} />
              <span className="number quiet">{one.difference === null ? "–" : `${signed(one.difference)} · ${pValue(one.p_value)}`}</span>
            </button>
          ))}
        </div>
      ) : null}
      {query.isPending ? <div aria-busy="true" className="compare-waiting" /> : shown ? <Pair of={shown} /> : <Empty icon="compare" title="There is only one side">Two are needed.</Empty>}
    </div>
  );
}

function Changed() {
  const search = useSearch({ strict: false });
  const navigate = useNavigate();
  return (
    <label className="check" title="Also pair a task with other versions of itself">
      <input type="checkbox" checked={Boolean(search.changed)} onChange={(event) => void navigate({ to: ".", search: { ...search, changed: event.target.checked ? "1" : undefined }, replace: true })} />
      Other versions of a task, too
    </label>
  );
}

/** The difference is the first side's mean less the second's. */
function betterOf(of: Comparison): "first" | "second" | null {
  if (of.better === null || of.difference === null || of.difference === 0) return null;
  return of.difference > 0 ? "first" : "second";
}

function verdict(of: Comparison): string {
  if (of.difference === null) return "There is no task that both were graded on";
  const tasks = plural(of.tasks_compared, "task");
  return of.better === null ? `No difference can be told from ${tasks}` : `${of.better} is better on ${tasks}`;
}

function pValue(value: number | null): string {
  if (value === null) return "no test";
  return value < 0.001 ? "p < 0.001" : `p = ${value.toFixed(3)}`;
}

function Pair({ of }: { of: Comparison }) {
  const search = useSearch({ strict: false });
  const navigate = useNavigate();
  const better = betterOf(of);
  const [onlyDiffer, setOnly] = useState(false);
  const tasks = useMemo(() => (onlyDiffer ? of.tasks.filter((task) => task.difference !== null && Math.abs(task.difference) > 1e-9) : of.tasks), [of.tasks, onlyDiffer]);
  const columns = useMemo(() => taskColumns(of), [of]);
  return (
    <>
      <section className="summary" aria-label="Result">
        <div className="panel figure verdict-figure">
          <span className="label">Result</span>
          <strong className="figure-verdict" title={of.verdict}><Line>{verdict(of)}</Line></strong>
          <Difference difference={of.difference} interval={of.interval_95} better={better} />
          <span className="figure-note number">
            {of.difference === null ? null : (
              <span>
                difference {signed(of.difference)}
                {of.interval_95 ? `, 95% interval ${signed(of.interval_95[0])} to ${signed(of.interval_95[1])}` : ""}
              </span>
            )}
            <span>
              {pValue(of.p_value)}
              {of.comparisons > 1 ? ` (adjusted for ${of.comparisons} comparisons)` : ""}, {of.test.name.replaceAll("_", " ")}
            </span>
            <span>
              {plural(of.tasks_compared, "task")} compared, {count(of.tasks_disagreeing)} disagree
            </span>
            {of.detectable_difference === null ? null : <span>differences from {reward(of.detectable_difference)} on could be told</span>}
          </span>
        </div>
        <SideFigure side={of.first} which="first" isBetter={better === "first"} />
        <SideFigure side={of.second} which="second" isBetter={better === "second"} />
      </section>
      {of.warnings.length ? (
        <ul className="warnings">
          {of.warnings.map((warning) => (
            <li key={warning}>
              <Icon name="error" size={13} /> <Line>{warning}</Line>
            </li>
          ))}
        </ul>
      ) : null}
      <div className="job-bar">
        <h2>Tasks</h2>
        <span className="quiet number">{count(of.task_count)}</span>
        <span className="grow" />
        <label className="check">
          <input type="checkbox" checked={onlyDiffer} onChange={(event) => setOnly(event.target.checked)} /> Only those that disagree
        </label>
      </div>
      <DataTable label="Tasks" rows={tasks} columns={columns} rowKey={(task) => task.slug} sort={sortIn(search.sort)} onSort={(sort) => void navigate({ to: ".", search: { ...search, sort: sortOut(sort) }, replace: true })} rowHeight={36} />
    </>
  );
}

function SideFigure({ side, which, isBetter }: { side: Side; which: "first" | "second"; isBetter: boolean }) {
  return (
    <div className={`panel figure${isBetter ? " better" : ""}`}>
      <span className="label">
        <i className={`side-mark ${which}`} />
        <Line>{side.name}</Line>
        {isBetter ? <span className="badge good">better</span> : null}
      </span>
      <strong className="figure-main">{side.mean === null ? "–" : reward(side.mean)}</strong>
      <Mean mean={side.mean} />
      <dl className="figure-list">
        <Row label="graded" text={`${count(side.graded)} of ${count(side.runs)}${side.coverage === null ? "" : ` · ${percent(side.coverage)}`}`} />
        {side.cost_per_run_usd !== null ? <Row label="cost a run" text={dollars(side.cost_per_run_usd)} /> : null}
        {side.time_per_run_s !== null ? <Row label="time a run" text={duration(side.time_per_run_s)} /> : null}
        {side.tokens_per_run !== null ? <Row label="tokens a run" text={count(Math.round(side.tokens_per_run))} /> : null}
      </dl>
      {Object.keys(side.ungraded).length ? (
        <ul className="causes">
          {Object.entries(side.ungraded).map(([cause, times]) => (
            <li key={cause} className="badge bad">
              {count(times)} {cause}
            </li>
          ))}
        </ul>
      ) : null}
    </div>
  );
}

function Row({ label, text }: { label: string; text: string }) {
  return (
    <div>
      <dt>{label}</dt>
      <dd className="number">{text}</dd>
    </div>
  );
}

const STATES: Record<string, string> = { compared: "", changed: "other version", mixed: "several versions" };

function taskColumns(of: Comparison): Column<Task>[] {
  const side = (which: "first" | "second"): Column<Task> => ({
    id: which,
    header: of[which].name,
    width: "minmax(110px, 1fr)",
    phone: "66px",
    value: (task) => task[which].mean,
    cell: (task) => <SideCell task={task} which={which} jobs={of[which].jobs} />,
  });
  return [
    { id: "slug", header: "Task", width: "minmax(180px, 2fr)", phone: "minmax(0, 1fr)", value: (task) => task.slug, cell: (task) => <strong><Line>{task.slug}</Line></strong> },
    side("first"),
    side("second"),
    {
      id: "difference",
      header: "Difference",
      width: "minmax(150px, 1.4fr)",
      phone: "66px",
      value: (task) => task.difference,
      cell: (task) =>
        task.difference === null ? (
          <span className="quiet">{STATES[task.state] ?? task.state.replaceAll("_", " ")}</span>
        ) : (
          <span className="task-difference">
            <span className="number">{signed(task.difference)}</span>
            <Difference difference={task.difference} interval={null} better={task.difference > 1e-9 ? "first" : task.difference < -1e-9 ? "second" : null} />
          </span>
        ),
    },
  ];
}

function SideCell({ task, which, jobs }: { task: Task; which: "first" | "second"; jobs: string[] }) {
  const figures = task[which];
  if (!figures.runs) return <span className="quiet">not run</span>;
  const shown = (
    <>
      <span className={`reward ${figures.mean === null ? "" : rewardClass(figures.mean)}`}>{figures.mean === null ? "–" : reward(figures.mean)}</span>
      <span className="quiet number">
        {" "}
        {figures.graded}/{figures.runs}
      </span>
    </>
  );
  const job = jobs[0];
  return job ? (
    <Link to="/jobs/$jobId" params={{ jobId: job }} search={{ view: "runs", task: task.slug }} className="above">
      {shown}
    </Link>
  ) : (
    shown
  );
}
