/** What changed in a file, line by line. */

import { diffLines } from "diff";
import { memo, useMemo, useState } from "react";

import { pieceOf } from "../Text";
import { visible } from "../visible";
import "./diff.css";

const SHOWN_LINES = 80;
const LONGEST_LINE = 2_000;
const COMPARED_CHARS = 200_000;

interface Row {
  kind: "add" | "drop" | "same" | "hunk" | "note";
  before: number | null;
  after: number | null;
  text: string;
}

export function Diff({ patch }: { patch: string }) {
  return <Rows rows={useMemo(() => rowsOf(patch), [patch])} />;
}

/** A piece of text that was put in the place of another. */
export function Replaced({ before, after }: { before: string; after: string }) {
  const rows = useMemo(() => replacedRows(before, after), [before, after]);
  return <Rows rows={rows} />;
}

const Rows = memo(function Rows({ rows }: { rows: Row[] }) {
  const [isAll, setAll] = useState(false);
  const shown = isAll ? rows : rows.slice(0, SHOWN_LINES);
  const isNumbered = rows.some((row) => row.before !== null || row.after !== null);
  return (
    <>
      <div className={`diff${isNumbered ? "" : " unnumbered"}`} role="table" aria-label="What changed">
        {shown.map((row, index) => (
          <div key={index} className={`diff-row diff-${row.kind}`} role="row">
            {isNumbered ? (
              <span className="diff-number" role="cell">
                {row.after ?? row.before ?? ""}
              </span>
            ) : null}
            <span className="diff-sign" role="cell">
              {row.kind === "add" ? "+" : row.kind === "drop" ? "−" : " "}
            </span>
            <span className="diff-text" role="cell">
              {visible(row.text.length > LONGEST_LINE ? `${row.text.slice(0, LONGEST_LINE)}…` : row.text).map(pieceOf)}
            </span>
          </div>
        ))}
      </div>
      {rows.length > SHOWN_LINES ? (
        <button type="button" className="text-more" onClick={() => setAll(!isAll)} aria-expanded={isAll}>
          {isAll ? "Show less" : `${rows.length - SHOWN_LINES} more lines`}
        </button>
      ) : null}
    </>
  );
});

const HUNK = /^@@ -(\d+)(?:,\d+)? \+(\d+)(?:,\d+)? @@(.*)$/;

/** Read a unified diff; lines that are none of one are kept as they are. */
export function rowsOf(patch: string): Row[] {
  const lines = patch.split("\n");
  if (lines.at(-1) === "") lines.pop();
  const rows: Row[] = [];
  let [before, after] = [0, 0];
  for (const line of lines) {
    const hunk = HUNK.exec(line);
    if (hunk) {
      before = Number(hunk[1]);
      after = Number(hunk[2]);
      rows.push({ kind: "hunk", before: null, after: null, text: (hunk[3] ?? "").trim() || "⋯" });
    } else if (line.startsWith("@@")) {
      if (line.length > 2) rows.push({ kind: "hunk", before: null, after: null, text: line.slice(2).trim() });
    } else if (/^(?:--- |\+\+\+ )/.test(line) && !before && !after) {
      continue;
    } else if (line.startsWith("+")) {
      rows.push({ kind: "add", before: null, after: after ? after++ : null, text: line.slice(1) });
    } else if (line.startsWith("-")) {
      rows.push({ kind: "drop", before: before ? before++ : null, after: null, text: line.slice(1) });
    } else if (line.startsWith("\\")) {
      rows.push({ kind: "note", before: null, after: null, text: line.slice(1).trim() });
    } else {
      rows.push({ kind: "same", before: before ? before++ : null, after: after ? after++ : null, text: line.startsWith(" ") ? line.slice(1) : line });
    }
  }
  return rows[0]?.kind === "hunk" && rows[0].text === "⋯" ? rows.slice(1) : rows;
}

export function replacedRows(before: string, after: string): Row[] {
  if (before.length + after.length > COMPARED_CHARS) {
    return [...plain(before, "drop"), ...plain(after, "add")];
  }
  return diffLines(before, after).flatMap((part) => plain(part.value, part.added ? "add" : part.removed ? "drop" : "same"));
}

function plain(text: string, kind: Row["kind"]): Row[] {
  if (text === "") return [];
  const lines = text.split("\n");
  if (lines.at(-1) === "") lines.pop();
  return lines.map((line) => ({ kind, before: null, after: null, text: line }));
}

export function counted(patch: string): { added: number; dropped: number } {
  let [added, dropped] = [0, 0];
  for (const row of rowsOf(patch)) {
    if (row.kind === "add") added += 1;
    if (row.kind === "drop") dropped += 1;
  }
  return { added, dropped };
}
