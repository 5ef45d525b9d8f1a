/** Two runs step by step: which step of the one is which of the other, and where they part. */

import { diffArrays } from "diff";

import type { OutlineItem } from "../../api/types";
import { pretty, table } from "../loose";
import type { Block, StepView } from "../step";

export interface Pair {
  left: number | null;
  right: number | null;
  /** Whether the two say the same, whenever and under whatever ids they said it. */
  isAlike: boolean;
}

/** What makes two steps the same move: their kind, and the tool that is called. */
function move(line: OutlineItem): string {
  if (line.kind === "tool" || line.kind === "screen") return `${line.kind} ${line.title.split(" ", 1)[0] ?? ""}`;
  return line.kind;
}

/**
 * Put the steps of two runs beside each other. Steps that say the same stand together; between those,
 * moves of the same kind do, in order.
 */
export function align(left: readonly OutlineItem[], right: readonly OutlineItem[]): Pair[] {
  const pairs: Pair[] = [];
  const whole = (line: OutlineItem) => `${move(line)}\n${line.kind === "grade" ? "" : line.title}`;
  let [at, other] = [0, 0];
  const flush = (toLeft: number, toRight: number) => {
    pairs.push(...between(left, right, at, toLeft, other, toRight));
    at = toLeft;
    other = toRight;
  };
  let [ahead, behind] = [0, 0];
  for (const part of diffArrays(left.map(whole), right.map(whole))) {
    if (part.removed) ahead += part.count;
    else if (part.added) behind += part.count;
    else {
      flush(ahead, behind);
      for (let index = 0; index < part.count; index += 1) {
        const [one, other] = [left[ahead + index], right[behind + index]];
        pairs.push({ left: ahead + index, right: behind + index, isAlike: one?.digest === other?.digest });
      }
      ahead += part.count;
      behind += part.count;
      at = ahead;
      other = behind;
    }
  }
  flush(left.length, right.length);
  return pairs;
}

function between(left: readonly OutlineItem[], right: readonly OutlineItem[], from: number, to: number, start: number, end: number): Pair[] {
  const pairs: Pair[] = [];
  let [at, other] = [from, start];
  const parts = diffArrays(left.slice(from, to).map(move), right.slice(start, end).map(move));
  for (const part of parts) {
    for (let index = 0; index < part.count; index += 1) {
      if (part.removed) pairs.push({ left: at++, right: null, isAlike: false });
      else if (part.added) pairs.push({ left: null, right: other++, isAlike: false });
      else pairs.push({ left: at++, right: other++, isAlike: false });
    }
  }
  return pairs;
}

export interface Facet {
  label: string;
  text: string;
}

/** What a step says, a text for each of its sides; pictures are not among them. */
export function facets(step: StepView): Facet[] {
  const found: Facet[] = [];
  const add = (label: string, text: unknown) => {
    const said = typeof text === "string" ? text : text === null || text === undefined ? "" : spelledOut(text);
    if (said) found.push({ label, text: said });
  };
  switch (step.kind) {
    case "setup":
      add("Arguments", step.arguments);
      break;
    case "prompt":
      add("Messages", step.messages.map((message) => said(message.block)).join("\n\n"));
      break;
    case "turn":
      add("Reasoning", step.reasoning);
      add("Answer", step.content);
      add("Calls", step.calls.map((call) => `${call.name}\n${spelledOut(call.arguments)}`).join("\n"));
      break;
    case "tool":
    case "shell":
    case "screen":
      add("Arguments", step.call.arguments);
      add("Result", step.blocks.map(said).join("\n"));
      break;
    case "files":
      for (const patch of step.patches) add(patch.path, patch.patch);
      break;
    case "subagent":
      add("Answer", step.content);
      break;
    case "grade":
      add("Answer", step.answer);
      add("Score", String(step.grade.score ?? ""));
      add("Subscores", step.grade.subscores.map((one) => `${one.name}: ${one.value ?? "–"}${one.reason ? ` (${one.reason})` : ""}`).join("\n"));
      break;
    case "robot":
      add("State", step.state.map((one) => `${one.name}: ${one.values.join(", ")}`).join("\n"));
      add("Plan", step.chunk.map((row) => row.join(", ")).join("\n"));
      break;
    case "error":
    case "system":
    case "unknown":
      add("Content", step.kind === "error" ? step.error : step.payload);
      break;
  }
  if (step.kind !== "error") add("Error", step.error);
  return found;
}

/** Arguments with a line for each; texts in them as they are, not as JSON spells them. */
function spelledOut(value: unknown): string {
  if (typeof value === "string") return value;
  const entries = Object.entries(table(value));
  if (!entries.length) return pretty(value);
  return entries.map(([name, held]) => `${name}: ${typeof held === "string" ? held : pretty(held)}`).join("\n");
}

function said(block: Block): string {
  if (block.kind === "text") return typeof block.words === "string" ? block.words : `(${block.words.sizeBytes} bytes kept apart)`;
  if (block.kind === "data") return pretty(block.value);
  return `[${block.kind}]`;
}

export interface Difference {
  label: string;
  left: string;
  right: string;
}

/** The sides on which two steps differ. */
export function differences(left: StepView, right: StepView): Difference[] {
  const others = new Map(facets(right).map((facet) => [facet.label, facet.text]));
  const found: Difference[] = [];
  for (const { label, text } of facets(left)) {
    const other = others.get(label) ?? "";
    others.delete(label);
    if (text !== other) found.push({ label, left: text, right: other });
  }
  for (const [label, text] of others) found.push({ label, left: "", right: text });
  return found;
}
