/** Data as a tree that can be opened and closed; large ones begin closed. */

import { useState } from "react";

import { unescaped } from "./blobs";
import { Line, pieceOf } from "./Text";
import { visible } from "./visible";
import "./json.css";

const OPEN_DEPTH = 2;
const SHOWN_AT_ONCE = 100;
const DEEPEST = 40;
const LONG_TEXT = 300;

export function Json({ value, open = OPEN_DEPTH }: { value: unknown; open?: number }) {
  return (
    <div className="json">
      <Value value={unescaped(value)} depth={0} open={open} />
    </div>
  );
}

/** Arguments of a call: one field a line where they are flat. */
export function Fields({ value }: { value: unknown }) {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return <Json value={value} />;
  const entries = Object.entries(unescaped(value) as Record<string, unknown>);
  if (!entries.length) return <span className="json-quiet">no arguments</span>;
  return (
    <dl className="fields">
      {entries.slice(0, SHOWN_AT_ONCE).map(([name, held]) => (
        <div key={name}>
          <dt>
            <Line>{name}</Line>
          </dt>
          <dd className="json">
            <Value value={held} depth={1} open={OPEN_DEPTH} bare />
          </dd>
        </div>
      ))}
      {entries.length > SHOWN_AT_ONCE ? <div className="json-quiet">and {entries.length - SHOWN_AT_ONCE} more</div> : null}
    </dl>
  );
}

interface ValueProps {
  value: unknown;
  depth: number;
  open: number;
  /** A text without its quotation marks. */
  bare?: boolean;
}

function Value({ value, depth, open, bare = false }: ValueProps) {
  if (typeof value === "string") return <Said text={value} bare={bare} />;
  if (value === null || value === undefined) return <span className="json-word">null</span>;
  if (typeof value !== "object") return <span className={typeof value === "number" ? "json-number" : "json-word"}>{String(value)}</span>;
  if (depth >= DEEPEST) return <span className="json-quiet">… deeper than is shown</span>;
  return <Branch value={value} depth={depth} open={open} />;
}

function Said({ text, bare }: { text: string; bare: boolean }) {
  const [isAll, setAll] = useState(false);
  const isLong = text.length > LONG_TEXT;
  const shown = isLong && !isAll ? text.slice(0, LONG_TEXT) : text.slice(0, 100_000);
  return (
    <span className="json-text">
      {bare ? null : "“"}
      <Chars text={shown} />
      {bare ? null : "”"}
      {isLong ? (
        <button type="button" className="json-toggle" onClick={() => setAll(!isAll)}>
          {isAll ? "less" : `… ${text.length.toLocaleString()} characters`}
        </button>
      ) : null}
    </span>
  );
}

function Branch({ value, depth, open }: { value: object; depth: number; open: number }) {
  const isList = Array.isArray(value);
  const entries = Object.entries(value);
  const isSmall = entries.length <= 8 && entries.every(([, held]) => typeof held !== "object" || held === null);
  const [isOpen, setOpen] = useState(depth < open || (isSmall && depth < open + 2));
  const [shown, setShown] = useState(SHOWN_AT_ONCE);
  const [left, right] = isList ? ["[", "]"] : ["{", "}"];
  if (!entries.length) return <span className="json-quiet">{left + right}</span>;
  if (!isOpen)
    return (
      <button type="button" className="json-toggle" onClick={() => setOpen(true)} aria-expanded={false}>
        {left} {isList ? `${entries.length} items` : entries.slice(0, 4).map(([name]) => name.slice(0, 24)).join(", ")}
        {!isList && entries.length > 4 ? ", …" : ""} {right}
      </button>
    );
  return (
    <span className="json-branch">
      <button type="button" className="json-toggle json-brace" onClick={() => setOpen(false)} aria-expanded aria-label="Close">
        {left}
      </button>
      <ul>
        {entries.slice(0, shown).map(([name, held]) => (
          <li key={name}>
            {isList ? null : (
              <span className="json-name">
                <Line>{name}</Line>:{" "}
              </span>
            )}
            <Value value={held} depth={depth + 1} open={open} />
          </li>
        ))}
        {entries.length > shown ? (
          <li>
            <button type="button" className="json-toggle" onClick={() => setShown(shown + 10 * SHOWN_AT_ONCE)}>
              … {entries.length - shown} more
            </button>
          </li>
        ) : null}
      </ul>
      <span className="json-quiet">{right}</span>
    </span>
  );
}


function Chars({ text }: { text: string }) {
  return visible(text).map(pieceOf);
}
