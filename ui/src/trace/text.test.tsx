import { expect, test } from "vitest";

import { unescaped } from "./blobs";
import { cutOf } from "./Text";
import { together } from "./source";

test("a short text is not cut, a long one is cut at a line", () => {
  expect(cutOf("one\ntwo", 10)).toBeNull();
  const text = Array.from({ length: 200 }, (_, line) => `line ${line}`).join("\n");
  const cut = cutOf(text, 10);
  expect(text.slice(0, cut ?? 0).split("\n")).toHaveLength(10);
});

test("one line of five million letters is cut, too", () => {
  expect(cutOf("x".repeat(5_000_000), 60)).toBe(6_000);
});

test("a few letters more are not worth a button", () => {
  expect(cutOf("x".repeat(6_100), 60)).toBeNull();
});

test("keys that looked like references are as they were; references stay", () => {
  const ref = { $blob: "b".repeat(64), size_bytes: 1, media_type: "text/plain" };
  expect(unescaped({ $$blob: "hello", list: [{ $$$blob: 1 }], ref })).toEqual({ $blob: "hello", list: [{ $$blob: 1 }], ref });
});

test("steps that stand together are asked for together, not too many at once", () => {
  expect(together([1, 2, 3, 7, 8])).toEqual([[1, 3], [7, 2]]);
  expect(together(Array.from({ length: 100 }, (_, place) => place)).map(([, count]) => count)).toEqual([40, 40, 20]);
});
