/**
 * The steps of one run, however many: which there are, their lines and themselves where somebody looks.
 *
 * A place is a step's number in order, from 0; `seq` is what the platform calls it. Of every step the
 * kind is loaded; lines and steps only on demand, those that were looked at longest ago let go of again.
 */

import { useSyncExternalStore } from "react";

import { get } from "../api/http";
import { follow } from "../api/live";
import { firstLinesQuery, firstStepsQuery, queries } from "../api/queries";
import type { Kind, OutlineItem, RunDetail, StepItem } from "../api/types";
import { StepIndex } from "./index";
import { type StepView, view } from "./step";

const LINES_TOGETHER = 400;
const LINES_KEPT = 8_000;
const KINDS_TOGETHER = 20_000;
const STEPS_TOGETHER = 40;
const STEPS_KEPT = 1_500;
const QUIET_MS = 120;
const RANGES_AT_MOST = 90;

export type State = "loading" | "ready" | "failed";

export class TraceSource {
  state: State = "loading";
  error: unknown = null;
  isLive = false;
  /** Counts what became known of which steps there are. */
  linesVersion = 0;

  readonly #index = new StepIndex();
  #lines = new Map<number, OutlineItem>();
  #views = new Map<number, StepView>();
  #asked = new Set<number>();
  #failed = new Map<number, unknown>();
  #pending = new Set<number>();
  #listeners = new Set<() => void>();
  #version = 0;
  #ending = new AbortController();
  #tailTimer: ReturnType<typeof setTimeout> | null = null;
  // Of what is known, how much was not told of yet: whoever looks at all of it does so a few times only.
  #sinceNews = 0;
  #lowest = Number.POSITIVE_INFINITY;

  constructor(readonly runId: string) {}

  get total(): number {
    return this.#index.total;
  }

  /** Whether the kind of every step is known. */
  get isComplete(): boolean {
    return this.#index.isComplete;
  }

  /** Begin to load. What is around the step `seq` comes first, else the beginning. */
  async open(seq: number | null): Promise<void> {
    try {
      const [lines, steps] = await Promise.all([queries.fetchQuery(firstLinesQuery(this.runId, seq)), queries.fetchQuery(firstStepsQuery(this.runId, seq))]);
      if (this.#ending.signal.aborted) return;
      for (const item of steps.items) this.#keep(item);
      this.#takeLines(lines);
      this.state = "ready";
      this.#tell();
      void this.#loadKinds();
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

  seqAt(place: number): number {
    return this.#index.seqAt(place);
  }

  codeAt(place: number): number {
    return this.#index.codeAt(place);
  }

  kindAt(place: number): Kind | undefined {
    return this.#index.kindAt(place);
  }

  isError(place: number): boolean {
    return this.#index.isError(place);
  }

  hasPicture(place: number): boolean {
    return this.#index.hasPicture(place);
  }

  placeOf(seq: number): number {
    return this.#index.placeOf(seq);
  }

  line(place: number): OutlineItem | undefined {
    return this.#lines.get(place);
  }

  view(place: number): StepView | undefined {
    return this.#views.get(this.#index.seqAt(place));
  }

  failure(place: number): unknown {
    return this.#failed.get(this.#index.seqAt(place));
  }

  /** See that the lines at these places get here. */
  wantLines(from: number, to: number): void {
    const last = Math.min(to, this.total - 1);
    for (let place = Math.max(0, from); place <= last; place += 1) {
      if (!this.#lines.has(place)) void this.#linesAt(place);
    }
  }

  /** See that the steps at these places get here, and their lines; in a moment. */
  want(from: number, to: number): void {
    const first = Math.max(0, from);
    const last = Math.min(to, this.total - 1);
    this.wantLines(first, last);
    const wanted: number[] = [];
    for (let place = first; place <= last; place += 1) {
      const seq = this.#index.seqAt(place);
      if (seq >= 0 && !this.#views.has(seq) && !this.#pending.has(seq) && !this.#failed.has(seq)) wanted.push(place);
    }
    for (const [start, count] of together(wanted)) void this.#loadSteps(start, count);
  }

  /** Try again to load a step that could not be had. */
  retry(place: number): void {
    this.#failed.delete(this.#index.seqAt(place));
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
      lastEventId: () => this.#index.ranges(RANGES_AT_MOST).map(([first, last]) => `${first}-${last}`).join(","),
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

  async #loadLines(from: { offset?: number; after?: number }): Promise<OutlineItem[]> {
    const page = await get("/v2/trace/{trace_id}/outline", {
      path: { trace_id: this.runId },
      query: { ...from, limit: LINES_TOGETHER },
      signal: this.#ending.signal,
    });
    this.#takeLines(page);
    return page.items;
  }

  #takeLines(page: { items: OutlineItem[]; offset: number; total: number }): void {
    const [known, total] = [this.#index.known, this.total];
    let isNews = false;
    this.#index.grow(page.total);
    page.items.forEach((item, index) => {
      const place = page.offset + index;
      isNews ||= this.#index.seqAt(place) !== item.seq;
      this.#index.set(place, item.seq, item.kind, item.is_error === true, item.has_image === true);
      this.#lines.delete(place);
      this.#lines.set(place, item);
    });
    letGo(this.#lines, LINES_KEPT);
    if (isNews || known !== this.#index.known || total !== this.total) this.linesVersion += 1;
    this.#tell();
  }

  async #linesAt(place: number): Promise<void> {
    const start = Math.floor(place / LINES_TOGETHER) * LINES_TOGETHER;
    if (this.#asked.has(start)) return;
    this.#asked.add(start);
    try {
      await this.#loadLines({ offset: start });
    } catch {
      // Whoever still looks there asks again.
    } finally {
      this.#asked.delete(start);
    }
  }

  /** Load which steps there are, in order, while the page has nothing else to do. */
  async #loadKinds(): Promise<void> {
    let failures = 0;
    while (!this.isComplete && !this.#ending.signal.aborted && failures < 5) {
      await idle();
      const gap = this.#index.gap();
      try {
        const page = await get("/v2/trace/{trace_id}/kinds", {
          path: { trace_id: this.runId },
          query: { after: gap > 0 ? this.#index.seqAt(gap - 1) : 0, limit: KINDS_TOGETHER },
          signal: this.#ending.signal,
        });
        failures = 0;
        if (!page.kinds) return;
        this.#takeKinds(page);
      } catch {
        failures += 1;
      }
    }
  }

  #takeKinds(page: { names: string[]; runs: number[][]; kinds: string; marks: string; offset: number; total: number }): void {
    this.#index.grow(page.total);
    const known = this.#index.known;
    let at = 0;
    for (const [first = 0, count = 0] of page.runs) {
      for (let index = 0; index < count; index += 1) {
        const kind = page.names[page.kinds.charCodeAt(at) - 97] as Kind | undefined;
        const mark = page.marks.charCodeAt(at) - 48;
        this.#index.set(page.offset + at, first + index, kind ?? "unknown", (mark & 1) !== 0, (mark & 2) !== 0);
        at += 1;
      }
    }
    this.#sinceNews += this.#index.known - known;
    if (!this.isComplete && this.#sinceNews < known / 2) return;
    this.#sinceNews = 0;
    this.linesVersion += 1;
    this.#tell();
  }

  async #loadSteps(place: number, count: number): Promise<void> {
    const seqs: number[] = [];
    for (let at = place; at < place + count; at += 1) {
      const seq = this.#index.seqAt(at);
      if (seq >= 0) seqs.push(seq);
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
    letGo(this.#views, STEPS_KEPT);
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
        const lines = await this.#loadLines({ after: from });
        const last = lines.at(-1);
        if (lines.length < LINES_TOGETHER || !last) return;
        from = last.seq;
      }
    } catch {
      this.#lowest = Math.min(this.#lowest, after + 1);
      if (!this.#ending.signal.aborted) this.#tailTimer ??= setTimeout(() => void this.#loadTail(), 10 * QUIET_MS);
    }
  }
}

/** Let go of what was put in first, until there are no more than so many. */
function letGo(held: Map<number, unknown>, most: number): void {
  for (const key of held.keys()) {
    if (held.size <= most) return;
    held.delete(key);
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
