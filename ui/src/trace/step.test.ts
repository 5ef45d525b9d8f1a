import { expect, test } from "vitest";

import type { StepItem } from "../api/types";
import { seconds, view } from "./step";

const SHA = "a".repeat(64);

function step(payload: unknown, source: string | null = null): StepItem {
  return { seq: 7, source, span_id: null, started_at: "2026-11-26T06:00:00.000000Z", ended_at: "2026-11-26T06:00:01.500000Z", payload };
}

test("a turn of the model is read with what it cost", () => {
  const seen = view(step({ source: "agent", content: "Hello", reasoning: "hm", tool_calls: [{ name: "bash", arguments: { command: "ls" }, id: "1" }], usage: { prompt_tokens: 10, completion_tokens: 2, cost_usd: 0.5 } }));
  expect(seen).toMatchObject({ kind: "turn", content: "Hello", reasoning: "hm", usage: { prompt: 10, completion: 2, cost: 0.5 }, calls: [{ name: "bash" }] });
  expect(seconds(seen)).toBe(1.5);
});

test("a shell's commands and exit code are found in every shape", () => {
  const said = (text: string) => ({ content: [{ type: "text", text }] });
  expect(view(step({ source: "tool", call: { name: "bash", arguments: { command: "false" } }, result: said("[exit code 1]") }))).toMatchObject({ kind: "shell", commands: ["false"], exitCode: 1 });
  const shell = { source: "tool", call: { name: "shell", arguments: { commands: ["a", "b"] } }, result: { content: [], structuredContent: { output: [{ outcome: { type: "exit", exit_code: 0 } }, { outcome: { type: "exit", exit_code: 2 } }] } } };
  expect(view(step(shell))).toMatchObject({ kind: "shell", commands: ["a", "b"], exitCode: 2 });
});

test("a picture behind a reference is shown from where it is kept", () => {
  const seen = view(step({ source: "tool", call: { name: "computer", arguments: { action: "screenshot" } }, result: { content: [{ type: "image", data: { $blob: SHA, size_bytes: 9, media_type: "image/png" } }] } }));
  expect(seen.kind).toBe("screen");
  expect(seen).toMatchObject({ blocks: [{ kind: "picture", media: { url: `/v2/blobs/${SHA}` } }] });
});

test("only pictures that hold no script are shown", () => {
  const picture = (mimeType: string, data: unknown) => {
    const seen = view(step({ source: "tool", call: { name: "x" }, result: { content: [{ type: "image", mimeType, data }] } }));
    return seen.kind === "tool" && seen.blocks[0]?.kind === "picture" ? seen.blocks[0].media.url : undefined;
  };
  expect(picture("image/png", "aGk=")).toBe("data:image/png;base64,aGk=");
  expect(picture("image/svg+xml", "aGk=")).toBeNull();
  expect(picture("text/html", "aGk=")).toBeNull();
  expect(picture("image/png", "javascript:alert(1)")).toBeNull();
  expect(picture("image/png", { $blob: "../../etc/passwd", media_type: "image/png" })).toBeNull();
  expect(picture("image/png", 7)).toBeNull();
});

test("a grade is a tree", () => {
  const seen = view(step({ source: "task", task_call: { phase: "evaluate", name: "t", arguments: { answer: "42" }, result: { score: 0.5, subscores: [{ name: "a", weight: 1, value: 0.5, children: [{ name: "b", value: 1, info: { reason: "because" } }] }] } } }));
  expect(seen).toMatchObject({ kind: "grade", answer: "42", grade: { score: 0.5, subscores: [{ name: "a", children: [{ name: "b", reason: "because" }] }] } });
});

test("an error names the phase it came from", () => {
  expect(view(step({ source: "system", error: "[agent loop] it broke" }))).toMatchObject({ kind: "error", phase: "agent loop" });
  expect(view(step({ source: "system", error: "it broke" }))).toMatchObject({ kind: "error", phase: null });
});

test("anything at all can be a step", () => {
  const odd = [null, 7, "x", [], {}, { source: 3 }, { source: "agent", tool_calls: "no", usage: [], citations: 4 }, { source: "tool", call: [], result: "x" }, { source: "tool", result: { content: [null, 5, "x", { type: "image" }, { type: "resource" }, { type: "audio", data: [] }] } }, { source: "user", messages: [null, { content: 3 }] }, { source: "task", task_call: "x" }, { source: "task", task_call: { phase: "evaluate", result: { subscores: [1, null, { children: "x" }] } } }, { source: "system", extra: { files: { patches: [null, { path: 4 }] } } }, { source: "observation", state: { a: 3, b: { values: ["x"] } }, tick: "x" }, { source: "inference", chunk: [1, [null]] }, { source: "video_segment", segment: 3 }, { source: "subagent", subagent: { steps: [null, { source: "agent" }] } }, { source: "martian", whatever: 1 }];
  for (const payload of odd) {
    const source = typeof payload === "object" && payload !== null && "source" in payload && typeof payload.source === "string" ? payload.source : null;
    expect(() => view(step(payload, source))).not.toThrow();
  }
  expect(view(step({ source: "martian" }, "martian")).kind).toBe("unknown");
});

test("runs within runs within runs end somewhere", () => {
  let payload: unknown = { source: "agent", content: "deep" };
  for (let depth = 0; depth < 60; depth += 1) payload = { source: "subagent", subagent: { steps: [payload] } };
  const seen = view(step(payload));
  expect(seen.kind === "subagent" && seen.steps).toEqual([]);
});
