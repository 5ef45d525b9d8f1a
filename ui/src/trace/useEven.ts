/** A list of very many rows of one size, of which only those on the screen exist; along either axis. */

import { type RefObject, useCallback, useLayoutEffect, useRef, useState } from "react";

interface EvenOptions {
  count: number;
  /** The size of every row along the axis, in pixels. */
  size: number;
  isAcross?: boolean;
  /** Rows beyond the edges that exist already. */
  beyond: number;
  padding?: number;
}

interface Even {
  box: RefObject<HTMLDivElement | null>;
  first: number;
  last: number;
  /** The size of all rows together, with the padding. */
  total: number;
  offsetOf: (row: number) => number;
  /** Bring a row onto the screen, `around` pixels from its edges, with as little moving as possible. */
  show: (row: number, around?: number) => void;
}

export function useEven({ count, size, isAcross = false, beyond, padding = 0 }: EvenOptions): Even {
  const box = useRef<HTMLDivElement>(null);
  const [range, setRange] = useState({ first: 0, last: -1 });
  const offsetOf = useCallback((row: number) => padding + row * size, [padding, size]);
  useLayoutEffect(() => {
    const element = box.current;
    if (!element) return;
    const look = () => {
      const top = (isAcross ? element.scrollLeft : element.scrollTop) - padding;
      const length = isAcross ? element.clientWidth : element.clientHeight;
      const first = Math.max(0, Math.floor(top / size) - beyond);
      const last = Math.min(count - 1, Math.floor((top + length) / size) + beyond);
      setRange((before) => (before.first === first && before.last === last ? before : { first, last }));
    };
    look();
    const sizes = new ResizeObserver(look);
    sizes.observe(element);
    element.addEventListener("scroll", look, { passive: true });
    return () => {
      sizes.disconnect();
      element.removeEventListener("scroll", look);
    };
  }, [count, size, isAcross, beyond, padding]);
  const show = useCallback(
    (row: number, around = 0) => {
      const element = box.current;
      if (!element || row < 0) return;
      const length = isAcross ? element.clientWidth : element.clientHeight;
      const at = isAcross ? element.scrollLeft : element.scrollTop;
      const [begin, end] = [offsetOf(row) - around, offsetOf(row + 1) + around];
      const to = begin < at ? begin : end > at + length ? end - length : at;
      if (to === at) return;
      if (isAcross) element.scrollLeft = to;
      else element.scrollTop = to;
    },
    [isAcross, offsetOf],
  );
  return { box, first: range.first, last: Math.min(range.last, count - 1), total: count * size + 2 * padding, offsetOf, show };
}
