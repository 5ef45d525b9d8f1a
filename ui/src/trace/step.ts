/** A recorded step as what there is to see of it. Reads anything; what it cannot make sense of stays JSON. */

import type { Kind, StepItem } from "../api/types";
import { type Acts, actsOf } from "./actions";
import { type Media, media, type Words, words } from "./blobs";
import { list, number, numbers, type Table, table, text } from "./loose";

export type Block =
  | { kind: "text"; words: Words }
  | { kind: "picture"; media: Media }
  | { kind: "sound"; media: Media }
  | { kind: "film"; media: Media }
  | { kind: "link"; name: string; uri: string }
  | { kind: "data"; value: unknown };

export interface Call {
  name: string;
  arguments: unknown;
  id: string | null;
}

export interface Usage {
  prompt: number | null;
  completion: number | null;
  cached: number | null;
  cost: number | null;
}

export interface Subscore {
  name: string;
  weight: number | null;
  value: number | null;
  reason: string | null;
  info: Table;
  children: Subscore[];
}

export interface Grade {
  score: number | null;
  content: Words | null;
  isError: boolean;
  info: Table;
  subscores: Subscore[];
}

export interface Patch {
  path: string;
  status: string;
  patch: Words | null;
  withheld: string | null;
  sizeBefore: number | null;
  sizeAfter: number | null;
  notes: string[];
}

interface Shape {
  setup: { name: string; arguments: unknown; result: Table };
  prompt: { messages: { role: string; block: Block }[] };
  turn: {
    content: Words | null;
    reasoning: Words | null;
    refusal: string | null;
    calls: Call[];
    model: string | null;
    usage: Usage | null;
    finish: string | null;
    citations: { title: string; source: string; text: string }[];
  };
  tool: { call: Call; blocks: Block[]; structured: unknown; isError: boolean; hasResult: boolean };
  shell: { call: Call; commands: string[]; blocks: Block[]; isError: boolean; exitCode: number | null; hasResult: boolean };
  screen: { call: Call; acts: Acts | null; blocks: Block[]; isError: boolean; hasResult: boolean };
  files: { phase: string; root: string; patches: Patch[]; changed: number; truncated: boolean };
  robot: {
    what: "observation" | "inference" | "video_segment";
    tick: number | null;
    state: { name: string; names: string[]; values: number[] }[];
    chunk: number[][];
    names: string[];
    reward: number | null;
    terminated: boolean;
    camera: string;
    index: number;
    film: Media | null;
    pictures: { camera: string; media: Media }[];
  };
  subagent: { steps: StepItem[]; status: string | null; stopReason: string | null; content: Words | null; traceId: string | null };
  grade: { name: string; answer: unknown; grade: Grade };
  error: { phase: string | null };
  system: { extra: Table };
  unknown: Record<never, never>;
}

export interface Seen {
  seq: number;
  startedAt: string | null;
  endedAt: string | null;
  error: Words | null;
  extra: Table;
  payload: unknown;
}

export type StepView = { [K in Kind]: Seen & { kind: K } & Shape[K] }[Kind];
export type ViewOf<K extends Kind> = Extract<StepView, { kind: K }>;

const SHELLS = new Set(["bash", "shell", "sh", "local_shell", "terminal", "run_command", "execute"]);
const SCREENS = new Set(["computer", "computer_use", "browser"]);
const SUBAGENT_DEPTH = 8;

export function view(item: StepItem): StepView {
  const step = table(item.payload);
  const seen: Seen = {
    seq: item.seq,
    startedAt: item.started_at ?? text(step.started_at),
    endedAt: item.ended_at ?? text(step.ended_at),
    error: words(step.error),
    extra: table(step.extra),
    payload: item.payload,
  };
  switch (item.source ?? text(step.source)) {
    case "task":
      return task(seen, step);
    case "user":
      return { ...seen, kind: "prompt", messages: list(step.messages).map(message) };
    case "agent":
      return turn(seen, step);
    case "tool":
      return tool(seen, step);
    case "subagent":
      return { ...seen, kind: "subagent", ...subagent(step.subagent, item) };
    case "observation":
    case "inference":
    case "video_segment":
      return robot(seen, step, (item.source ?? text(step.source)) as "observation");
    case "system":
      return system(seen, step);
    default:
      return { ...seen, kind: "unknown" };
  }
}

export function block(value: unknown): Block {
  const held = table(value);
  switch (text(held.type)) {
    case "text": {
      const said = words(held.text);
      return said === null ? { kind: "data", value } : { kind: "text", words: said };
    }
    case "image":
      return { kind: "picture", media: media(held) };
    case "audio":
      return { kind: "sound", media: media(held) };
    case "video":
      return { kind: "film", media: media(held) };
    case "resource_link":
      return { kind: "link", name: text(held.name) ?? "", uri: text(held.uri) ?? "" };
    case "resource": {
      const inner = table(held.resource);
      const said = words(inner.text);
      return said === null ? { kind: "data", value } : { kind: "text", words: said };
    }
    default:
      return typeof value === "string" && value ? { kind: "text", words: value } : { kind: "data", value };
  }
}

function message(value: unknown): { role: string; block: Block } {
  const held = table(value);
  return { role: text(held.role) ?? "user", block: block(held.content) };
}

function task(seen: Seen, step: Table): StepView {
  const call = table(step.task_call);
  const name = text(call.name) ?? "task";
  if (call.phase === "evaluate") {
    const given = table(call.arguments);
    return { ...seen, kind: "grade", name, answer: given.answer ?? null, grade: gradeOf(call.result) };
  }
  if (call.phase === "setup") return { ...seen, kind: "setup", name, arguments: call.arguments, result: table(call.result) };
  return { ...seen, kind: "unknown" };
}

export function gradeOf(value: unknown): Grade {
  const held = table(value);
  return {
    score: number(held.score) ?? number(held.reward),
    content: words(held.content),
    isError: held.isError === true,
    info: table(held.info),
    subscores: list(held.subscores).map((one) => subscore(one, 0)),
  };
}

function subscore(value: unknown, depth: number): Subscore {
  const held = table(value);
  const info = table(held.info);
  const children = depth < 16 ? (list(held.children).length ? list(held.children) : list(held.subscores)) : [];
  return {
    name: text(held.name) ?? "?",
    weight: number(held.weight),
    value: number(held.value),
    reason: text(info.reason) ?? text(info.explanation) ?? text(info.error),
    info,
    children: children.map((one) => subscore(one, depth + 1)),
  };
}

function callOf(value: unknown): Call {
  const held = table(value);
  return { name: text(held.name) ?? "?", arguments: held.arguments ?? null, id: text(held.id) };
}

export function usageOf(value: unknown): Usage | null {
  const held = table(value);
  const usage = {
    prompt: number(held.prompt_tokens),
    completion: number(held.completion_tokens),
    cached: number(held.cached_tokens),
    cost: number(held.cost_usd),
  };
  return Object.values(usage).some((one) => one !== null) ? usage : null;
}

function turn(seen: Seen, step: Table): StepView {
  return {
    ...seen,
    kind: "turn",
    content: words(step.content),
    reasoning: words(step.reasoning),
    refusal: text(step.refusal),
    calls: list(step.tool_calls).map(callOf),
    model: text(step.model),
    usage: usageOf(step.usage),
    finish: text(step.stop_reason) ?? text(step.finish_reason),
    citations: list(step.citations).map((one) => {
      const held = table(one);
      return { title: text(held.title) ?? "", source: text(held.source) ?? "", text: text(held.text) ?? "" };
    }),
  };
}

function tool(seen: Seen, step: Table): StepView {
  const call = callOf(step.call);
  const result = table(step.result);
  const blocks = list(result.content).map(block);
  const common = { ...seen, call, blocks, isError: result.isError === true, hasResult: "result" in step && step.result !== null };
  const last = call.name.split("__").at(-1) ?? call.name;
  if (SHELLS.has(last)) {
    return { ...common, kind: "shell", commands: commandsOf(call.arguments), exitCode: exitCode(blocks, result.structuredContent) };
  }
  const acts = actsOf(call.name, call.arguments);
  const isSeen = blocks.some((one) => one.kind === "picture");
  if (SCREENS.has(last) || (isSeen && acts !== null)) return { ...common, kind: "screen", acts };
  return { ...common, kind: "tool", structured: result.structuredContent ?? null };
}

function commandsOf(given: unknown): string[] {
  if (typeof given === "string") return [given];
  const held = table(given);
  const several = list(held.commands).filter((one) => typeof one === "string");
  if (several.length) return several;
  const one = held.command ?? held.cmd ?? held.script;
  if (typeof one === "string") return [one];
  const argv = list(one).filter((word) => typeof word === "string");
  if (argv.length) return [argv.join(" ")];
  return held.restart === true ? ["(restart the shell)"] : [];
}

const EXIT = /\[exit code (-?\d{1,6})\]/g;

function exitCode(blocks: Block[], structured: unknown): number | null {
  const outcomes = list(table(structured).output).map((one) => number(table(table(one).outcome).exit_code));
  if (outcomes.length) return outcomes.find((code) => code !== null && code !== 0) ?? outcomes.at(-1) ?? null;
  for (const one of blocks) {
    if (one.kind !== "text" || typeof one.words !== "string") continue;
    const tail = one.words.slice(-400);
    const found = [...tail.matchAll(EXIT)].at(-1);
    if (found?.[1]) return Number(found[1]);
  }
  return null;
}

function subagent(value: unknown, outer: StepItem): Shape["subagent"] {
  const held = table(value);
  const steps = list(held.steps).map((one, index): StepItem => {
    const step = table(one);
    return {
      seq: number(step.step_id) ?? index + 1,
      source: text(step.source),
      span_id: null,
      started_at: text(step.started_at),
      ended_at: text(step.ended_at),
      payload: one,
    };
  });
  return {
    steps: depthOf(outer.payload) > SUBAGENT_DEPTH ? [] : steps,
    status: text(held.status),
    stopReason: text(held.stop_reason),
    content: words(held.content),
    traceId: text(held.trace_id),
  };
}

function depthOf(payload: unknown): number {
  let depth = 0;
  let held: unknown = payload;
  while (depth <= SUBAGENT_DEPTH + 1) {
    const inner = list(table(table(held).subagent).steps).find((one) => "subagent" in table(one));
    if (inner === undefined) return depth;
    held = inner;
    depth += 1;
  }
  return depth;
}

function robot(seen: Seen, step: Table, what: Shape["robot"]["what"]): StepView {
  const segment = table(step.segment);
  return {
    ...seen,
    kind: "robot",
    what,
    tick: number(step.tick),
    state: Object.entries(table(step.state)).map(([name, value]) => {
      const held = table(value);
      return { name, names: list(held.names).map(String), values: numbers(held.values) };
    }),
    chunk: list(step.chunk).map(numbers),
    names: list(step.names).map(String),
    reward: number(seen.extra.reward),
    terminated: seen.extra.terminated === true,
    camera: text(step.camera) ?? "",
    index: number(step.index) ?? 0,
    film: what === "video_segment" ? media(segment) : null,
    pictures: Object.entries(table(step.images)).map(([camera, value]) => ({ camera, media: media(table(value)) })),
  };
}

function system(seen: Seen, step: Table): StepView {
  const files = table(seen.extra.files);
  if (Object.keys(files).length) {
    const patches = list(files.patches).map(patchOf);
    return {
      ...seen,
      kind: "files",
      phase: text(files.phase) ?? "",
      root: text(files.root) ?? "",
      patches,
      changed: number(files.files_changed) ?? patches.length,
      truncated: files.truncated === true,
    };
  }
  if (seen.error !== null) {
    const phase = typeof seen.error === "string" ? /^\[([a-z ]{1,40})\]/.exec(seen.error)?.[1] : undefined;
    return { ...seen, kind: "error", phase: phase ?? null };
  }
  return { ...seen, kind: "system", extra: table(step.extra) };
}

const WITHHELD: Record<string, string> = {
  binary: "binary content is not shown",
  secret: "its content may hold a secret and is not kept",
  too_large: "it is too large to show what changed",
  budget: "too much changed at once to keep all of it",
  no_before: "its former content was not kept",
  special: "it is no plain file",
};

function patchOf(value: unknown): Patch {
  const held = table(value);
  const withheld = text(held.withheld);
  const notes: string[] = [];
  const [before, after] = [text(held.mode_before), text(held.mode_after)];
  if (before !== after && after !== null) notes.push(`permissions ${before ?? "?"} → ${after}`);
  const target = text(held.link_target);
  if (target !== null) notes.push(`a link to ${target}`);
  return {
    path: text(held.path) ?? "?",
    status: text(held.status) ?? "modified",
    patch: words(held.patch),
    withheld: withheld === null ? null : (WITHHELD[withheld] ?? withheld),
    sizeBefore: number(held.size_before),
    sizeAfter: number(held.size_after),
    notes,
  };
}

export function seconds(step: Pick<Seen, "startedAt" | "endedAt">): number | null {
  if (step.startedAt === null || step.endedAt === null) return null;
  const took = (Date.parse(step.endedAt) - Date.parse(step.startedAt)) / 1000;
  return Number.isFinite(took) && took >= 0 ? took : null;
}
