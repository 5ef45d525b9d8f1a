/**
 * A list of very many rows of different heights, of which only those on the screen exist.
 *
 * One row is held where the reader sees it: what is measured or loaded above it moves everything but
 * that row. Rows are known by a key, so that what was measured survives filters and late arrivals.
 */

import { type RefObject, useCallback, useEffect, useLayoutEffect, useMemo, useRef, useState } from "react";

import { Heights } from "./heights";
import { isNearEnd, LONGEST_PX, scrolledAt, topAt } from "./stretch";

const AROUND_PX = 700;
/** Further than this many windows at once no wheel scrolls: the scrollbar was dragged. */
const DRAGGED_WINDOWS = 8;

interface Rows {
  box: RefObject<HTMLDivElement | null>;
  first: number;
  last: number;
  total: number;
  offsetOf: (row: number) => number;
  /** For each row's element; its height is followed. */
  measure: (element: HTMLElement | null) => void;
  /** Scroll as the reader would by hand. */
  scrollBy: (pixels: number) => void;
  /** Put a row so far below the top, and hold it there until the reader scrolls. */
  place: (row: number, below: number) => void;
  /** Bring a row onto the screen with as little moving as possible. */
  show: (row: number, below: number) => void;
}

interface RowsOptions {
  count: number;
  keyOf: (row: number) => number | string;
  estimate: (row: number) => number;
  /** Another value: heights may be others than those that were estimated. */
  version: unknown;
  /** How far below the top the row is that is held while the reader scrolls. */
  holdAt: number;
  padding: number;
  /** The reader scrolled, and looks at this row. */
  onScroll: (row: number) => void;
}

export function useRows(options: RowsOptions): Rows {
  const { count, keyOf, estimate, version, holdAt, padding } = options;
  const box = useRef<HTMLDivElement>(null);
  const heights = useMemo(() => new Heights(), []);
  const measured = useRef(new Map<number | string, { height: number; row: number }>());
  const held = useRef({ row: 0, key: keyOf(0) as number | string, below: 0 });
  // Whoever moved the list last: the page itself, or the reader, by hand.
  const isReaders = useRef(false);
  const [range, setRange] = useState({ first: 0, last: 0, total: 0, shift: 0, round: 0 });
  const latest = useRef(options);
  latest.current = options;
  // How much further down the list one is than the browser says, in one longer than it can scroll.
  const shift = useRef(0);
  const scrolled = useRef(0);

  const extent = useCallback(
    (element: HTMLElement) => {
      const total = heights.total + 2 * padding;
      const reach = Math.max(0, Math.min(total, LONGEST_PX) - element.clientHeight);
      return { most: Math.max(0, total - element.clientHeight), reach };
    },
    [heights, padding],
  );

  const scrollTo = useCallback(
    (element: HTMLElement, top: number) => {
      const { most, reach } = extent(element);
      const isNear = Math.abs(top - element.scrollTop - shift.current) < DRAGGED_WINDOWS * element.clientHeight;
      const along = top - shift.current;
      // As long as it can, the browser goes on scrolling from where it is.
      const goesAlong = isNear && !isNearEnd(top, most) && !isNearEnd(along, reach);
      const to = most <= reach ? top : goesAlong ? along : scrolledAt(top, most, reach);
      if (Math.abs(element.scrollTop - to) >= 1) element.scrollTop = to;
      scrolled.current = element.scrollTop;
      shift.current = most <= reach ? 0 : top - element.scrollTop;
    },
    [extent],
  );

  const look = useCallback(() => {
    const element = box.current;
    if (!element) return;
    const top = element.scrollTop + shift.current - padding;
    const first = heights.rowAt(top - AROUND_PX);
    const last = heights.rowAt(top + element.clientHeight + AROUND_PX);
    const total = heights.total;
    const by = shift.current;
    setRange((before) => (before.first === first && before.last === last && before.total === total && before.shift === by ? before : { first, last, total, shift: by, round: before.round + 1 }));
  }, [heights, padding]);

  /** Scroll so that the held row is where it was. */
  const settle = useCallback(() => {
    const element = box.current;
    if (!element) return;
    const wanted = heights.offsetOf(held.current.row) + padding - held.current.below;
    const most = Math.max(0, heights.total + 2 * padding - element.clientHeight);
    const now = element.scrollTop + shift.current;
    const top = Math.max(0, Math.min(wanted, Math.max(most, now)));
    const { most: end, reach } = extent(element);
    if (Math.abs(now - top) < 1 && (end > reach || shift.current === 0)) return;
    scrollTo(element, top);
    look();
  }, [heights, padding, extent, scrollTo, look]);

  useLayoutEffect(() => {
    const known = measured.current;
    let isMoved = false;
    heights.fill(count, estimate);
    for (const [key, { height, row }] of known) {
      if (row < count && keyOf(row) === key) heights.set(row, height);
      else isMoved = true;
    }
    // Rows that stand elsewhere now have to be looked for.
    for (let row = 0; isMoved && row < count; row += 1) {
      const held = known.get(keyOf(row));
      if (!held) continue;
      held.row = row;
      heights.set(row, held.height);
    }
    const { key, row } = held.current;
    if (count && keyOf(row) !== key) {
      for (let away = 1; away < 5_000; away += 1) {
        const near = keyOf(row + away) === key ? row + away : keyOf(row - away) === key ? row - away : -1;
        if (near < 0 || near >= count) continue;
        held.current = { ...held.current, row: near };
        break;
      }
    }
    look();
  }, [heights, count, keyOf, estimate, version, look]);

  useLayoutEffect(settle, [range.total, range.round, settle]);

  const watcher = useMemo(() => {
    const rows = new WeakMap<Element, true>();
    const observer = new ResizeObserver((entries) => {
      let isChanged = false;
      for (const entry of entries) {
        const row = Number((entry.target as HTMLElement).dataset.row);
        const height = entry.borderBoxSize[0]?.blockSize ?? 0;
        if (!entry.target.isConnected || !Number.isInteger(row) || height === 0) continue;
        measured.current.set(latest.current.keyOf(row), { height, row });
        isChanged = heights.set(row, height) || isChanged;
      }
      if (isChanged) look();
    });
    return { observer, rows };
  }, [heights, look]);
  useEffect(() => () => watcher.observer.disconnect(), [watcher]);

  const measure = useCallback(
    (element: HTMLElement | null) => {
      if (element && !watcher.rows.has(element)) {
        watcher.rows.set(element, true);
        watcher.observer.observe(element);
      }
      return () => {
        if (element) watcher.observer.unobserve(element);
      };
    },
    [watcher],
  );

  useEffect(() => {
    const element = box.current;
    if (!element) return;
    const byHand = (event: Event) => {
      if (event instanceof KeyboardEvent && (event.key === "Home" || event.key === "End")) {
        // The browser would glide there, for as long as it takes, over everything there is.
        event.preventDefault();
        const row = event.key === "Home" ? 0 : latest.current.count - 1;
        held.current = { row, key: latest.current.keyOf(row), below: event.key === "Home" ? padding : element.clientHeight - heights.heightOf(row) };
        isReaders.current = false;
        settle();
        look();
        latest.current.onScroll(row);
        return;
      }
      if (event instanceof KeyboardEvent && !/^(?:PageUp|PageDown|ArrowUp|ArrowDown)$/.test(event.key)) return;
      if (event.type === "pointerdown" && event.target !== element) return;
      isReaders.current = true;
    };
    const onScroll = () => {
      const { most, reach } = extent(element);
      if (most > reach) {
        const moved = element.scrollTop - scrolled.current;
        scrolled.current = element.scrollTop;
        if (Math.abs(moved) > DRAGGED_WINDOWS * element.clientHeight) shift.current = topAt(element.scrollTop, most, reach) - element.scrollTop;
        const top = element.scrollTop + shift.current;
        if (isNearEnd(top, most) || isNearEnd(element.scrollTop, reach)) scrollTo(element, Math.max(0, top));
      }
      if (isReaders.current) {
        const top = element.scrollTop + shift.current - padding;
        const atEnd = element.scrollTop + element.clientHeight >= element.scrollHeight - 2;
        const line = atEnd ? element.clientHeight - 80 : Math.min(holdAt, element.scrollTop + 12);
        const row = heights.rowAt(top + line);
        held.current = { row, key: latest.current.keyOf(row), below: heights.offsetOf(row) - top };
        latest.current.onScroll(row);
      }
      look();
    };
    const sizes = new ResizeObserver(look);
    sizes.observe(element);
    const hands = ["wheel", "touchmove", "pointerdown", "keydown"];
    for (const name of hands) element.addEventListener(name, byHand, { passive: name !== "keydown" });
    element.addEventListener("scroll", onScroll, { passive: true });
    return () => {
      sizes.disconnect();
      for (const name of hands) element.removeEventListener(name, byHand);
      element.removeEventListener("scroll", onScroll);
    };
  }, [heights, look, settle, padding, holdAt, extent, scrollTo]);

  const place = useCallback(
    (row: number, below: number) => {
      isReaders.current = false;
      held.current = { row, key: latest.current.keyOf(row), below };
      settle();
      look();
    },
    [settle, look],
  );

  const scrollBy = useCallback((pixels: number) => {
    isReaders.current = true;
    box.current?.scrollBy({ top: pixels });
  }, []);

  const show = useCallback(
    (row: number, below: number) => {
      const element = box.current;
      if (!element) return;
      const top = heights.offsetOf(row) + padding - element.scrollTop - shift.current;
      const height = heights.heightOf(row);
      const isWhole = top >= 4 && top + height <= element.clientHeight - 8;
      if (isWhole) {
        isReaders.current = false;
        held.current = { row, key: latest.current.keyOf(row), below: top };
      } else if (top > 0 && height < element.clientHeight - below - 24) {
        place(row, element.clientHeight - height - 24);
      } else {
        place(row, below);
      }
    },
    [heights, padding, place],
  );

  return { box, first: range.first, last: Math.min(range.last, count - 1), total: Math.min(range.total + 2 * padding, LONGEST_PX), offsetOf: (row) => heights.offsetOf(row) + padding - range.shift, measure, scrollBy, place, show };
}
