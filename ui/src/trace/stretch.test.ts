import { expect, test } from "vitest";

import { isNearEnd, LONGEST_PX, scrolledAt, topAt } from "./stretch";

const [MOST, REACH] = [45_000_000, LONGEST_PX - 900];

test("a list that can be scrolled whole is scrolled as it is", () => {
  expect(scrolledAt(12_345, 90_000, 90_000)).toBe(12_345);
  expect(topAt(12_345, 90_000, 90_000)).toBe(12_345);
});

test("of a longer one every place can be reached, and is found again", () => {
  for (const top of [0, 1, 199_999, 200_000, 1_000_000, 22_222_222, 44_799_999, 44_800_001, MOST]) {
    const scrolled = scrolledAt(top, MOST, REACH);
    expect(scrolled).toBeGreaterThanOrEqual(0);
    expect(scrolled).toBeLessThanOrEqual(REACH);
    expect(topAt(scrolled, MOST, REACH)).toBeCloseTo(top, 4);
  }
});

test("at both ends a pixel is a pixel", () => {
  expect(scrolledAt(700, MOST, REACH) - scrolledAt(400, MOST, REACH)).toBe(300);
  expect(scrolledAt(MOST, MOST, REACH) - scrolledAt(MOST - 300, MOST, REACH)).toBe(300);
  expect([isNearEnd(0, MOST), isNearEnd(MOST / 2, MOST), isNearEnd(MOST, MOST)]).toEqual([true, false, true]);
});
