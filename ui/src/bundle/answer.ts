/** Answers what the pages ask a platform for, from the files of a bundle. Anything else is not there. */

import { ApiFailure } from "../api/http";
import type { OutlineItem, Run, StepItem } from "../api/types";
import { jobFile, kindsFile, type Piece, pieceFile, runsFile, type TraceFile, traceFile } from "./files";

const ID = /^[0-9a-f]{32}$/;
const SEARCHED_TOGETHER = 24;

/** Return what a platform would, for an address of its API. */
export async function answer(url: string): Promise<unknown> {
  const [path = "", words] = url.split("?", 2);
  const query = new URLSearchParams(words);
  const [, version, noun, id = "", what = ""] = path.split("/");
  if (version === "v2" && noun === "jobs") return await ofJob(id, what, query);
  if (version === "v2" && noun === "traces") return await runsLike(query);
  if (version === "v2" && noun === "trace" && ID.test(id)) return await ofTrace(id, what, query);
  throw absent();
}

function absent(): ApiFailure {
  return new ApiFailure(404, "This is a copy of one job, and this is not in it.", "hud view shows everything, where it was recorded.");
}

async function ofJob(id: string, what: string, query: URLSearchParams): Promise<unknown> {
  const file = await jobFile();
  if (id === "") return { items: [file.job], total: 1, next_cursor: null };
  if (id !== file.job.id) throw absent();
  if (what === "") return file.job;
  if (what === "scorecard") return file.scorecard;
  if (what !== "traces") throw absent();
  const page = Number(query.get("cursor") ?? 0);
  const isLast = (page + 1) * file.runs_together >= file.runs;
  const items = page * file.runs_together < file.runs ? await runsFile(page) : [];
  return { items, total: file.runs, next_cursor: isLast ? null : String(page + 1) };
}

async function runsLike(query: URLSearchParams): Promise<unknown> {
  const file = await jobFile();
  const slug = query.get("task_slug");
  const most = Number(query.get("limit") ?? 100);
  const items: Run[] = [];
  for (let page = 0; page * file.runs_together < file.runs && items.length < most; page += 1) {
    items.push(...(await runsFile(page)).filter((run) => slug === null || run.task_slug === slug));
  }
  return { items: items.slice(0, most), total: items.length, next_cursor: null };
}

async function ofTrace(id: string, what: string, query: URLSearchParams): Promise<unknown> {
  const file = await traceFile(id);
  switch (what) {
    case "":
      return file.run;
    case "outline":
      return await outline(id, file, query);
    case "kinds":
      return file.kinds ?? (await kindsFile(id));
    case "steps":
      return await steps(id, file, query);
    case "search":
      return await search(id, file, query);
    default:
      throw absent();
  }
}

const pieceAt = async (id: string, file: TraceFile, index: number): Promise<Piece> => (index === 0 ? file.first : await pieceFile(id, index));

/** The first piece with a step after a number; the number of pieces where there is none. */
export function pieceAfter(file: Pick<TraceFile, "pieces">, after: number): number {
  let [low, high] = [0, file.pieces.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((file.pieces[middle]?.[1] ?? 0) <= after) low = middle + 1;
    else high = middle;
  }
  return low;
}

function countBefore(file: TraceFile, index: number): number {
  let count = 0;
  for (const [, , steps] of file.pieces.slice(0, index)) count += steps;
  return count;
}

async function outline(id: string, file: TraceFile, query: URLSearchParams): Promise<unknown> {
  const limit = Number(query.get("limit") ?? 1000);
  const total = countBefore(file, file.pieces.length);
  let offset = Number(query.get("offset") ?? 0);
  let index = 0;
  if (query.has("after")) {
    const after = Number(query.get("after"));
    index = pieceAfter(file, after);
    offset = countBefore(file, index);
    if (index < file.pieces.length) offset += (await pieceAt(id, file, index)).lines.filter((line) => line.seq <= after).length;
  } else {
    while (index < file.pieces.length && countBefore(file, index + 1) <= offset) index += 1;
  }
  const items: OutlineItem[] = [];
  for (let skipped = offset - countBefore(file, index); items.length < limit && index < file.pieces.length; index += 1, skipped = 0) {
    items.push(...(await pieceAt(id, file, index)).lines.slice(skipped, skipped + limit - items.length));
  }
  return { items, offset, total };
}

async function steps(id: string, file: TraceFile, query: URLSearchParams): Promise<unknown> {
  const [after, limit] = [Number(query.get("after") ?? 0), Number(query.get("limit") ?? 200)];
  const items: StepItem[] = [];
  for (let index = pieceAfter(file, after); items.length < limit && index < file.pieces.length; index += 1) {
    const piece = await pieceAt(id, file, index);
    items.push(...piece.steps.filter((step) => step.seq > after).slice(0, limit - items.length));
  }
  const last = items.at(-1)?.seq ?? null;
  return { items, next_after: last !== null && last < (file.pieces.at(-1)?.[1] ?? 0) ? last : null };
}

async function search(id: string, file: TraceFile, query: URLSearchParams): Promise<unknown> {
  const wanted = (query.get("q") ?? "").toLowerCase();
  const after = Number(query.get("after") ?? 0);
  const first = pieceAfter(file, after);
  const end = Math.min(file.pieces.length, first + SEARCHED_TOGETHER);
  const items: number[] = [];
  for (let index = first; index < end; index += 1) {
    for (const step of (await pieceAt(id, file, index)).steps) {
      if (step.seq > after && says(step.payload, wanted)) items.push(step.seq);
    }
  }
  return { items, next_after: end < file.pieces.length ? (file.pieces[end - 1]?.[1] ?? null) : null };
}

/** Whether a value holds a text anywhere. What was moved to a file of its own is not looked at. */
export function says(value: unknown, wanted: string): boolean {
  const left = [value];
  while (left.length) {
    const held = left.pop();
    if (typeof held === "object" && held !== null) left.push(...(Array.isArray(held) ? held : Object.values(held)));
    else if (held !== null && held !== undefined && String(held).toLowerCase().includes(wanted)) return true;
  }
  return false;
}
