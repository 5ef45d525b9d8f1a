/** All steps of a run, a line each: where one is, and a click to anywhere. */

import { memo, useEffect } from "react";

import type { OutlineItem } from "../api/types";
import { Icon } from "../parts/Icon";
import { KINDS } from "./kinds";
import { type TraceSource, useSource } from "./source";
import { lastAt } from "./stage/places";
import { Line } from "./Text";
import { useEven } from "./useEven";

const HEIGHT = 26;
const BEYOND = 12;
const MAJOR = new Set(["setup", "prompt", "turn", "grade", "error", "unknown"]);

interface OutlinePanelProps {
  source: TraceSource;
  places: number[] | null;
  cursor: number;
  found: ReadonlySet<number> | null;
  onGo: (place: number) => void;
}

export function OutlinePanel({ source, places, cursor, found, onGo }: OutlinePanelProps) {
  useSource(source);
  const count = places ? places.length : source.total;
  const { box, first, last, total, offsetOf, show } = useEven({ count, size: HEIGHT, beyond: BEYOND });
  const row = places ? lastAt(places, cursor) : cursor;
  const isShown = !places || places[row] === cursor;
  useEffect(() => {
    if (isShown) show(row);
  }, [row, isShown, show]);
  useEffect(() => {
    if (!places && count) source.wantLines(first, last);
  }, [first, last, places, count, source]);
  return (
    <div className="outline" ref={box}>
      <ol style={{ height: total }}>
        {Array.from({ length: Math.max(0, last - first + 1) }, (_, index) => {
          const at = first + index;
          const place = places ? (places[at] ?? -1) : at;
          const line = source.line(place);
          return (
            <li key={at} style={{ transform: `translateY(${offsetOf(at)}px)` }}>
              {line ? <OutlineRow line={line} place={place} isHere={place === cursor} isFound={found?.has(line.seq) ?? false} onGo={onGo} /> : <span className="outline-row" />}
            </li>
          );
        })}
      </ol>
    </div>
  );
}

interface OutlineRowProps {
  line: OutlineItem;
  place: number;
  isHere: boolean;
  isFound: boolean;
  onGo: (place: number) => void;
}

const OutlineRow = memo(function OutlineRow({ line, place, isHere, isFound, onGo }: OutlineRowProps) {
  const of = KINDS[line.kind];
  const classes = `outline-row kind-${line.kind}${MAJOR.has(line.kind) ? " major" : ""}${line.is_error ? " failed" : ""}${isFound ? " found" : ""}`;
  return (
    <button type="button" className={classes} aria-current={isHere || undefined} onClick={() => onGo(place)} tabIndex={-1} title={`#${line.seq} ${of.label}`}>
      <Icon name={of.icon} size={12} />
      <span>
        <Line>{line.title || of.label}</Line>
      </span>
    </button>
  );
});
