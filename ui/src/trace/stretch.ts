/**
 * Places in a list that is longer than a browser can scroll: its middle is scrolled faster than its ends.
 *
 * `top` is how far below the beginning of the list the reader looks, `most` of it at the end; `scrolled` is
 * what the browser says, `reach` of it at the end. Near both ends a pixel is a pixel.
 */

/** Browsers cut elements off at some 16 or 33 million pixels, and place them ever less exactly on the way. */
export const LONGEST_PX = 8_000_000;
const END_PX = 200_000;

export function scrolledAt(top: number, most: number, reach: number): number {
  if (most <= reach || top <= END_PX) return top;
  if (top >= most - END_PX) return reach - (most - top);
  return END_PX + ((top - END_PX) * (reach - 2 * END_PX)) / (most - 2 * END_PX);
}

export function topAt(scrolled: number, most: number, reach: number): number {
  if (most <= reach || scrolled <= END_PX) return scrolled;
  if (scrolled >= reach - END_PX) return most - (reach - scrolled);
  return END_PX + ((scrolled - END_PX) * (most - 2 * END_PX)) / (reach - 2 * END_PX);
}

/** Whether a place is so near an end that it must be where a pixel is a pixel. */
export function isNearEnd(at: number, last: number): boolean {
  return at <= END_PX || at >= last - END_PX;
}
