/** Reading values that may be anything: a trace comes from an agent, and any field may hold any type. */

export type Table = Readonly<Record<string, unknown>>;

const NOTHING: Table = {};

export function table(value: unknown): Table {
  return typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Table) : NOTHING;
}

export function list(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}

export function text(value: unknown): string | null {
  return typeof value === "string" && value !== "" ? value : null;
}

export function number(value: unknown): number | null {
  return typeof value === "number" && Number.isFinite(value) ? value : null;
}

export function numbers(value: unknown): number[] {
  return list(value).map((one) => (typeof one === "number" ? one : Number.NaN));
}

/** JSON as people read it; also of what JSON cannot spell. */
export function pretty(value: unknown): string {
  try {
    return JSON.stringify(value, null, 2) ?? String(value);
  } catch {
    return String(value);
  }
}
