import { expect, test } from "vitest";

import { type LiveEvent, parser } from "./live";

test("events are whole however the stream is cut", () => {
  const text = 'id: 1-2\nevent: step\ndata: {"seq": 2}\n\n: still here\n\nevent: ready\ndata: {}\n\n';
  for (let size = 1; size < text.length; size += 3) {
    const heard: LiveEvent[] = [];
    const parse = parser((event) => heard.push(event));
    for (let at = 0; at < text.length; at += size) parse(text.slice(at, at + size));
    expect(heard).toEqual([
      { kind: "step", id: "1-2", data: { seq: 2 } },
      { kind: "ready", id: null, data: {} },
    ]);
  }
});

test("an event that is no JSON is left out", () => {
  const heard: LiveEvent[] = [];
  parser((event) => heard.push(event))("event: step\ndata: {oh no\n\nevent: run\ndata: 1\n\n");
  expect(heard.map((event) => event.kind)).toEqual(["run"]);
});
