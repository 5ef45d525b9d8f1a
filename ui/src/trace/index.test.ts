import { expect, test } from "vitest";

import { StepIndex } from "./index";

test("steps are found by their numbers, whatever is not known yet", () => {
  const index = new StepIndex();
  index.grow(100_000);
  const known = [0, 1, 2, 50_000, 50_001, 99_998, 99_999];
  for (const place of known) index.set(place, 10 + place * 3, "turn", false, false);
  for (const place of known) expect(index.placeOf(10 + place * 3)).toBe(place);
  expect(index.placeOf(11)).toBe(-1);
  expect(index.placeOf(10 + 300 * 3)).toBe(-1);
  expect(index.gap()).toBe(3);
  expect(index.isComplete).toBe(false);
});

test("kinds and marks are kept", () => {
  const index = new StepIndex();
  index.set(4, 7, "screen", true, true);
  expect([index.total, index.known, index.kindAt(4), index.isError(4), index.hasPicture(4)]).toEqual([5, 1, "screen", true, true]);
  expect([index.seqAt(3), index.kindAt(3), index.isError(3)]).toEqual([-1, undefined, false]);
  index.set(4, 7, "tool", false, false);
  expect([index.known, index.kindAt(4), index.hasPicture(4)]).toEqual([1, "tool", false]);
});

test("what is known from the beginning is told as ranges", () => {
  const index = new StepIndex();
  [1, 2, 3, 7, 8, 1_000_000_000].forEach((seq, place) => index.set(place, seq, "turn", false, false));
  expect(index.ranges(10)).toEqual([[1, 3], [7, 8], [1_000_000_000, 1_000_000_000]]);
  expect(index.ranges(2)).toEqual([[1, 3], [7, 8]]);
});
