/** Places of a run where something of a kind is to be seen, and which of them is the one at a step. */

import { useMemo } from "react";

import type { OutlineItem } from "../../api/types";
import { type TraceSource, useSource } from "../source";

/** The places whose lines fit, in order; grows while lines arrive. */
export function usePlaces(source: TraceSource, fits: (line: OutlineItem) => boolean): number[] {
  useSource(source);
  const version = source.linesVersion;
  return useMemo(() => {
    const found: number[] = [];
    for (let place = 0; place < source.total; place += 1) {
      const line = source.line(place);
      if (line && fits(line)) found.push(place);
    }
    return found;
  }, [source, version, fits]);
}

/** The index of the last place at or before another one; -1 when all come after it. */
export function lastAt(places: number[], place: number): number {
  let [low, high] = [0, places.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((places[middle] ?? 0) <= place) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}

export const hasPicture = (line: OutlineItem): boolean => line.has_image === true;
export const isShell = (line: OutlineItem): boolean => line.kind === "shell";
export const isFiles = (line: OutlineItem): boolean => line.kind === "files";
export const isRobot = (line: OutlineItem): boolean => line.kind === "robot";
