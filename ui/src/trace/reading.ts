/** What the parts of a step's card share: when the run began, and where its pictures are shown large. */

import { createContext, useContext } from "react";

interface Reading {
  /** When the run began, in milliseconds since the epoch. */
  beganMs: number | null;
  /** Whether pictures are shown beside the timeline, so that those in it may be small. */
  hasStage: boolean;
  /** Look at what a step shows, large. */
  onShow: (seq: number) => void;
}

export const ReadingContext = createContext<Reading>({ beganMs: null, hasStage: false, onShow: () => undefined });

export function useReading(): Reading {
  return useContext(ReadingContext);
}
