/** The steps of a run in order, as many as there are; only those near the screen exist. */

import { useVirtualizer } from "@tanstack/react-virtual";
import { useCallback, useEffect, useImperativeHandle, useLayoutEffect, useRef, type Ref } from "react";

import { CLOSED_HEIGHT, KINDS } from "./kinds";
import { type TraceSource, useSource } from "./source";
import { StepCard } from "./StepCard";

const READING_LINE_PX = 96;
const OVERSCAN = 6;
const BEYOND = 20;

export interface TimelineHandle {
  /** Bring a place to the reading line, or only onto the screen where it is not. */
  reveal: (place: number, how: "start" | "auto") => void;
  page: (by: 1 | -1) => void;
}

interface TimelineProps {
  source: TraceSource;
  /** The places to show, `null` for all. */
  places: number[] | null;
  cursor: number;
  isOpen: (seq: number, kind: string) => boolean;
  raw: ReadonlySet<number>;
  onCursor: (place: number) => void;
  onToggle: (seq: number) => void;
  onRaw: (seq: number) => void;
  onLink: (seq: number) => void;
  handle: Ref<TimelineHandle>;
  follows: boolean;
}

export function Timeline(props: TimelineProps) {
  const { source, places, cursor, isOpen, onCursor } = props;
  useSource(source);
  const box = useRef<HTMLDivElement>(null);
  const isReaders = useRef(false);
  const count = places ? places.length : source.total;
  const placeAt = useCallback((row: number) => (places ? (places[row] ?? -1) : row), [places]);

  const list = useVirtualizer({
    count,
    getScrollElement: () => box.current,
    estimateSize: (row) => {
      const line = source.line(placeAt(row));
      if (!line) return CLOSED_HEIGHT + 40;
      return isOpen(line.seq, line.kind) ? KINDS[line.kind].height : CLOSED_HEIGHT;
    },
    getItemKey: (row) => {
      const place = placeAt(row);
      return source.line(place)?.seq ?? `at${place}`;
    },
    overscan: OVERSCAN,
    scrollPaddingStart: READING_LINE_PX,
    scrollPaddingEnd: 24,
    paddingStart: 8,
    paddingEnd: 240,
  });

  const rowOf = useCallback(
    (place: number) => {
      if (!places) return place;
      let [low, high] = [0, places.length];
      while (low < high) {
        const middle = (low + high) >> 1;
        if ((places[middle] ?? 0) < place) low = middle + 1;
        else high = middle;
      }
      return Math.min(low, places.length - 1);
    },
    [places],
  );

  useImperativeHandle(
    props.handle,
    () => ({
      reveal: (place, how) => {
        isReaders.current = false;
        const row = rowOf(place);
        const item = list.getVirtualItems().find((one) => one.index === row);
        const height = box.current?.clientHeight ?? 0;
        const top = list.scrollOffset ?? 0;
        const isWhole = item !== undefined && item.start >= top + 4 && item.end <= top + height - 4;
        if (how === "auto" && isWhole) return;
        const isTall = item !== undefined && item.size > height - READING_LINE_PX;
        const isAbove = item !== undefined && item.start < top;
        list.scrollToIndex(row, { align: how === "start" || isTall || isAbove || item === undefined ? "start" : "auto" });
      },
      page: (by) => {
        isReaders.current = true;
        box.current?.scrollBy({ top: by * (box.current.clientHeight - 80) });
      },
    }),
    [list, rowOf],
  );

  const items = list.getVirtualItems();
  const [first, last] = [items[0]?.index ?? 0, items.at(-1)?.index ?? 0];
  useEffect(() => {
    if (count === 0) return;
    if (!places) source.want(first - BEYOND, last + BEYOND);
    else for (let row = Math.max(0, first - BEYOND); row <= Math.min(count - 1, last + BEYOND); row += 1) source.want(placeAt(row), placeAt(row));
  });

  // The reader scrolls: the step at the reading line becomes the one that is looked at.
  useEffect(() => {
    const element = box.current;
    if (!element) return;
    let frame = 0;
    const byReader = () => {
      isReaders.current = true;
    };
    const onScroll = () => {
      if (!isReaders.current || frame) return;
      frame = requestAnimationFrame(() => {
        frame = 0;
        const atEnd = element.scrollTop + element.clientHeight >= element.scrollHeight - 250;
        const item = list.getVirtualItemForOffset(element.scrollTop + READING_LINE_PX + 12);
        const row = atEnd ? list.getVirtualItems().findLast((one) => one.start < element.scrollTop + element.clientHeight - 60)?.index : item?.index;
        if (row !== undefined) onCursor(placeAt(row));
      });
    };
    const onKey = (event: KeyboardEvent) => {
      if (/^(?:PageUp|PageDown|Home|End|ArrowUp|ArrowDown)$/.test(event.key)) byReader();
    };
    element.addEventListener("wheel", byReader, { passive: true });
    element.addEventListener("touchmove", byReader, { passive: true });
    element.addEventListener("pointerdown", (event) => {
      if (event.target === element) byReader();
    });
    element.addEventListener("keydown", onKey);
    element.addEventListener("scroll", onScroll, { passive: true });
    return () => {
      cancelAnimationFrame(frame);
      element.removeEventListener("wheel", byReader);
      element.removeEventListener("touchmove", byReader);
      element.removeEventListener("keydown", onKey);
      element.removeEventListener("scroll", onScroll);
    };
  }, [list, onCursor, placeAt]);

  // A run that goes on is followed at its end, as long as the reader is there.
  const wasAtEnd = useRef(false);
  useLayoutEffect(() => {
    if (props.follows && wasAtEnd.current && count > 0) list.scrollToIndex(count - 1, { align: "end" });
    const element = box.current;
    wasAtEnd.current = element !== null && element.scrollTop + element.clientHeight >= element.scrollHeight - 300;
  }, [count, props.follows, list]);

  return (
    <div className="timeline" ref={box} tabIndex={0} role="feed" aria-label="Steps" aria-busy={source.state === "loading"}>
      <div className="timeline-all" style={{ height: list.getTotalSize() }}>
        <div style={{ transform: `translateY(${items[0]?.start ?? 0}px)` }}>
          {items.map((item) => {
            const place = placeAt(item.index);
            const line = source.line(place);
            const step = source.view(place);
            const seq = line?.seq ?? -1;
            return (
              <div key={item.key} data-index={item.index} ref={list.measureElement}>
                <StepCard
                  line={line}
                  step={step}
                  failure={source.failure(place)}
                  place={place}
                  isOpen={line !== undefined && isOpen(seq, step?.kind ?? line.kind)}
                  isCurrent={place === cursor}
                  isRaw={props.raw.has(seq)}
                  onToggle={props.onToggle}
                  onRaw={props.onRaw}
                  onLink={props.onLink}
                  onRetry={(at) => source.retry(at)}
                />
              </div>
            );
          })}
        </div>
      </div>
    </div>
  );
}
