/** A text from a trace: only ever text, with what is hidden in it made visible, and not all of a long one at once. */

import { memo, useEffect, useState } from "react";

import { bytes, count } from "../parts/format";
import { type BlobRef, fetchText, type Words } from "./blobs";
import { type Piece, visible } from "./visible";
import "./text.css";

const SHOWN_CHARS = 6_000;
const SHOWN_LINES = 60;
const PIECE_CHARS = 20_000;

interface TextProps {
  words: Words;
  /** Set in a monospaced face. */
  mono?: boolean;
  lines?: number;
  className?: string;
}

export function Text({ words, mono = false, lines = SHOWN_LINES, className = "" }: TextProps) {
  const classes = `text${mono ? " mono" : ""} ${className}`;
  if (typeof words === "string") return <Long text={words} lines={lines} classes={classes} />;
  return <Moved of={words} lines={lines} classes={classes} />;
}

function Long({ text, lines, classes }: { text: string; lines: number; classes: string }) {
  const [isAll, setAll] = useState(false);
  const cut = cutOf(text, lines);
  if (cut === null) return <div className={classes}>{<Shown text={text} />}</div>;
  return (
    <div className={classes}>
      {isAll ? <Whole text={text} /> : <Shown text={text.slice(0, cut)} />}
      <button type="button" className="text-more" onClick={() => setAll(!isAll)} aria-expanded={isAll}>
        {isAll ? "Show less" : `Show all ${size(text)}`}
      </button>
    </div>
  );
}

function size(text: string): string {
  return text.length > 20_000 ? bytes(text.length) : `${count(text.split("\n").length)} lines`;
}

/** Where to cut a text that is too long to be shown at once, `null` when it is not. */
export function cutOf(text: string, lines: number): number | null {
  let at = -1;
  for (let line = 0; line < lines; line += 1) {
    at = text.indexOf("\n", at + 1);
    if (at < 0) return text.length > SHOWN_CHARS * 1.2 ? SHOWN_CHARS : null;
    if (at > SHOWN_CHARS) return SHOWN_CHARS;
  }
  return text.length - at < 400 && text.indexOf("\n", at + 1) < 0 ? null : at;
}

/** All of a long text, in pieces, of which only those on the screen are laid out. */
function Whole({ text }: { text: string }) {
  const pieces: string[] = [];
  for (let at = 0; at < text.length; ) {
    let end = Math.min(at + PIECE_CHARS, text.length);
    const line = text.lastIndexOf("\n", end);
    if (end < text.length && line > at) end = line + 1;
    pieces.push(text.slice(at, end));
    at = end;
  }
  return pieces.map((piece, index) => (
    <div key={index} className="text-piece">
      <Shown text={piece} />
    </div>
  ));
}

const Shown = memo(function Shown({ text }: { text: string }) {
  return visible(text).map(pieceOf);
});

export function pieceOf(piece: Piece, index: number) {
  if (typeof piece === "string") return piece;
  return (
    <span key={index} className="hidden-char" title={piece.name}>
      {piece.shown}
    </span>
  );
}

/** A short text on one line: titles, names, paths. */
export function Line({ children }: { children: string }) {
  return <bdi>{visible(children.length > 400 ? `${children.slice(0, 400)}…` : children).map(pieceOf)}</bdi>;
}

function Moved({ of, lines, classes }: { of: BlobRef; lines: number; classes: string }) {
  const [held, setHeld] = useState<string | null>(null);
  const [isFailed, setFailed] = useState(false);
  const [isAsked, setAsked] = useState(of.sizeBytes < 300_000);
  useEffect(() => {
    if (!isAsked) return;
    const ending = new AbortController();
    fetchText(of, ending.signal).then(setHeld, () => {
      if (!ending.signal.aborted) setFailed(true);
    });
    return () => ending.abort();
  }, [of.sha256, isAsked]);
  if (held !== null) return <Long text={held} lines={lines} classes={classes} />;
  if (!isAsked)
    return (
      <div className={classes}>
        <button type="button" className="text-more" onClick={() => setAsked(true)}>
          Load a text of {bytes(of.sizeBytes)}
        </button>
      </div>
    );
  return <div className={`${classes} text-quiet`}>{isFailed ? "This text is not kept any more." : `Loading ${bytes(of.sizeBytes)}…`}</div>;
}
