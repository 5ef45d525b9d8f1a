import { expect, test } from "vitest";

import { Heights } from "./heights";

function naive(heights: number[], offset: number): number {
  let top = 0;
  for (const [row, height] of heights.entries()) {
    if (offset < top + height) return row;
    top += height;
  }
  return heights.length - 1;
}

test("offsets and rows agree with adding everything up, whatever changes", () => {
  const rows = Array.from({ length: 2_000 }, (_, row) => 20 + ((row * 7919) % 61));
  const heights = new Heights();
  heights.fill(rows.length, (row) => rows[row] ?? 0);
  for (let round = 0; round < 500; round += 1) {
    const row = (round * 104_729) % rows.length;
    const height = 10 + ((round * 31) % 400);
    rows[row] = height;
    heights.set(row, height);
    const wanted = (round * 1_299_709) % rows.length;
    const offset = rows.slice(0, wanted).reduce((sum, one) => sum + one, 0);
    expect(heights.offsetOf(wanted)).toBeCloseTo(offset, 3);
    expect(heights.rowAt(offset + 1)).toBe(naive(rows, offset + 1));
  }
  expect(heights.total).toBeCloseTo(rows.reduce((sum, one) => sum + one, 0), 3);
});

test("nothing lies before the first row and after the last", () => {
  const heights = new Heights();
  heights.fill(3, () => 10);
  expect([heights.rowAt(-5), heights.rowAt(29), heights.rowAt(1_000)]).toEqual([0, 2, 2]);
  expect([heights.offsetOf(-1), heights.offsetOf(99)]).toEqual([0, 30]);
});

test("a row that is about as high as before changes nothing", () => {
  const heights = new Heights();
  heights.fill(2, () => 10);
  expect(heights.set(0, 10.2)).toBe(false);
  expect(heights.set(7, 99)).toBe(false);
  expect(heights.set(1, 30)).toBe(true);
});
