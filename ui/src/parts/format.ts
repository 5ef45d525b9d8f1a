/** Numbers, times and ids as people read them: with units, in the reader's own zone. */

const money = new Intl.NumberFormat(undefined, { style: "currency", currency: "USD", minimumFractionDigits: 2, maximumFractionDigits: 2 });
const whole = new Intl.NumberFormat();
const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const day = new Intl.DateTimeFormat(undefined, { month: "short", day: "numeric" });
const dayAndYear = new Intl.DateTimeFormat(undefined, { year: "numeric", month: "short", day: "numeric" });
const full = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "long" });
const shortClock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
const relative = new Intl.RelativeTimeFormat(undefined, { numeric: "auto", style: "short" });

export function count(value: number): string {
  return whole.format(value);
}

/** 1234 as 1.2k: for places where two digits are enough. */
export function compact(value: number): string {
  if (value < 1000) return String(value);
  if (value < 999_500) return `${trimmed(value / 1000)}k`;
  return `${trimmed(value / 1_000_000)}M`;
}

function trimmed(value: number): string {
  return value >= 100 ? value.toFixed(0) : value.toFixed(1).replace(/\.0$/, "");
}

export function plural(value: number, noun: string, many = `${noun}s`): string {
  return `${count(value)} ${value === 1 ? noun : many}`;
}

/** US dollars; small amounts keep two digits that say something. */
export function dollars(value: number): string {
  if (value === 0 || value >= 0.1) return money.format(value);
  const digits = Math.min(8, Math.max(2, 1 - Math.floor(Math.log10(value))));
  return `$${value.toFixed(digits)}`;
}

export function duration(seconds: number): string {
  if (seconds < 0.001) return seconds <= 0 ? "0 ms" : "<1 ms";
  if (seconds < 1) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  if (seconds < 60) return `${Math.round(seconds)} s`;
  const rounded = Math.round(seconds);
  if (rounded < 3600) return `${Math.floor(rounded / 60)} min ${String(rounded % 60).padStart(2, "0")} s`;
  return `${Math.floor(rounded / 3600)} h ${String(Math.floor((rounded % 3600) / 60)).padStart(2, "0")} min`;
}

/** Time since a run began: 0:04.2, 12:31, 1:02:11. */
export function offset(seconds: number): string {
  const sign = seconds < 0 ? "−" : "";
  const value = Math.abs(seconds);
  if (value < 60) return `${sign}0:${value < 9.95 ? "0" : ""}${value.toFixed(1)}`;
  const rounded = Math.floor(value);
  const rest = `${String(Math.floor((rounded % 3600) / 60)).padStart(rounded < 3600 ? 1 : 2, "0")}:${String(rounded % 60).padStart(2, "0")}`;
  return rounded < 3600 ? sign + rest : `${sign}${Math.floor(rounded / 3600)}:${rest}`;
}

export function bytes(value: number): string {
  if (value < 1024) return `${value} B`;
  if (value < 1024 * 1024) return `${trimmed(value / 1024)} KiB`;
  return `${trimmed(value / (1024 * 1024))} MiB`;
}

/** A reward or a mean: three digits, without zeros that say nothing. */
export function reward(value: number): string {
  return Number.isInteger(value) ? value.toFixed(1) : value.toFixed(3).replace(/0{1,2}$/, "");
}

export function percent(value: number): string {
  const points = value * 100;
  return `${points >= 99.95 || points === 0 ? points.toFixed(0) : points.toFixed(points < 10 ? 1 : 0)}%`;
}

export function moment(iso: string): Date | null {
  const date = new Date(iso);
  return Number.isNaN(date.getTime()) ? null : date;
}

export function timeOfDay(date: Date): string {
  return clock.format(date);
}

/** When something was, in as few words as tell it: a clock today, a day before that. */
export function when(date: Date, now: Date = new Date()): string {
  const seconds = (now.getTime() - date.getTime()) / 1000;
  if (seconds >= 0 && seconds < 60) return "just now";
  if (seconds >= 0 && seconds < 3600) return relative.format(-Math.floor(seconds / 60), "minute");
  if (date.toDateString() === now.toDateString()) return shortClock.format(date);
  const text = date.getFullYear() === now.getFullYear() ? day.format(date) : dayAndYear.format(date);
  return `${text}, ${shortClock.format(date)}`;
}

export function fullTime(date: Date): string {
  return full.format(date);
}

export function secondsBetween(start: string | null, end: string | null): number | null {
  const from = start === null ? null : moment(start);
  const to = end === null ? null : moment(end);
  return from && to ? (to.getTime() - from.getTime()) / 1000 : null;
}

export function shortId(id: string): string {
  return id.slice(0, 8);
}
