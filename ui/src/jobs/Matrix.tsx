/** Task by repeat: every member of a job as one cell, coloured by its reward, or marked by what broke. */

import { Link } from "@tanstack/react-router";
import { useVirtualizer } from "@tanstack/react-virtual";
import { memo, useRef } from "react";

import type { Run } from "../api/types";
import { duration, reward, secondsBetween } from "../parts/format";
import { Mean } from "../parts/Mean";
import { endingOf, rewardClass } from "../parts/outcome";
import { Line } from "../trace/Text";
import type { TaskRow } from "./useRuns";
import "./matrix.css";

const ROW_HEIGHT = 32;

export function Matrix({ rows, columns }: { rows: TaskRow[]; columns: number }) {
  const box = useRef<HTMLDivElement>(null);
  const list = useVirtualizer({ count: rows.length, getScrollElement: () => box.current, estimateSize: () => ROW_HEIGHT, overscan: 12, getItemKey: (index) => rows[index]?.slug ?? index });
  const cell = columns > 24 ? 22 : columns > 10 ? 34 : 46;
  const grid = { gridTemplateColumns: `minmax(150px, 300px) 150px repeat(${columns}, ${cell}px)` };
  return (
    <div className="matrix" ref={box} role="table" aria-label="Tasks by repeat" tabIndex={0}>
      <div className="matrix-head" role="row" style={grid}>
        <span role="columnheader">Task</span>
        <span role="columnheader">Mean</span>
        {Array.from({ length: columns }, (_, column) => (
          <span key={column} role="columnheader" className="number">
            {column + 1}
          </span>
        ))}
      </div>
      <div className="matrix-rows" style={{ height: list.getTotalSize() }}>
        {list.getVirtualItems().map((item) => {
          const row = rows[item.index];
          if (!row) return null;
          return (
            <div key={item.key} className="matrix-row" role="row" style={{ ...grid, transform: `translateY(${item.start}px)` }}>
              <span role="rowheader" className="matrix-task">
                <Line>{row.slug}</Line>
              </span>
              <span role="cell">
                <Mean mean={row.mean} />
              </span>
              {Array.from({ length: columns }, (_, column) => (
                <span key={column} role="cell">
                  <Cell run={row.runs[column]} isSmall={cell < 30} />
                </span>
              ))}
            </div>
          );
        })}
      </div>
    </div>
  );
}

const LETTERS: Record<string, string> = { environment: "E", capability: "C", agent: "A", model: "M", runtime: "R", grader: "G", timeout: "T", cancelled: "✕", invalid: "!", interrupted: "–", running: "" };

const Cell = memo(function Cell({ run, isSmall }: { run: Run | undefined; isSmall: boolean }) {
  if (!run) return <span className="cell cell-none" />;
  const ending = endingOf(run);
  const isGraded = run.reward !== null && run.invalid_reason === null;
  const took = secondsBetween(run.start_time, run.end_time);
  const says = [`${run.task_slug}, repeat ${run.member + 1}`, isGraded ? `reward ${reward(run.reward ?? 0)}` : ending.says, took === null ? null : duration(took), run.attempt > 1 ? `attempt ${run.attempt}` : null].filter(Boolean).join(" · ");
  const shown = isGraded ? short(run.reward ?? 0) : (LETTERS[ending.short] ?? "?");
  return (
    <Link to="/trace/$traceId" params={{ traceId: run.id }} preload={false} className={`cell ${isGraded ? rewardClass(run.reward ?? 0) : `cell-${ending.short === "running" ? "running" : ending.tone === "bad" ? "broken" : "open"}`}`} title={says} aria-label={isSmall || !shown ? says : `${shown}: ${says}`}>
      {isSmall && isGraded ? "" : shown}
    </Link>
  );
});

function short(value: number): string {
  if (value === 1 || value === 0) return String(value);
  return value.toFixed(2).replace(/^0/, "").replace(/0$/, "");
}

/** What the letters in the cells stand for; only those that are there. */
export function Legend({ runs }: { runs: readonly Run[] }) {
  const found = new Map<string, number>();
  for (const run of runs) {
    const ending = endingOf(run);
    if (ending.short !== "graded") found.set(ending.short, (found.get(ending.short) ?? 0) + 1);
  }
  if (!found.size) return null;
  return (
    <ul className="legend" aria-label="Marks">
      {[...found].map(([name, times]) => (
        <li key={name}>
          <span className={`cell ${name === "running" ? "cell-running" : name === "timeout" || name === "cancelled" || name === "invalid" || name === "interrupted" ? "cell-open" : "cell-broken"}`}>{LETTERS[name] ?? "?"}</span>
          {name} <span className="number quiet">{times}</span>
        </li>
      ))}
    </ul>
  );
}
