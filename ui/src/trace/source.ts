/**
 * The steps of one run, however many: their lines, and the steps themselves where somebody looks.
 *
 * A place is a step's number in order, from 0; `seq` is what the platform calls it. Lines are loaded
 * where the reader is first, then all of them; steps only on demand, the oldest let go of again.
 */

import { useSyncExternalStore } from "react";

import { follow } from "../api/live";
import { get } from "../api/http";
import { firstLinesQuery, firstStepsQuery, queries } from "../api/queries";
import type { OutlineItem, RunDetail, StepItem } from "../api/types";
import { type StepView, view } from "./step";

const FIRST_LINES = 400;
const MORE_LINES = 4000;
const MANY_LINES = 20_000;
const NEWS_MS = 600;
const STEPS_TOGETHER = 40;
const STEPS_KEPT = 1500;
const QUIET_MS = 120;

export type State = "loading" | "ready" | "failed";

export class TraceSource {
  total = 0;
  state: State = "loading";
  error: unknown = null;
  /** Whether every line is here. */
  isComplete = false;
  isLive = false;
  /** Counts what changed of the lines, not of the steps. */
  linesVersion = 0;

  #lines: (OutlineItem | undefined)[] = [];
  #places = new Map<number, number>();
  #known = 0;
  #asked = new Set<number>();
  #views = new Map<number, StepView>();
  #failed = new Map<number, unknown>();
  #pending = new Set<number>();
  #listeners = new Set<() => void>();
  #version = 0;
  #ending = new AbortController();
  #tailTimer: ReturnType<typeof setTimeout> | null = null;
  #heard = 0;
  #lowest = Number.POSITIVE_INFINITY;

  /** @param digests Whether lines come with a hash of what their steps say. */
  constructor(
    readonly runId: string,
    readonly digests = false,
  ) {}

  /** Begin to load. Lines around the step `seq` come first, else those at the beginning. */
  async open(seq: number | null): Promise<void> {
    try {
      const [lines, steps] = await Promise.all([queries.fetchQuery(firstLinesQuery(this.runId, seq, this.digests)), queries.fetchQuery(firstStepsQuery(this.runId, seq))]);
      if (this.#ending.signal.aborted) return;
      for (const item of steps.items) this.#keep(item);
      this.#takeLines(lines);
      this.state = "ready";
      this.#tell();
      void this.#loadTheRest();
    } catch (error) {
      if (this.#ending.signal.aborted) return;
      this.state = "failed";
      this.error = error;
      this.#tell();
    }
  }

  close(): void {
    this.#ending.abort();
    if (this.#tailTimer) clearTimeout(this.#tailTimer);
  }

  line(place: number): OutlineItem | undefined {
    return this.#lines[place];
  }

  /** The first lines, as many as are there without a hole. */
  lines(most: number): OutlineItem[] {
    const found: OutlineItem[] = [];
    for (const line of this.#lines) {
      if (line === undefined || found.length >= most) break;
      found.push(line);
    }
    return found;
  }

  /** The place of a step, -1 while it is not known. */
  placeOf(seq: number): number {
    const place = this.#places.get(seq);
    return place !== undefined && this.#lines[place]?.seq === seq ? place : -1;
  }

  view(place: number): StepView | undefined {
    const line = this.#lines[place];
    return line && this.#views.get(line.seq);
  }

  failure(place: number): unknown {
    const line = this.#lines[place];
    return line && this.#failed.get(line.seq);
  }

  /** See that the lines at these places get here. */
  wantLines(from: number, to: number): void {
    const last = Math.min(to, this.total - 1);
    for (let place = Math.max(0, from); place <= last; place += 1) {
      if (this.#lines[place] === undefined) void this.#linesAt(place);
    }
  }

  /** See that the steps at these places get here, and their lines; in a moment. */
  want(from: number, to: number): void {
    const first = Math.max(0, from);
    const last = Math.min(to, this.total - 1);
    this.wantLines(first, last);
    const wanted: number[] = [];
    for (let place = first; place <= last; place += 1) {
      const seq = this.#lines[place]?.seq;
      if (seq !== undefined && !this.#views.has(seq) && !this.#pending.has(seq) && !this.#failed.has(seq)) wanted.push(place);
    }
    for (const [start, count] of together(wanted)) void this.#loadSteps(start, count);
  }

  /** Try again to load a step that could not be had. */
  retry(place: number): void {
    const line = this.#lines[place];
    if (line) this.#failed.delete(line.seq);
    this.want(place, place);
  }

  /** One step, also for who does not look at the list. */
  async stepAt(place: number): Promise<StepView | undefined> {
    const found = this.view(place);
    if (found) return found;
    await this.#loadSteps(place, 1);
    return this.view(place);
  }

  follow(onRun: (run: RunDetail) => void): () => void {
    return follow({
      url: `/v2/trace/${this.runId}/live`,
      lastEventId: () => this.#seen(),
      onState: (state) => {
        this.isLive = state === "open";
        this.#tell();
      },
      onEvent: (event) => {
        if (event.kind === "run") onRun(event.data as RunDetail);
        if (event.kind === "step") this.#arrived(event.data as StepItem);
      },
    });
  }

  subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  };

  version = (): number => this.#version;

  #tell(): void {
    this.#version += 1;
    for (const listener of this.#listeners) listener();
  }

  async #loadLines(from: { offset?: number; after?: number }, limit: number, isNews = true): Promise<number> {
    const page = await get("/v2/trace/{trace_id}/outline", {
      path: { trace_id: this.runId },
      query: { ...from, limit, digests: this.digests },
      signal: this.#ending.signal,
    });
    this.#takeLines(page, isNews);
    return page.items.length;
  }

  #takeLines(page: { items: OutlineItem[]; offset: number; total: number }, isNews = true): void {
    this.total = Math.max(page.total, page.offset + page.items.length);
    page.items.forEach((item, index) => {
      if (this.#lines[page.offset + index] === undefined) this.#known += 1;
      this.#lines[page.offset + index] = item;
      this.#places.set(item.seq, page.offset + index);
    });
    this.isComplete = this.#known >= this.total;
    // Of very many lines that only fill up, who counts them hears now and then.
    const now = performance.now();
    if (isNews || this.isComplete || now - this.#heard > NEWS_MS) {
      this.#heard = now;
      this.linesVersion += 1;
      this.#tell();
    }
  }

  async #linesAt(place: number): Promise<void> {
    const start = Math.floor(place / FIRST_LINES) * FIRST_LINES;
    if (this.#asked.has(start)) return;
    this.#asked.add(start);
    try {
      await this.#loadLines({ offset: start }, FIRST_LINES);
    } catch {
      // Whoever still looks there asks again.
    } finally {
      this.#asked.delete(start);
    }
  }

  async #loadTheRest(): Promise<void> {
    let place = 0;
    let failures = 0;
    while (!this.isComplete && !this.#ending.signal.aborted && failures < 5) {
      while (place < this.total && this.#lines[place] !== undefined) place += 1;
      if (place >= this.total) return;
      try {
        const before = this.#lines[place - 1];
        await this.#loadLines(before ? { after: before.seq } : { offset: 0 }, MORE_LINES, false);
        failures = 0;
        if (this.total > MANY_LINES) await idle();
      } catch {
        failures += 1;
      }
    }
  }

  async #loadSteps(place: number, count: number): Promise<void> {
    const seqs: number[] = [];
    for (let at = place; at < place + count; at += 1) {
      const seq = this.#lines[at]?.seq;
      if (seq !== undefined) seqs.push(seq);
    }
    const first = seqs[0];
    if (first === undefined) return;
    for (const seq of seqs) this.#pending.add(seq);
    try {
      let after = first - 1;
      let left = seqs.length;
      while (left > 0) {
        const page = await get("/v2/trace/{trace_id}/steps", {
          path: { trace_id: this.runId },
          query: { after, limit: left },
          signal: this.#ending.signal,
        });
        for (const item of page.items) this.#keep(item);
        left -= page.items.length;
        const last = page.items.at(-1);
        if (page.next_after === null || last === undefined) break;
        after = last.seq;
      }
    } catch (error) {
      if (!this.#ending.signal.aborted) for (const seq of seqs) this.#failed.set(seq, error);
    } finally {
      for (const seq of seqs) this.#pending.delete(seq);
      this.#tell();
    }
  }

  #keep(item: StepItem): void {
    this.#views.delete(item.seq);
    this.#views.set(item.seq, view(item));
    while (this.#views.size > STEPS_KEPT) {
      const [oldest] = this.#views.keys();
      if (oldest === undefined) break;
      this.#views.delete(oldest);
    }
  }

  #arrived(item: StepItem): void {
    this.#keep(item);
    this.#lowest = Math.min(this.#lowest, item.seq);
    this.#tailTimer ??= setTimeout(() => void this.#loadTail(), QUIET_MS);
  }

  /** Load the lines from the first step that arrived on; a late one moves those after it. */
  async #loadTail(): Promise<void> {
    this.#tailTimer = null;
    const after = this.#lowest - 1;
    this.#lowest = Number.POSITIVE_INFINITY;
    try {
      let from = after;
      for (;;) {
        const got = await this.#loadLines({ after: from }, MORE_LINES);
        const last = this.#lines.at(-1);
        if (got < MORE_LINES || last === undefined) return;
        from = last.seq;
      }
    } catch {
      this.#lowest = Math.min(this.#lowest, after + 1);
      if (!this.#ending.signal.aborted) this.#tailTimer ??= setTimeout(() => void this.#loadTail(), 10 * QUIET_MS);
    }
  }

  /** The numbers of the steps that are here already, as the live stream takes them. */
  #seen(): string {
    const ranges: string[] = [];
    let start = 0;
    let end = -1;
    for (const line of this.#lines) {
      if (line === undefined) break;
      if (end < 0) start = end = line.seq;
      else if (line.seq === end + 1) end = line.seq;
      else {
        ranges.push(`${start}-${end}`);
        start = end = line.seq;
      }
      if (ranges.length >= 90) break;
    }
    if (end >= 0) ranges.push(`${start}-${end}`);
    return ranges.join(",");
  }
}

/** A moment in which the page has nothing else to do. */
function idle(): Promise<void> {
  return new Promise((resolve) => {
    const wait = () => setTimeout(resolve, 60);
    if ("requestIdleCallback" in window) requestIdleCallback(wait, { timeout: 1000 });
    else wait();
  });
}

/** Cut places into those that stand together, a few at a time. */
export function together(places: number[]): [number, number][] {
  const found: [number, number][] = [];
  for (const place of places) {
    const last = found.at(-1);
    if (last && place === last[0] + last[1] && last[1] < STEPS_TOGETHER) last[1] += 1;
    else found.push([place, 1]);
  }
  return found;
}

/** Draw anew whenever something of the source changed. */
export function useSource(source: TraceSource): number {
  return useSyncExternalStore(source.subscribe, source.version);
}
