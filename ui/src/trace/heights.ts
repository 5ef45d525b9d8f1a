/** The heights of very many rows: where a row begins, and which row is at a place, without looking at all of them. */

const BLOCK = 256;

export class Heights {
  #heights = new Float32Array(0);
  #sums = new Float64Array(0);
  count = 0;

  /** Begin anew with `count` rows. */
  fill(count: number, heightOf: (row: number) => number): void {
    this.count = count;
    this.#heights = new Float32Array(count);
    this.#sums = new Float64Array(Math.ceil(count / BLOCK));
    for (let row = 0; row < count; row += 1) {
      const height = Math.fround(heightOf(row));
      this.#heights[row] = height;
      this.#sums[(row / BLOCK) | 0] = (this.#sums[(row / BLOCK) | 0] ?? 0) + height;
    }
  }

  heightOf(row: number): number {
    return this.#heights[row] ?? 0;
  }

  /** Set the height of a row; tells whether that changed anything. */
  set(row: number, height: number): boolean {
    const before = this.#heights[row];
    if (before === undefined || Math.abs(before - height) < 0.5) return false;
    const now = Math.fround(height);
    this.#heights[row] = now;
    const block = (row / BLOCK) | 0;
    this.#sums[block] = (this.#sums[block] ?? 0) + now - before;
    return true;
  }

  get total(): number {
    let total = 0;
    for (const sum of this.#sums) total += sum;
    return total;
  }

  /** Where a row begins. */
  offsetOf(row: number): number {
    const end = Math.min(Math.max(0, row), this.count);
    const block = (end / BLOCK) | 0;
    let offset = 0;
    for (let index = 0; index < block; index += 1) offset += this.#sums[index] ?? 0;
    for (let index = block * BLOCK; index < end; index += 1) offset += this.#heights[index] ?? 0;
    return offset;
  }

  /** The row at a place: the first one above everything, the last one below. */
  rowAt(offset: number): number {
    let left = Math.max(0, offset);
    let block = 0;
    while (block < this.#sums.length - 1 && left >= (this.#sums[block] ?? 0)) {
      left -= this.#sums[block] ?? 0;
      block += 1;
    }
    let row = block * BLOCK;
    while (row < this.count - 1 && left >= (this.#heights[row] ?? 0)) {
      left -= this.#heights[row] ?? 0;
      row += 1;
    }
    return Math.max(0, Math.min(row, this.count - 1));
  }
}
