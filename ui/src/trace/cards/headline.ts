/** What a step is, in one line; less of it where the step is open and says so itself. */

import { reward } from "../../parts/format";
import type { Words } from "../blobs";
import type { Call, StepView } from "../step";
import { table } from "../loose";

export interface Headline {
  title: string;
  isMono?: boolean;
}

export function headline(step: StepView, isOpen: boolean): Headline {
  switch (step.kind) {
    case "setup":
      return { title: step.name };
    case "prompt":
      return { title: isOpen ? "" : prompt(step) };
    case "turn": {
      const asks = calls(step.calls);
      const said = isOpen ? "" : first(step.content) || first(step.reasoning);
      return { title: [said, asks && `calls ${asks}`].filter(Boolean).join(" · ") || (isOpen ? "answers" : "says nothing") };
    }
    case "tool":
      return { title: isOpen ? step.call.name : `${step.call.name} ${inline(step.call.arguments)}`, isMono: true };
    case "shell":
      return { title: isOpen ? (step.call.name === "bash" ? "" : step.call.name) : step.commands.join(" ⏎ ") || step.call.name, isMono: true };
    case "screen":
      return { title: step.acts?.acts.map((act) => act.says).join(", ") || step.call.name };
    case "files":
      return { title: files(step.changed, step.patches.map((patch) => patch.path), step.phase) };
    case "robot":
      return { title: robot(step) };
    case "subagent":
      return { title: (isOpen ? "" : first(step.content)) || `${step.steps.length} steps` };
    case "grade":
      return { title: step.grade.score === null ? step.name : `${step.name} · ${reward(step.grade.score)}` };
    case "error":
      return { title: step.phase ? `while ${step.phase}` : "" };
    case "system": {
      const names = Object.keys(step.extra);
      return { title: names.join(", ") };
    }
    case "unknown":
      return { title: String(table(step.payload).source ?? "a step of no known kind") };
  }
}

function prompt(step: Extract<StepView, { kind: "prompt" }>): string {
  const said = step.messages.map((one) => (one.block.kind === "text" ? first(one.block.words) : `[${one.block.kind}]`));
  return said.join(" ").slice(0, 200);
}

function calls(asked: Call[]): string {
  const times = new Map<string, number>();
  for (const call of asked) times.set(call.name, (times.get(call.name) ?? 0) + 1);
  return [...times].map(([name, count]) => (count > 1 ? `${name} ×${count}` : name)).join(", ");
}

function inline(given: unknown): string {
  if (typeof given === "string") return given.slice(0, 200);
  const parts = Object.entries(table(given)).map(([name, value]) => {
    const said = typeof value === "string" ? value : JSON.stringify(value);
    return `${name}=${(said ?? "").slice(0, 80)}`;
  });
  return parts.slice(0, 6).join(" ");
}

function files(changed: number, paths: string[], phase: string): string {
  const named = paths.slice(0, 3).join(", ");
  const more = changed > 3 ? ` and ${changed - 3} more` : "";
  return `${named}${more}${phase === "setup" ? " · written by the setup" : ""}`;
}

function robot(step: Extract<StepView, { kind: "robot" }>): string {
  const tick = step.tick === null ? "" : ` · tick ${step.tick}`;
  if (step.what === "observation") {
    const values = step.state.flatMap((one) => one.values.slice(0, 4));
    const shown = values.slice(0, 6).map((value) => (Number.isFinite(value) ? value.toPrecision(4).replace(/\.?0+$/, "") : "?"));
    return `observes${tick} · ${shown.join("  ")}${step.reward === null ? "" : ` · reward ${step.reward.toFixed(3)}`}`;
  }
  if (step.what === "inference") return `plans${tick} · ${step.chunk.length} × ${step.chunk[0]?.length ?? 0}`;
  return `films ${step.camera} · piece ${step.index}`;
}

function first(words: Words | null): string {
  return typeof words === "string" ? words.slice(0, 200) : "";
}
