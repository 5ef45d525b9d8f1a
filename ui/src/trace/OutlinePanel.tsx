/** All steps of a run, a line each: where one is, and a click to anywhere. */

import { useVirtualizer } from "@tanstack/react-virtual";
import { memo, useEffect, useRef } from "react";

import type { OutlineItem } from "../api/types";
import { Icon } from "../parts/Icon";
import { KINDS } from "./kinds";
import { type TraceSource, useSource } from "./source";
import { Line } from "./Text";

const HEIGHT = 26;
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
  const box = useRef<HTMLDivElement>(null);
  const count = places ? places.length : source.total;
  const list = useVirtualizer({ count, getScrollElement: () => box.current, estimateSize: () => HEIGHT, overscan: 12 });
  const row = places ? places.indexOf(cursor) : cursor;
  useEffect(() => {
    if (row >= 0) list.scrollToIndex(row, { align: "auto" });
  }, [row, list]);
  const items = list.getVirtualItems();
  const [first, last] = [items[0]?.index ?? 0, items.at(-1)?.index ?? 0];
  useEffect(() => {
    if (!places && count) source.wantLines(first, last);
  }, [first, last, places, count, source]);
  return (
    <div className="outline" ref={box}>
      <ol style={{ height: list.getTotalSize() }}>
        {items.map((item) => {
          const place = places ? (places[item.index] ?? -1) : item.index;
          const line = source.line(place);
          return (
            <li key={item.key} style={{ transform: `translateY(${item.start}px)` }}>
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
