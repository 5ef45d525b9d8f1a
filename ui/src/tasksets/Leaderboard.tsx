/** Who does best on a taskset: means with their intervals drawn, places only where they can be told apart. */

import { Link, useNavigate, useSearch } from "@tanstack/react-router";
import { useMemo, useState } from "react";

import type { Schemas } from "../api/http";
import { unlisted } from "../compare/ComparePage";
import { type Column, DataTable, sortIn, sortOut } from "../parts/DataTable";
import { Empty } from "../parts/Empty";
import { compact, count, dollars, duration, percent } from "../parts/format";
import { Icon } from "../parts/Icon";
import { Mean } from "../parts/Mean";
import { Line } from "../trace/Text";

type Board = Schemas["LeaderboardReply"];
type Standing = Schemas["StandingItem"];

const BY: Record<string, string> = { "agent-model": "Agent and model", model: "Model", agent: "Agent", job: "Job" };

export function Leaderboard({ board }: { board: Board }) {
  const search = useSearch({ strict: false });
  const navigate = useNavigate();
  const [chosen, setChosen] = useState<ReadonlySet<string>>(new Set());
  const set = (changed: Record<string, string | undefined>) => void navigate({ to: ".", search: { ...search, ...changed }, replace: true });
  const columns = useMemo(() => columnsOf(board, chosen, setChosen), [board, chosen]);
  const rows = board.standings;
  const picked = rows.filter((row) => chosen.has(row.name));
  const jobs = picked.flatMap((row) => row.jobs);
  return (
    <>
      <div className="job-bar">
        <label className="check">
          by{" "}
          <select className="field" value={search.by ?? "agent-model"} onChange={(event) => set({ by: event.target.value === "agent-model" ? undefined : event.target.value })} disabled={search.published === "1"}>
            {Object.entries(BY).map(([id, label]) => (
              <option key={id} value={id}>
                {label}
              </option>
            ))}
          </select>
        </label>
        <label className="check">
          <input type="checkbox" checked={search.published === "1"} onChange={(event) => set({ published: event.target.checked ? "1" : undefined })} /> Published only
        </label>
        <label className="check" title="Also count other tasks and versions than most rows ran">
          <input type="checkbox" checked={search.changed === "1"} onChange={(event) => set({ changed: event.target.checked ? "1" : undefined })} /> Other versions, too
        </label>
        <span className="grow" />
        {picked.length > 1 ? (
          <Link
            to="/compare"
            search={search.by === "job" || search.published === "1" ? { jobs: unlisted(jobs) } : { taskset: board.taskset, by: search.by, sides: unlisted(picked.map((row) => row.name)) }}
            className="button primary"
          >
            <Icon name="compare" /> Compare {picked.length}
          </Link>
        ) : (
          <span className="quiet">Choose two or more to compare</span>
        )}
      </div>
      {board.warnings.length ? (
        <ul className="warnings">
          {board.warnings.map((warning) => (
            <li key={warning}>
              <Icon name="error" size={13} /> <Line>{warning}</Line>
            </li>
          ))}
        </ul>
      ) : null}
      {rows.length ? (
        <DataTable label="Leaderboard" rows={rows} columns={columns} rowKey={(row) => row.name + row.jobs.join()} sort={sortIn(search.sort)} onSort={(sort) => set({ sort: sortOut(sort) })} rowHeight={44} />
      ) : search.published === "1" ? (
        <Empty icon="trophy" title="Nothing is published yet">
          The jobs of this taskset are under “Jobs”; publish one there.
        </Empty>
      ) : (
        <Empty icon="trophy" title="No job ran this taskset yet" command={`hud eval ${board.taskset} claude --all`} />
      )}
    </>
  );
}

function columnsOf(board: Board, chosen: ReadonlySet<string>, setChosen: (chosen: ReadonlySet<string>) => void): Column<Standing>[] {
  const flip = (name: string) => {
    const next = new Set(chosen);
    if (!next.delete(name)) next.add(name);
    setChosen(next);
  };
  const passes = Object.keys(board.standings[0]?.pass_at_k ?? {}).filter((k) => k !== "1");
  const pass = passes.at(-1);
  return [
    { id: "choose", header: "", width: "18px", phone: "18px", cell: (row) => <input type="checkbox" className="above" checked={chosen.has(row.name)} onChange={() => flip(row.name)} aria-label={`Choose ${row.name}`} /> },
    { id: "place", header: "Place", width: "40px", title: "The places that the intervals leave open", value: (row) => row.places?.[0], cell: (row) => <Place places={row.places} /> },
    {
      id: "name",
      header: "Who",
      width: "minmax(170px, 2fr)",
      phone: "minmax(0, 1fr)",
      value: (row) => row.name.toLowerCase(),
      cell: (row) => (
        <span className="standing">
          <strong>
            <Line>{row.name}</Line>
          </strong>
          {row.is_running ? <span className="badge accent"><span className="pulse" />running</span> : null}
          {row.flags.map((flag) => (
            <span key={flag} className="standing-flag" title={flag}>
              {flag}
            </span>
          ))}
        </span>
      ),
    },
    { id: "mean", header: "Mean reward", width: "minmax(150px, 1.4fr)", phone: "84px", value: (row) => row.mean, cell: (row) => <Mean mean={row.mean} interval={row.interval_95} bounds={row.lower_bound !== null && row.upper_bound !== null ? [row.lower_bound, row.upper_bound] : null} /> },
    { id: "coverage", header: "Graded", width: "72px", phone: "58px", isRight: true, value: (row) => row.coverage, cell: (row) => <Coverage row={row} /> },
    ...(pass ? [{ id: "pass", header: `pass@${pass}`, width: "60px", isRight: true, value: (row: Standing) => row.pass_at_k[pass], cell: (row: Standing) => share(row.pass_at_k[pass]) }] : []),
    { id: "cost", header: "Cost / run", width: "70px", isRight: true, value: (row) => row.cost_per_run_usd ?? row.known_cost_per_run_usd, cell: (row) => cost(row) },
    { id: "time", header: "Time / run", width: "72px", isRight: true, value: (row) => row.time_per_run_s, cell: (row) => (row.time_per_run_s === null ? <Nothing /> : duration(row.time_per_run_s)) },
    { id: "tokens", header: "Tokens / run", width: "82px", isRight: true, value: (row) => row.tokens_per_run, cell: (row) => (row.tokens_per_run ? compact(Math.round(row.tokens_per_run)) : <Nothing />) },
    {
      id: "jobs",
      header: "Jobs",
      width: "66px",
      isRight: true,
      value: (row) => row.jobs.length,
      cell: (row) =>
        row.jobs.length === 1 && row.jobs[0] ? (
          <Link to="/jobs/$jobId" params={{ jobId: row.jobs[0] }} className="link mono above">
            {row.jobs[0].slice(0, 8)}
          </Link>
        ) : (
          count(row.jobs.length)
        ),
    },
  ];
}

function Nothing() {
  return <span className="quiet">–</span>;
}

function share(value: number | null | undefined) {
  return value == null ? <Nothing /> : percent(value);
}

function cost(row: Standing) {
  if (row.cost_per_run_usd !== null && row.turns_per_run) return dollars(row.cost_per_run_usd);
  return row.known_cost_per_run_usd ? `≥ ${dollars(row.known_cost_per_run_usd)}` : <Nothing />;
}

function Place({ places }: { places: [number, number] | null }) {
  if (!places) return <span className="quiet" title="It cannot be ranked">–</span>;
  const [best, worst] = places;
  return <span className={`standing-place${best === 1 && worst === 1 ? " first" : ""}`}>{best === worst ? best : `${best}–${worst}`}</span>;
}

function Coverage({ row }: { row: Standing }) {
  const broken = Object.entries(row.ungraded).map(([cause, times]) => `${times} ${cause}`);
  return (
    <span title={broken.length ? `ungraded: ${broken.join(", ")}` : undefined} className={broken.length ? "covered-partly" : ""}>
      {count(row.graded)}
      <span className="quiet">/{count(row.runs)}</span>
    </span>
  );
}
