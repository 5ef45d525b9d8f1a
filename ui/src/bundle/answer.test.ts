import { expect, test } from "vitest";

import { pieceAfter, says } from "./answer";

const file = { pieces: [[1, 9, 9], [12, 20, 5], [21, 21, 1]] as [number, number, number][] };

test("a step is looked for in the first piece that can hold it", () => {
  expect([0, 8, 9, 10, 19, 20, 21].map((after) => pieceAfter(file, after))).toEqual([0, 0, 1, 1, 1, 2, 3]);
});

test("a search looks at every text and number, however deep", () => {
  const payload = { a: [{ b: "The Quick" }, 42, null], c: true };
  expect(says(payload, "quick")).toBe(true);
  expect(says(payload, "42")).toBe(true);
  expect(says(payload, "slow")).toBe(false);
});
