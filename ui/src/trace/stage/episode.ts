/** A robot's run as series by tick: what it observed, what it did, what it was rewarded, what its cameras filmed. */

import { get } from "../../api/http";
import type { Media } from "../blobs";
import { number, table } from "../loose";
import { view } from "../step";

const PAGE = 500;
const MOST_SERIES = 12;

export interface Plot {
  name: string;
  unit: string;
  labels: string[];
  /** One list of values for each label, by tick. */
  series: (number | null)[][];
}

export interface Segment {
  media: Media;
  firstTick: number;
  frames: number;
  index: number;
}

export interface Camera {
  name: string;
  fps: number;
  segments: Segment[];
}

export interface Episode {
  ticks: number[];
  /** The step of each tick's observation. */
  seqs: number[];
  plots: Plot[];
  cameras: Camera[];
}

/** Gathers steps in the order they were recorded. */
export class EpisodeBuilder {
  #seqs: number[] = [];
  #features = new Map<string, { names: string[]; rows: (number[] | undefined)[] }>();
  #rewards: (number | undefined)[] = [];
  #actions: (number[] | undefined)[] = [];
  #actionNames: string[] = [];
  #cameras = new Map<string, Camera>();
  #last = -1;

  add(item: Parameters<typeof view>[0]): void {
    const step = view(item);
    if (step.kind !== "robot") return;
    if (step.what === "video_segment") {
      this.#film(step.camera, step.index, step.film, item.payload);
      return;
    }
    const tick = step.tick;
    if (tick === null || !Number.isInteger(tick) || tick < 0 || tick > 10_000_000) return;
    if (step.what === "observation") {
      this.#last = Math.max(this.#last, tick);
      this.#seqs[tick] = item.seq;
      if (step.reward !== null) this.#rewards[tick] = step.reward;
      for (const feature of step.state) {
        let held = this.#features.get(feature.name);
        if (!held) this.#features.set(feature.name, (held = { names: feature.names, rows: [] }));
        held.rows[tick] = feature.values;
      }
      return;
    }
    if (!this.#actionNames.length) this.#actionNames = step.names;
    step.chunk.forEach((row, ahead) => {
      this.#actions[tick + ahead] = row;
    });
  }

  build(): Episode {
    const ticks = Array.from({ length: this.#last + 1 }, (_, tick) => tick);
    const plots: Plot[] = [];
    for (const [name, { names, rows }] of this.#features) plots.push(plotOf(name, "state", names, rows, ticks));
    if (this.#actions.length) plots.push(plotOf("action", "as planned", this.#actionNames, this.#actions, ticks));
    if (this.#rewards.some((one) => one !== undefined)) {
      plots.push({ name: "reward", unit: "per tick", labels: ["reward"], series: [ticks.map((tick) => this.#rewards[tick] ?? null)] });
    }
    const cameras = [...this.#cameras.values()];
    for (const camera of cameras) camera.segments.sort((one, other) => one.index - other.index);
    return { ticks, seqs: ticks.map((tick) => this.#seqs[tick] ?? -1), plots, cameras };
  }

  #film(name: string, index: number, film: Media | null, payload: unknown): void {
    if (film === null) return;
    const held = table(payload);
    const segment = table(held.segment);
    const fps = Math.max(1, number(held.fps) ?? 10);
    let camera = this.#cameras.get(name);
    if (!camera) this.#cameras.set(name, (camera = { name, fps, segments: [] }));
    const before = camera.segments.at(-1);
    const firstTick = number(segment.first_tick) ?? (before ? before.firstTick + before.frames : 0);
    camera.segments.push({ media: film, firstTick, frames: number(segment.frames) ?? fps * 2, index });
  }
}

function plotOf(name: string, unit: string, names: string[], rows: (number[] | undefined)[], ticks: number[]): Plot {
  const width = Math.min(MOST_SERIES, rows.find((row) => row !== undefined)?.length ?? 0);
  const labels = Array.from({ length: width }, (_, index) => names[index] ?? `${name}[${index}]`);
  const series = labels.map((_, index) =>
    ticks.map((tick) => {
      const value = rows[tick]?.[index];
      return value !== undefined && Number.isFinite(value) ? value : null;
    }),
  );
  return { name, unit, labels, series };
}

/** Read all of a run's robot steps, a page at a time; `onPage` is called after each. */
export async function readEpisode(runId: string, from: number, to: number, builder: EpisodeBuilder, onPage: () => void, signal: AbortSignal): Promise<void> {
  let after = from - 1;
  for (;;) {
    const page = await get("/v2/trace/{trace_id}/steps", { path: { trace_id: runId }, query: { after, limit: PAGE }, signal });
    for (const item of page.items) builder.add(item);
    onPage();
    const last = page.items.at(-1);
    if (page.next_after === null || last === undefined || last.seq >= to) return;
    after = last.seq;
  }
}
