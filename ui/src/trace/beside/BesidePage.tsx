/** Two runs side by side, aligned step by step, the first place where they part marked. */

import { useQuery } from "@tanstack/react-query";
import { Link, useParams } from "@tanstack/react-router";
import { useCallback, useEffect, useMemo, useState } from "react";

import { get } from "../../api/http";
import { runQuery } from "../../api/queries";
import type { OutlineItem, RunDetail } from "../../api/types";
import { Failure } from "../../parts/Failure";
import { compact, duration, plural, secondsBetween, shortId } from "../../parts/format";
import { Icon } from "../../parts/Icon";
import { useShortcuts } from "../../parts/keys";
import { Reward } from "../../parts/Reward";
import { Replaced } from "../cards/Diff";
import { Picture } from "../cards/Picture";
import { headline } from "../cards/headline";
import { CLOSED_HEIGHT, KINDS } from "../kinds";
import { TraceSource, useSource } from "../source";
import { pictureOf } from "../stage/ScreenStage";
import { Line } from "../Text";
import { useRows } from "../useRows";
import { align, differences, type Pair } from "./align";
import { useTitle } from "../../parts/useTitle";
import "../step.css";
import "../trace.css";
import "./beside.css";

const MOST_ALIGNED = 20_000;
const LINES_TOGETHER = 4_000;

export function BesidePage() {
  const { traceId, otherId } = useParams({ from: "/trace/$traceId/beside/$otherId" });
  const [left, right] = [useQuery(runQuery(traceId)), useQuery(runQuery(otherId))];
  const error = left.error ?? right.error;
  if (error)
    return (
      <div className="page">
        <Failure error={error} />
      </div>
    );
  if (!left.data || !right.data) return <div aria-busy="true" />;
  return <Beside key={traceId + otherId} left={left.data} right={right.data} />;
}

/** All lines of a run, each with a hash of what its step says. */
function linesQuery(id: string) {
  return {
    queryKey: ["lines", id],
    queryFn: async ({ signal }: { signal: AbortSignal }) => {
      const lines: OutlineItem[] = [];
      while (lines.length < MOST_ALIGNED) {
        const page = await get("/v2/trace/{trace_id}/outline", { path: { trace_id: id }, query: { offset: lines.length, limit: LINES_TOGETHER, digests: true }, signal });
        lines.push(...page.items);
        if (page.items.length < LINES_TOGETHER) break;
      }
      return lines;
    },
  };
}

function useWhole(run: RunDetail): TraceSource {
  const [source, setSource] = useState(() => new TraceSource(run.id));
  useEffect(() => {
    const opened = new TraceSource(run.id);
    setSource(opened);
    void opened.open(null);
    return () => opened.close();
  }, [run.id]);
  useSource(source);
  return source;
}

function Beside({ left, right }: { left: RunDetail; right: RunDetail }) {
  useTitle(left.task_slug, "side by side");
  const [one, other] = [useWhole(left), useWhole(right)];
  const [lines, others] = [useQuery(linesQuery(left.id)), useQuery(linesQuery(right.id))];
  const isComplete = lines.data !== undefined && others.data !== undefined && one.isComplete && other.isComplete;
  const pairs = useMemo(() => (lines.data && others.data ? align(lines.data, others.data) : []), [lines.data, others.data]);
  const [onlyDiffer, setOnly] = useState(false);
  const shown = useMemo(() => (onlyDiffer ? pairs.filter((pair) => !pair.isAlike) : pairs), [pairs, onlyDiffer]);
  const [open, setOpen] = useState<ReadonlyMap<Pair, boolean>>(new Map());
  const [cursor, setCursor] = useState(0);
  const keyOf = useCallback((row: number) => `${shown[row]?.left ?? "-"} ${shown[row]?.right ?? "-"}`, [shown]);
  const isOpen = (pair: Pair) => open.get(pair) ?? (!pair.isAlike && pair.left !== null && pair.right !== null);
  const estimate = useCallback((row: number) => (shown[row]?.isAlike ? CLOSED_HEIGHT : 110), [shown]);
  const rows = useRows({ count: shown.length, keyOf, estimate, version: shown, holdAt: 40, padding: 8, onScroll: setCursor });
  const { first, last, place } = rows;
  useEffect(() => {
    for (let row = first; row <= last; row += 1) {
      const pair = shown[row];
      if (pair?.left != null) one.want(pair.left, pair.left);
      if (pair?.right != null) other.want(pair.right, pair.right);
    }
  });
  const parting = pairs.findIndex((pair) => !pair.isAlike);
  const count = pairs.filter((pair) => !pair.isAlike).length;
  const go = (by: 1 | -1) => {
    let row = cursor + by;
    while (row >= 0 && row < shown.length && shown[row]?.isAlike) row += by;
    if (row < 0 || row >= shown.length) return;
    setCursor(row);
    place(row, 60);
  };
  const step = (by: 1 | -1) => {
    const row = Math.min(shown.length - 1, Math.max(0, cursor + by));
    setCursor(row);
    rows.show(row, 60);
  };
  const flip = (pair: Pair) => setOpen((held) => new Map(held).set(pair, !isOpen(pair)));
  useShortcuts({ n: () => go(1), N: () => go(-1), j: () => step(1), k: () => step(-1), Enter: () => shown[cursor] && flip(shown[cursor]) });
  return (
    <div className="trace">
      <h1 className="visually-hidden">
        Two runs side by side: <Line>{left.task_slug}</Line>
      </h1>
      <header className="beside-head">
        <Side run={left} />
        <Link to="/trace/$traceId/beside/$otherId" params={{ traceId: right.id, otherId: left.id }} className="icon-button" title="Change sides" aria-label="Change sides">
          <Icon name="compare" />
        </Link>
        <Side run={right} />
      </header>
      <div className="filters beside-bar">
        <span role="status">
          {!isComplete ? "Aligning…" : parting < 0 ? "They took the same steps." : `${plural(count, "difference")}, the first at step ${(pairs[parting]?.left ?? pairs[parting]?.right ?? 0) + 1}`}
        </span>
        {parting >= 0 ? (
          <button
            type="button"
            className="button small"
            onClick={() => {
              const row = shown.indexOf(pairs[parting] as Pair);
              setCursor(row);
              place(row, 60);
            }}
          >
            <Icon name="flag" /> First difference
          </button>
        ) : null}
        <button type="button" className="icon-button" onClick={() => go(-1)} aria-label="Difference before (N)" title="Difference before (N)">
          <Icon name="up" size={14} />
        </button>
        <button type="button" className="icon-button" onClick={() => go(1)} aria-label="Next difference (n)" title="Next difference (n)">
          <Icon name="down" size={14} />
        </button>
        <span className="grow" />
        <label className="check">
          <input type="checkbox" checked={onlyDiffer} onChange={(event) => setOnly(event.target.checked)} /> Only differences
        </label>
      </div>
      <div className="timeline" ref={rows.box} tabIndex={0} role="group" aria-label="Steps of both runs">
        <div className="timeline-all" style={{ height: rows.total + 200 }}>
          {Array.from({ length: Math.max(0, last - first + 1) }, (_, index) => {
            const row = first + index;
            const pair = shown[row];
            if (!pair) return null;
            return (
              <div key={keyOf(row)} data-row={row} ref={rows.measure} className="timeline-row" style={{ transform: `translateY(${rows.offsetOf(row)}px)` }}>
                <PairRow pair={pair} left={one} right={other} isOpen={isOpen(pair)} isCurrent={row === cursor} isFirst={pair === pairs[parting]} onToggle={() => flip(pair)} />
              </div>
            );
          })}
        </div>
      </div>
    </div>
  );
}

function Side({ run }: { run: RunDetail }) {
  const took = secondsBetween(run.start_time, run.end_time);
  return (
    <Link to="/trace/$traceId" params={{ traceId: run.id }} className="beside-side">
      <Reward run={run} />
      <span className="beside-name">
        <strong>
          <Line>{run.task_slug}</Line>
        </strong>
        <span className="quiet">
          <Line>{[run.model, `run ${shortId(run.id)}`, took === null ? null : duration(took), run.llm_calls ? `${compact(run.prompt_tokens + run.completion_tokens)} tokens` : null].filter(Boolean).join(" · ")}</Line>
        </span>
      </span>
    </Link>
  );
}

interface PairRowProps {
  pair: Pair;
  left: TraceSource;
  right: TraceSource;
  isOpen: boolean;
  isCurrent: boolean;
  isFirst: boolean;
  onToggle: () => void;
}

function PairRow({ pair, left, right, isOpen, isCurrent, isFirst, onToggle }: PairRowProps) {
  const [one, other] = [pair.left === null ? undefined : left.view(pair.left), pair.right === null ? undefined : right.view(pair.right)];
  const pictures = [pair.left === null ? null : pictureOf(left, pair.left), pair.right === null ? null : pictureOf(right, pair.right)] as const;
  return (
    <article className={`pair-row${pair.isAlike ? "" : " differs"}${isCurrent ? " current" : ""}`} aria-current={isCurrent || undefined}>
      {isFirst ? (
        <p className="parting">
          <Icon name="flag" size={12} /> Here they part
        </p>
      ) : null}
      <button type="button" className="pair-heads" onClick={onToggle} aria-expanded={isOpen}>
        <Head source={left} place={pair.left} />
        <Head source={right} place={pair.right} />
      </button>
      {isOpen ? (
        <div className="pair-body">
          {pictures[0] && pictures[1] ? (
            <div className="pair-pictures">
              <Picture url={pictures[0]} />
              <Picture url={pictures[1]} />
            </div>
          ) : null}
          {one && other ? (
            differences(one, other).map((difference) => (
              <div key={difference.label} className="diff-file">
                <header className="diff-name">
                  <Line>{difference.label}</Line>
                </header>
                <Replaced before={difference.left} after={difference.right} />
              </div>
            ))
          ) : (
            <Alone source={one ? left : right} place={one ? pair.left : pair.right} />
          )}
          {one && other && !differences(one, other).length && !pictures[0] ? <p className="quiet">What they hold is the same.</p> : null}
        </div>
      ) : null}
    </article>
  );
}

function Alone({ source, place }: { source: TraceSource; place: number | null }) {
  const seq = place === null ? -1 : source.seqAt(place);
  if (seq < 0) return null;
  return (
    <p className="quiet">
      Only one of them took this step.{" "}
      <Link to="/trace/$traceId" params={{ traceId: source.runId }} search={{ step: String(seq) }} className="link">
        To the step
      </Link>
    </p>
  );
}

function Head({ source, place }: { source: TraceSource; place: number | null }) {
  if (place === null) return <span className="pair-head none">–</span>;
  const line = source.line(place);
  const step = source.view(place);
  const kind = step?.kind ?? line?.kind ?? "unknown";
  const title = step ? headline(step, false).title : (line?.title ?? "");
  return (
    <span className={`pair-head kind-${kind}`}>
      <span className="step-icon">
        <Icon name={KINDS[kind].icon} size={13} />
      </span>
      <span className="pair-title">
        <span className="step-kind">{KINDS[kind].label}</span> <Line>{title || (line?.title ?? "")}</Line>
      </span>
      <span className="step-no">#{line?.seq}</span>
    </span>
  );
}
