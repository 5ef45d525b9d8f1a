/** Which steps a run has, in a few bytes each: their numbers, kinds and marks, by place. */

import type { Kind } from "../api/types";
import { KIND_ORDER } from "./kinds";

const KNOWN = new Map(KIND_ORDER.map((kind, index) => [kind, index + 1]));
const ERROR = 1;
const PICTURE = 2;
const FIRST_CAPACITY = 1024;

export class StepIndex {
  total = 0;
  known = 0;
  #seqs = new Float64Array(FIRST_CAPACITY);
  #kinds = new Uint8Array(FIRST_CAPACITY);
  #marks = new Uint8Array(FIRST_CAPACITY);

  get isComplete(): boolean {
    return this.known >= this.total;
  }

  /** Make room for so many steps. */
  grow(total: number): void {
    this.total = Math.max(this.total, total);
    if (this.total <= this.#seqs.length) return;
    const capacity = Math.max(this.total, 2 * this.#seqs.length);
    const [seqs, kinds, marks] = [new Float64Array(capacity), new Uint8Array(capacity), new Uint8Array(capacity)];
    seqs.set(this.#seqs);
    kinds.set(this.#kinds);
    marks.set(this.#marks);
    this.#seqs = seqs;
    this.#kinds = kinds;
    this.#marks = marks;
  }

  set(place: number, seq: number, kind: Kind, isError: boolean, hasPicture: boolean): void {
    this.grow(place + 1);
    if (this.#kinds[place] === 0) this.known += 1;
    this.#seqs[place] = seq;
    this.#kinds[place] = KNOWN.get(kind) ?? 1;
    this.#marks[place] = (isError ? ERROR : 0) | (hasPicture ? PICTURE : 0);
  }

  has(place: number): boolean {
    return place >= 0 && place < this.total && this.#kinds[place] !== 0;
  }

  /** The first place from one on that nothing is known of. */
  gap(from = 0): number {
    for (let place = from; place < this.total; place += 1) if (this.#kinds[place] === 0) return place;
    return this.total;
  }

  /** The number of the step at a place, -1 while it is not known. */
  seqAt(place: number): number {
    return this.has(place) ? (this.#seqs[place] ?? -1) : -1;
  }

  /** One more than the kind's place in `KIND_ORDER`; 0 while it is not known. */
  codeAt(place: number): number {
    return this.#kinds[place] ?? 0;
  }

  kindAt(place: number): Kind | undefined {
    return this.has(place) ? KIND_ORDER[(this.#kinds[place] ?? 1) - 1] : undefined;
  }

  isError(place: number): boolean {
    return this.has(place) && ((this.#marks[place] ?? 0) & ERROR) !== 0;
  }

  hasPicture(place: number): boolean {
    return this.has(place) && ((this.#marks[place] ?? 0) & PICTURE) !== 0;
  }

  /** The place of a step, -1 while it is not known. Numbers grow with places; there may be gaps. */
  placeOf(seq: number): number {
    let [low, high] = [0, this.total - 1];
    while (low <= high) {
      const middle = (low + high) >> 1;
      const place = this.#near(middle, low, high);
      if (place < 0) return -1;
      const found = this.#seqs[place] ?? 0;
      if (found === seq) return place;
      if (found < seq) low = Math.max(place, middle) + 1;
      else high = Math.min(place, middle) - 1;
    }
    return -1;
  }

  /** A known place nearest to one, between two others; -1 for none. */
  #near(place: number, low: number, high: number): number {
    for (let away = 0; place - away >= low || place + away <= high; away += 1) {
      if (place - away >= low && this.#kinds[place - away] !== 0) return place - away;
      if (place + away <= high && this.#kinds[place + away] !== 0) return place + away;
    }
    return -1;
  }

  /** The numbers of the first steps, as far as they are known, as ranges. */
  ranges(most: number): [number, number][] {
    const found: [number, number][] = [];
    for (let place = 0; place < this.total && this.#kinds[place] !== 0; place += 1) {
      const seq = this.#seqs[place] ?? 0;
      const last = found.at(-1);
      if (last && seq === last[1] + 1) last[1] = seq;
      else if (found.length < most) found.push([seq, seq]);
      else break;
    }
    return found;
  }
}
