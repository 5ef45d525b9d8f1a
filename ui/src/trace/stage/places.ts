/** Places of a run where something of a kind is to be seen, and which of them is the one at a step. */

import { useMemo } from "react";

import { type TraceSource, useSource } from "../source";

type Fits = (source: TraceSource, place: number) => boolean;

/** The places that fit, in order; grows while more becomes known. */
export function usePlaces(source: TraceSource, fits: Fits): number[] {
  useSource(source);
  const version = source.linesVersion;
  return useMemo(() => {
    const found: number[] = [];
    for (let place = 0; place < source.total; place += 1) {
      if (fits(source, place)) found.push(place);
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

export const hasPicture: Fits = (source, place) => source.hasPicture(place);
export const isShell: Fits = (source, place) => source.kindAt(place) === "shell";
export const isFiles: Fits = (source, place) => source.kindAt(place) === "files";
export const isRobot: Fits = (source, place) => source.kindAt(place) === "robot";
