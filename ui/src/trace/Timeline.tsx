/** The steps of a run in order, as many as there are; only those near the screen exist. */

import { type Ref, useCallback, useEffect, useImperativeHandle, useMemo, useRef } from "react";

import { CLOSED_HEIGHT, KIND_ORDER, KINDS } from "./kinds";
import { type TraceSource, useSource } from "./source";
import { StepCard } from "./StepCard";
import { useRows } from "./useRows";

/** Where the step that is looked at begins, below the top of the list. */
const READING_LINE_PX = 74;
const PADDING_PX = 8;
const BEYOND = 12;
const NO_STEP = -1;

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
  /** The steps that are not as steps of their kind are at first. */
  flipped: ReadonlySet<number>;
  raw: ReadonlySet<number>;
  onCursor: (place: number) => void;
  onToggle: (seq: number) => void;
  onRaw: (seq: number) => void;
  onLink: (seq: number) => void;
  handle: Ref<TimelineHandle>;
  follows: boolean;
}

export function Timeline(props: TimelineProps) {
  const { source, places, cursor, isOpen, flipped, onCursor } = props;
  useSource(source);
  const count = places ? places.length : source.total;
  const placeAt = useCallback((row: number) => (places ? (places[row] ?? -1) : row), [places]);
  const keyOf = useCallback(
    (row: number) => {
      const seq = source.seqAt(placeAt(row));
      // Below zero: a place of which nothing is known yet.
      return seq < 0 ? -1 - placeAt(row) : seq;
    },
    [source, placeAt],
  );
  // By the code of a kind, of which 0 is none.
  const usualHeights = useMemo(
    () => [CLOSED_HEIGHT, ...KIND_ORDER.map((kind) => (isOpen(NO_STEP, kind) ? KINDS[kind].height : CLOSED_HEIGHT))],
    [isOpen],
  );
  const estimate = useCallback(
    (row: number) => {
      const place = placeAt(row);
      const code = source.codeAt(place);
      const usual = usualHeights[code] ?? CLOSED_HEIGHT;
      if (!flipped.size || !flipped.has(source.seqAt(place))) return usual;
      return usual === CLOSED_HEIGHT ? KINDS[KIND_ORDER[code - 1] ?? "unknown"].height : CLOSED_HEIGHT;
    },
    [source, placeAt, usualHeights, flipped],
  );
  const onScroll = useCallback((row: number) => onCursor(placeAt(row)), [onCursor, placeAt]);
  const rows = useRows({ count, keyOf, estimate, version: source.linesVersion, holdAt: READING_LINE_PX, padding: PADDING_PX, onScroll });
  const { box, first, last, place, show, scrollBy } = rows;

  const rowOf = useCallback((at: number) => (places ? rowIn(places, at) : at), [places]);
  useImperativeHandle(
    props.handle,
    () => ({
      reveal: (at, how) => (how === "start" ? place(rowOf(at), READING_LINE_PX) : show(rowOf(at), READING_LINE_PX)),
      page: (by) => scrollBy(by * ((box.current?.clientHeight ?? 0) - 80)),
    }),
    [place, show, scrollBy, rowOf, box],
  );

  useEffect(() => {
    if (count === 0) return;
    if (!places) source.want(first - BEYOND, last + BEYOND);
    else for (let row = Math.max(0, first - BEYOND); row <= Math.min(count - 1, last + BEYOND); row += 1) source.want(placeAt(row), placeAt(row));
  });

  // What arrives at the end of a run that is followed comes onto the screen.
  const before = useRef(0);
  useEffect(() => {
    const grew = count > before.current;
    before.current = count;
    if (!props.follows || !grew) return;
    const element = box.current;
    if (element) place(count - 1, Math.max(READING_LINE_PX, element.clientHeight - 160));
    onCursor(placeAt(count - 1));
  }, [count, placeAt, place, props.follows, onCursor, box]);

  return (
    <div className="timeline" ref={box} tabIndex={0} role="feed" aria-label="Steps" aria-busy={source.state === "loading"}>
      <div className="timeline-all" style={{ height: rows.total + 200 }}>
        {Array.from({ length: Math.max(0, last - first + 1) }, (_, index) => {
          const row = first + index;
          const at = placeAt(row);
          const line = source.line(at);
          const step = source.view(at);
          const seq = source.seqAt(at);
          const kind = step?.kind ?? source.kindAt(at);
          return (
            <div key={keyOf(row)} data-row={row} ref={rows.measure} className="timeline-row" style={{ transform: `translateY(${rows.offsetOf(row)}px)` }}>
              <StepCard
                line={line}
                step={step}
                failure={source.failure(at)}
                place={at}
                isOpen={kind !== undefined && isOpen(seq, kind)}
                isCurrent={at === cursor}
                isRaw={props.raw.has(seq)}
                onToggle={props.onToggle}
                onRaw={props.onRaw}
                onLink={props.onLink}
                onRetry={(wanted) => source.retry(wanted)}
              />
            </div>
          );
        })}
      </div>
    </div>
  );
}

/** The row of a place among those that are shown, or the next one after it. */
function rowIn(places: number[], place: number): number {
  let [low, high] = [0, places.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((places[middle] ?? 0) < place) low = middle + 1;
    else high = middle;
  }
  return Math.min(low, places.length - 1);
}
