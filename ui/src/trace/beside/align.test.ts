import { expect, test } from "vitest";

import type { OutlineItem, StepItem } from "../../api/types";
import { view } from "../step";
import { align, differences } from "./align";

const line = (text: string, seq: number): OutlineItem => {
  const [kind, ...title] = text.split(" ");
  return { seq, kind: kind as OutlineItem["kind"], title: title.join(" "), digest: text, is_error: false, has_image: false } as OutlineItem;
};
const lines = (...texts: string[]) => texts.map((text, index) => line(text, index + 1));
const spelled = (left: OutlineItem[], right: OutlineItem[]) => align(left, right).map((pair) => `${pair.left ?? "-"}${pair.isAlike ? "=" : "~"}${pair.right ?? "-"}`);

test("two runs that did the same stand side by side", () => {
  const one = lines("setup a", "prompt b", "turn c", "shell ls", "grade x");
  expect(spelled(one, one)).toEqual(["0=0", "1=1", "2=2", "3=3", "4=4"]);
});

test("a step that only one of them took has nobody beside it", () => {
  const one = lines("prompt p", "turn a", "shell ls", "turn b", "grade g");
  const other = lines("prompt p", "turn a", "shell ls", "turn z", "shell cat", "turn b", "grade g");
  expect(spelled(one, other)).toEqual(["0=0", "1=1", "2=2", "-~3", "-~4", "3=5", "4=6"]);
  expect(spelled([line("shell ls", 1)], [{ ...line("shell ls", 1), digest: "other" }])).toEqual(["0~0"]);
});

test("the same move with other words stands beside it", () => {
  const one = lines("prompt p", "turn I look", "shell ls", "tool edit a", "grade g");
  const other = lines("prompt p", "turn I act", "shell pwd", "tool edit b", "grade h");
  expect(spelled(one, other)).toEqual(["0=0", "1~1", "2~2", "3~3", "4~4"]);
});

test("a run without anything stands beside nothing", () => {
  expect(spelled([], lines("prompt p"))).toEqual(["-~0"]);
  expect(spelled([], [])).toEqual([]);
});

test("differences name the side on which two steps differ", () => {
  const step = (command: string, output: string): StepItem => ({ seq: 1, source: "tool", span_id: null, started_at: null, ended_at: null, payload: { source: "tool", call: { name: "bash", arguments: { command } }, result: { content: [{ type: "text", text: output }] } } });
  expect(differences(view(step("ls", "a")), view(step("ls", "b")))).toEqual([{ label: "Result", left: "a", right: "b" }]);
  expect(differences(view(step("ls", "a")), view(step("ls", "a")))).toEqual([]);
  expect(differences(view(step("ls", "a")), view(step("pwd", "a")))[0]?.label).toBe("Arguments");
});
