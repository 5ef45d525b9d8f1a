/** Server-sent events with a place to go on from: read by fetch, since EventSource cannot name one at first. */

import { bundledJob } from "../bundle/place";
import { ApiFailure, request } from "./http";

export interface LiveEvent {
  kind: string;
  id: string | null;
  data: unknown;
}

interface Following {
  url: string;
  /** Where to begin, asked anew at every connection. */
  lastEventId?: () => string;
  onEvent: (event: LiveEvent) => void;
  onState?: (state: "open" | "lost" | "refused") => void;
}

const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 10_000;

/**
 * Follow until the returned function is called; a lost connection is taken up again. In a bundle nothing
 * ever happens: it is ready at once.
 */
export function follow(following: Following): () => void {
  if (bundledJob !== null) {
    queueMicrotask(() => following.onEvent({ kind: "ready", id: null, data: null }));
    return () => undefined;
  }
  const ending = new AbortController();
  void run(following, ending.signal);
  return () => ending.abort();
}

async function run(following: Following, signal: AbortSignal): Promise<void> {
  let wait = FIRST_WAIT_MS;
  while (!signal.aborted) {
    try {
      const headers: Record<string, string> = { Accept: "text/event-stream" };
      const from = following.lastEventId?.();
      if (from) headers["Last-Event-ID"] = from;
      const response = await request(following.url, { headers, signal });
      following.onState?.("open");
      wait = FIRST_WAIT_MS;
      if (response.body) await read(response.body, following.onEvent);
    } catch (error) {
      if (signal.aborted) return;
      if (error instanceof ApiFailure && error.status >= 400 && error.status < 500) {
        following.onState?.("refused");
        return;
      }
    }
    if (signal.aborted) return;
    following.onState?.("lost");
    await pause(wait, signal);
    wait = Math.min(2 * wait, LONGEST_WAIT_MS);
  }
}

async function read(body: ReadableStream<Uint8Array>, onEvent: (event: LiveEvent) => void): Promise<void> {
  const reader = body.pipeThrough(new TextDecoderStream() as ReadableWritablePair<string, Uint8Array>).getReader();
  const parse = parser(onEvent);
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    parse(value);
  }
}

/** Return what takes pieces of a stream and calls back once for each whole event. */
export function parser(onEvent: (event: LiveEvent) => void): (piece: string) => void {
  let pieces: string[] = [];
  return (piece) => {
    if (!piece.includes("\n")) {
      pieces.push(piece);
      return;
    }
    const lines = (pieces.join("") + piece).split("\n\n");
    pieces = [lines.pop() ?? ""];
    for (const text of lines) {
      const event = eventOf(text);
      if (event) onEvent(event);
    }
  };
}

function eventOf(text: string): LiveEvent | null {
  let kind = "message";
  let id: string | null = null;
  const data: string[] = [];
  for (const line of text.split("\n")) {
    if (line.startsWith("event: ")) kind = line.slice(7);
    else if (line.startsWith("id: ")) id = line.slice(4);
    else if (line.startsWith("data: ")) data.push(line.slice(6));
  }
  if (!data.length) return null;
  try {
    return { kind, id, data: JSON.parse(data.join("\n")) as unknown };
  } catch {
    return null;
  }
}

function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    signal.addEventListener("abort", () => {
      clearTimeout(timer);
      resolve();
    });
  });
}
