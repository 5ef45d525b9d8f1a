/** Which steps are shown, by kind, and which of them say what is searched for. */

import { type RefObject, useEffect, useMemo, useState } from "react";

import type { Kind } from "../api/types";
import { compact, count } from "../parts/format";
import { Icon } from "../parts/Icon";
import { KIND_ORDER, KINDS } from "./kinds";
import type { TraceSource } from "./source";
import type { Found } from "./useFound";

interface FiltersProps {
  source: TraceSource;
  kinds: ReadonlySet<Kind>;
  onKinds: (kinds: ReadonlySet<Kind>) => void;
  words: string;
  onWords: (words: string) => void;
  found: Found | null;
  cursorSeq: number | null;
  onMatch: (by: 1 | -1) => void;
  box: RefObject<HTMLInputElement | null>;
}

export function Filters(props: FiltersProps) {
  const { source, kinds, found } = props;
  const version = source.linesVersion;
  const counts = useMemo(() => countsOf(source), [source, version]);
  const [typed, setTyped] = useState(props.words);
  useEffect(() => setTyped(props.words), [props.words]);
  useEffect(() => {
    if (typed === props.words) return;
    const timer = setTimeout(() => props.onWords(typed), 200);
    return () => clearTimeout(timer);
  }, [typed, props]);
  const at = found && props.cursorSeq !== null ? found.seqs.indexOf(props.cursorSeq) : -1;
  const toggle = (kind: Kind) => {
    const next = new Set(kinds);
    if (!next.delete(kind)) next.add(kind);
    props.onKinds(next);
  };
  return (
    <div className="filters">
      <div className="kinds" role="group" aria-label="Kinds of steps">
        <button type="button" className="kind-chip" aria-pressed={kinds.size === 0} onClick={() => props.onKinds(new Set())}>
          All <span className="number">{compact(source.total)}</span>
        </button>
        {KIND_ORDER.filter((kind) => counts.has(kind)).map((kind) => (
          <button key={kind} type="button" className={`kind-chip kind-${kind}`} aria-pressed={kinds.has(kind)} onClick={() => toggle(kind)} title={KINDS[kind].label} aria-label={`${KINDS[kind].label}, ${counts.get(kind)}`}>
            <Icon name={KINDS[kind].icon} size={12} />
            <span className="kind-label">{KINDS[kind].label}</span> <span className="number">{compact(counts.get(kind) ?? 0)}</span>
          </button>
        ))}
      </div>
      <div className="search" role="search">
        <Icon name="search" size={14} />
        <input
          ref={props.box}
          type="search"
          value={typed}
          placeholder="Search  /"
          aria-label="Search in this run"
          onChange={(event) => setTyped(event.target.value)}
          onKeyDown={(event) => {
            if (event.key === "Enter") props.onMatch(event.shiftKey ? -1 : 1);
            if (event.key === "Escape") {
              setTyped("");
              event.currentTarget.blur();
            }
          }}
        />
        {found ? (
          <>
            <span className="search-count number" role="status">
              {found.isSearching && !found.seqs.length ? "…" : found.seqs.length ? `${at >= 0 ? at + 1 : "–"}/${count(found.seqs.length)}` : "none"}
            </span>
            <button type="button" className="icon-button" onClick={() => props.onMatch(-1)} aria-label="Match before (N)" disabled={!found.seqs.length}>
              <Icon name="up" size={13} />
            </button>
            <button type="button" className="icon-button" onClick={() => props.onMatch(1)} aria-label="Next match (n)" disabled={!found.seqs.length}>
              <Icon name="down" size={13} />
            </button>
          </>
        ) : null}
      </div>
    </div>
  );
}

function countsOf(source: TraceSource): Map<Kind, number> {
  const counts = new Map<Kind, number>();
  for (let place = 0; place < source.total; place += 1) {
    const kind = source.kindAt(place);
    if (kind) counts.set(kind, (counts.get(kind) ?? 0) + 1);
  }
  return counts;
}
