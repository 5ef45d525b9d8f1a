/** The shell as a terminal, up to a step: every command and what it printed, replayed by a real terminal emulator. */

import { type IBufferCell, Terminal } from "@xterm/headless";
import { memo, useEffect, useLayoutEffect, useRef, useState } from "react";

import { Icon } from "../../parts/Icon";
import { fetchText } from "../blobs";
import { classOf, colourOf } from "../cards/ShellBody";
import type { Style } from "../ansi";
import { type TraceSource, useSource } from "../source";
import type { StepView } from "../step";
import { isShell, lastAt, usePlaces } from "./places";
import { usePlay } from "./usePlay";

const FEWEST_COLUMNS = 80;
/** The width of a letter of the monospaced face, in parts of its size. */
const LETTER = 0.6;
const SIZE_PX = 12;
const PADDING_PX = 13;
const ROWS = 40;
const SCROLLBACK = 4_000;
const COMMANDS_SHOWN = 80;
const OUTPUT_CHARS = 200_000;

interface Run {
  text: string;
  style: Style | null;
}

interface TerminalStageProps {
  source: TraceSource;
  cursor: number;
  onGo: (place: number) => void;
}

export function TerminalStage({ source, cursor, onGo }: TerminalStageProps) {
  useSource(source);
  const places = usePlaces(source, isShell);
  const index = lastAt(places, cursor);
  const [plays, setPlays] = usePlay(source, places, index, onGo);
  const [lines, setLines] = useState<Run[][]>([]);
  const box = useRef<HTMLDivElement>(null);
  const [width, setWidth] = useState(0);
  useLayoutEffect(() => {
    const element = box.current;
    if (!element) return;
    const watcher = new ResizeObserver(() => setWidth(element.clientWidth - 2 * PADDING_PX));
    watcher.observe(element);
    return () => watcher.disconnect();
  }, []);
  const columns = Math.max(FEWEST_COLUMNS, Math.floor(width / (SIZE_PX * LETTER)));
  const size = width ? Math.min(SIZE_PX, width / (FEWEST_COLUMNS * LETTER)) : SIZE_PX;
  const key = `${places[Math.max(0, index - COMMANDS_SHOWN + 1)]}:${places[index]}:${source.isComplete}:${columns}`;
  useEffect(() => {
    let isOver = false;
    void replay(source, places.slice(Math.max(0, index - COMMANDS_SHOWN + 1), index + 1), columns, () => isOver).then((found) => {
      if (found && !isOver) setLines(found);
    });
    return () => {
      isOver = true;
    };
  }, [source, key]);
  useLayoutEffect(() => {
    const element = box.current;
    if (element) element.scrollTop = element.scrollHeight;
  }, [lines]);
  return (
    <>
      <div className="terminal">
        <div className="terminal-screen" ref={box} tabIndex={0} role="log" aria-label="Terminal" style={{ fontSize: size }}>
          {index < 0 ? <div className="shell-quiet">No command up to this step.</div> : lines.map((runs, at) => <TerminalLine key={at} runs={runs} />)}
        </div>
      </div>
      <div className="terminal-controls">
        <button type="button" className="icon-button" onClick={() => setPlays(!plays)} aria-label={plays ? "Pause" : "Play"}>
          <Icon name={plays ? "pause" : "play"} size={14} />
        </button>
        <input
          type="range"
          min={0}
          max={Math.max(0, places.length - 1)}
          value={Math.max(0, index)}
          onChange={(event) => {
            const to = places[Number(event.target.value)];
            if (to !== undefined) onGo(to);
          }}
          aria-label="Commands of the run"
        />
        <span className="number screen-count">
          {index + 1} / {places.length}
        </span>
      </div>
    </>
  );
}

const TerminalLine = memo(function TerminalLine({ runs }: { runs: Run[] }) {
  return (
    <div className="terminal-line">
      {runs.map((run, index) =>
        run.style ? (
          <span key={index} className={classOf(run.style)} style={colourOf(run.style)}>
            {run.text}
          </span>
        ) : (
          run.text
        ),
      )}
    </div>
  );
});

async function replay(source: TraceSource, places: number[], cols: number, isOver: () => boolean): Promise<Run[][] | null> {
  const terminal = new Terminal({ cols, rows: ROWS, scrollback: SCROLLBACK, allowProposedApi: true });
  try {
    for (const place of places) {
      const step = await source.stepAt(place);
      if (isOver()) return null;
      if (step?.kind === "shell") await write(terminal, await script(step));
    }
    return linesOf(terminal);
  } finally {
    terminal.dispose();
  }
}

async function script(step: Extract<StepView, { kind: "shell" }>): Promise<string> {
  const prompt = step.commands.map((command) => `\u001b[0;1;32m$\u001b[0;1m ${shownCommand(command)}\u001b[0m`).join("\r\n");
  let output = "";
  for (const block of step.blocks) {
    if (block.kind !== "text") continue;
    output += typeof block.words === "string" ? block.words : await fetchText(block.words).catch(() => "(this output is not kept any more)");
  }
  const kept = output.length > OUTPUT_CHARS ? `${output.slice(0, OUTPUT_CHARS / 2)}\n…\n${output.slice(-OUTPUT_CHARS / 2)}` : output;
  return `${prompt}\r\n${kept.replace(/\r?\n/g, "\r\n").trimEnd()}\u001b[0m\r\n`;
}

/** A command as it is typed: what would steer the terminal is shown. */
function shownCommand(command: string): string {
  // eslint-disable-next-line no-control-regex
  const plain = command.replace(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f]/g, (char) => `^${String.fromCharCode((char.charCodeAt(0) + 64) % 128)}`);
  return plain.replaceAll("\n", "\r\n  ");
}

function write(terminal: Terminal, text: string): Promise<void> {
  return new Promise((resolve) => terminal.write(text, resolve));
}

function linesOf(terminal: Terminal): Run[][] {
  const buffer = terminal.buffer.active;
  const found: Run[][] = [];
  for (let row = 0; row < buffer.length; row += 1) {
    const line = buffer.getLine(row);
    if (!line) continue;
    const runs: Run[] = [];
    let last = "";
    for (let column = 0; column < line.length; column += 1) {
      const cell = line.getCell(column);
      if (!cell || cell.getWidth() === 0) continue;
      const style = styleOf(cell);
      const key = style ? JSON.stringify(style) : "";
      const text = cell.getChars() || " ";
      const run = runs.at(-1);
      if (run && key === last) run.text += text;
      else runs.push({ text, style });
      last = key;
    }
    const end = runs.at(-1);
    if (end && !end.style) end.text = end.text.trimEnd();
    found.push(runs);
  }
  while (found.length && found.at(-1)?.every((run) => !run.text.trim())) found.pop();
  return found;
}

function styleOf(cell: IBufferCell): Style | null {
  const style: Style = {};
  if (cell.isFgPalette()) style.fg = indexed(cell.getFgColor());
  else if (cell.isFgRGB()) style.fg = spelled(cell.getFgColor());
  if (cell.isBgPalette()) style.bg = indexed(cell.getBgColor());
  else if (cell.isBgRGB()) style.bg = spelled(cell.getBgColor());
  if (cell.isBold()) style.bold = true;
  if (cell.isDim()) style.dim = true;
  if (cell.isItalic()) style.italic = true;
  if (cell.isUnderline()) style.underline = true;
  if (cell.isInverse()) style.inverse = true;
  return Object.keys(style).length ? style : null;
}

function indexed(index: number): number | string {
  if (index < 16) return index;
  if (index >= 232) return spelled((8 + (index - 232) * 10) * 0x010101);
  const steps = [0, 95, 135, 175, 215, 255];
  const at = index - 16;
  const [r, g, b] = [steps[Math.floor(at / 36)] ?? 0, steps[Math.floor(at / 6) % 6] ?? 0, steps[at % 6] ?? 0];
  return `rgb(${r} ${g} ${b})`;
}

function spelled(colour: number): string {
  return `#${colour.toString(16).padStart(6, "0")}`;
}
