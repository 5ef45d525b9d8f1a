import { expect, test } from "vitest";

import { bytes, compact, dollars, duration, offset, percent, reward } from "./format";

test("durations have the unit that fits", () => {
  expect([0, 0.0004, 0.42, 3.14, 42.4, 125, 7260].map(duration)).toEqual(["0 ms", "<1 ms", "420 ms", "3.1 s", "42 s", "2 min 05 s", "2 h 01 min"]);
});

test("times since the beginning are as on a clock", () => {
  expect([0.04, 9.96, 59.9, 61, 3723, -2].map(offset)).toEqual(["0:00.0", "0:10.0", "0:59.9", "1:01", "1:02:03", "−0:02.0"]);
});

test("small amounts of money keep digits that say something", () => {
  expect([0, 0.00000123, 0.0044, 0.099, 1.5].map(dollars)).toEqual(["$0.00", "$0.0000012", "$0.0044", "$0.099", "$1.50"]);
});

test("large numbers are short", () => {
  expect([999, 1000, 12_345, 999_600, 1_500_000].map(compact)).toEqual(["999", "1k", "12.3k", "1M", "1.5M"]);
  expect(bytes(5 * 1024 * 1024)).toBe("5 MiB");
});

test("rewards and shares are short, too", () => {
  expect([1, 0, 0.5, 0.68333].map(reward)).toEqual(["1.0", "0.0", "0.5", "0.683"]);
  expect([1, 0.875, 0.005, 0].map(percent)).toEqual(["100%", "88%", "0.5%", "0%"]);
});
