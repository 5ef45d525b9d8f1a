/** Commands of a shell and what they printed, in the colours they printed it in. */

import { memo, useState } from "react";

import { spans, type Style } from "../ansi";
import type { Words } from "../blobs";
import { number, table, list, text } from "../loose";
import type { ViewOf } from "../step";
import { cutOf, pieceOf, Text } from "../Text";
import { visible } from "../visible";
import { Blocks } from "./Blocks";
import "./shell.css";

const LINES = 18;

export function ShellBody({ step }: { step: ViewOf<"shell"> }) {
  const outputs = separate(step);
  return (
    <div className="shell">
      {outputs ? (
        outputs.map((one, index) => (
          <div key={index}>
            <CommandLine command={one.command} />
            {one.output ? <Output words={one.output} /> : null}
            <Ending code={one.code} timedOut={one.timedOut} />
          </div>
        ))
      ) : (
        <>
          {step.commands.map((command, index) => (
            <CommandLine key={index} command={command} />
          ))}
          {step.blocks.map((block, index) =>
            block.kind === "text" ? <Output key={index} words={block.words} /> : <Blocks key={index} blocks={[block]} />,
          )}
          {step.hasResult ? null : <p className="shell-quiet">No result was recorded.</p>}
        </>
      )}
    </div>
  );
}

interface One {
  command: string;
  output: string;
  code: number | null;
  timedOut: boolean;
}

/** The output of each of several commands, where the result tells them apart. */
function separate(step: ViewOf<"shell">): One[] | null {
  const payload = table(table(step.payload).result);
  const output = list(table(payload.structuredContent).output);
  if (!output.length || output.length !== step.commands.length) return null;
  return output.map((value, index) => {
    const held = table(value);
    const outcome = table(held.outcome);
    const parts = [text(held.stdout)?.replace(/\n$/, ""), text(held.stderr)?.replace(/\n$/, "")].filter(Boolean);
    return { command: step.commands[index] ?? "", output: parts.join("\n"), code: number(outcome.exit_code), timedOut: outcome.type === "timeout" };
  });
}

function CommandLine({ command }: { command: string }) {
  return (
    <div className="shell-command">
      <span aria-hidden="true">$</span>
      <Text words={command} mono lines={12} />
    </div>
  );
}

function Ending({ code, timedOut }: { code: number | null; timedOut: boolean }) {
  if (timedOut) return <p className="shell-ending">timed out</p>;
  return code === null || code === 0 ? null : <p className="shell-ending">exit code {code}</p>;
}

export function Output({ words }: { words: Words }) {
  const [isAll, setAll] = useState(false);
  if (typeof words !== "string") return <Text words={words} mono lines={LINES} />;
  const cut = cutOf(words, LINES);
  // The end of what a command prints says most of how it went.
  const tail = cut === null || isAll ? "" : words.slice(tailOf(words, cut));
  const shown = cut === null || isAll ? words.slice(0, 400_000) : words.slice(0, cut);
  return (
    <div className="text mono shell-output">
      <Coloured text={shown} />
      {cut === null ? null : (
        <button type="button" className="text-more" onClick={() => setAll(!isAll)} aria-expanded={isAll}>
          {isAll ? "Show less" : `${words.slice(cut, words.length - tail.length).split("\n").length} lines between`}
        </button>
      )}
      {tail ? <Coloured text={tail} /> : null}
    </div>
  );
}

const TAIL_LINES = 6;
const TAIL_CHARS = 1_500;

function tailOf(text: string, cut: number): number {
  let at = text.trimEnd().length;
  for (let line = 0; line < TAIL_LINES; line += 1) {
    const before = text.lastIndexOf("\n", at - 1);
    if (before < cut) break;
    at = before;
  }
  return Math.max(cut, at + 1, text.length - TAIL_CHARS);
}

const Coloured = memo(function Coloured({ text }: { text: string }) {
  return spans(text).map((span, index) => {
    const pieces = visible(span.text).map(pieceOf);
    if (!span.style) return <span key={index}>{pieces}</span>;
    return (
      <span key={index} className={classOf(span.style)} style={colourOf(span.style)}>
        {pieces}
      </span>
    );
  });
});

export function classOf(style: Style): string {
  const names: string[] = [];
  if (typeof style.fg === "number") names.push(`fg${style.fg}`);
  if (typeof style.bg === "number") names.push(`bg${style.bg}`);
  for (const name of ["bold", "dim", "italic", "underline", "inverse"] as const) if (style[name]) names.push(name);
  return names.join(" ");
}

export function colourOf(style: Style): { color?: string; backgroundColor?: string } {
  return {
    ...(typeof style.fg === "string" ? { color: style.fg } : {}),
    ...(typeof style.bg === "string" ? { backgroundColor: style.bg } : {}),
  };
}
