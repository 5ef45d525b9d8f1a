/** Plays a run: goes from one place to the next as fast as it happened, without the long waits. */

import { useEffect, useState } from "react";

import type { TraceSource } from "../source";

const SHORTEST_MS = 280;
const LONGEST_MS = 1_400;

export function usePlay(source: TraceSource, places: number[], index: number, onGo: (place: number) => void): [boolean, (plays: boolean) => void] {
  const [plays, setPlays] = useState(false);
  const next = places[index + 1];
  useEffect(() => {
    if (!plays) return;
    if (next === undefined) {
      setPlays(false);
      return;
    }
    const here = places[index];
    const [from, to] = [here === undefined ? undefined : source.line(here)?.at_us, source.line(next)?.at_us];
    const waited = from != null && to != null ? (to - from) / 1000 : SHORTEST_MS;
    const timer = setTimeout(() => onGo(next), Math.min(LONGEST_MS, Math.max(SHORTEST_MS, waited)));
    return () => clearTimeout(timer);
  }, [plays, next, index, places, source, onGo]);
  return [plays, setPlays];
}
