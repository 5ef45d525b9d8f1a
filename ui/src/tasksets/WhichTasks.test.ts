import { expect, it } from "vitest";

import { chosenOf, taskCount } from "./WhichTasks";

const nothing = { words: "", env: "", slugs: new Set<string>() };

it("runs everything that fits until single tasks are chosen", () => {
  expect(chosenOf(nothing)).toEqual({ slugs: null, search: "", env: null });
  expect(chosenOf({ ...nothing, words: "sum", env: "qa" })).toEqual({ slugs: null, search: "sum", env: "qa" });
  expect(chosenOf({ words: "sum", env: "qa", slugs: new Set(["b", "a"]) })).toEqual({ slugs: ["b", "a"], search: "", env: null });
});

it("counts what is run, and nothing while that is not known", () => {
  expect(taskCount(nothing, 40)).toBe(40);
  expect(taskCount(nothing, null)).toBeNull();
  expect(taskCount({ ...nothing, slugs: new Set(["a"]) }, null)).toBe(1);
});
