import { expect, test } from "vitest";

import type { Run } from "../api/types";
import { distribution, members, taskRows } from "./useRuns";

function run(task: string, member: number, reward: number | null, attempt = 1, more: Partial<Run> = {}): Run {
  return { id: `${task}${member}${attempt}`, task_slug: task, member, attempt, reward, invalid_reason: null, start_time: "2026-01-01T00:00:00Z", outcome: reward === null ? "model" : "graded", ...more } as Run;
}

test("of every member the latest attempt counts", () => {
  expect(members([run("a", 0, null, 1), run("a", 0, 1, 2), run("a", 1, 0)]).map((one) => one.reward)).toEqual([1, 0]);
});

test("a task's mean leaves out what was not graded and what does not count", () => {
  const [row] = taskRows([run("a", 0, 1), run("a", 2, null), run("a", 3, 0, 1, { invalid_reason: "leaked" })]);
  expect(row).toMatchObject({ slug: "a", mean: 1, graded: 1 });
  expect(row?.runs).toHaveLength(4);
  expect(row?.runs[1]).toBeUndefined();
});

test("rewards beyond 0 and 1 lie at the ends", () => {
  const bins = distribution([run("a", 0, -2), run("a", 1, 0.5), run("a", 2, 7), run("a", 3, null)]);
  expect([bins[0], bins[5], bins[10]]).toEqual([1, 1, 1]);
});
