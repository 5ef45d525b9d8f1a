/** Colours of terminal output, and nothing else of it: what moves a cursor is left as it is, to be seen. */

export interface Style {
  fg?: number | string;
  bg?: number | string;
  bold?: boolean;
  dim?: boolean;
  italic?: boolean;
  underline?: boolean;
  inverse?: boolean;
}

export interface Span {
  text: string;
  style: Style | null;
}

// eslint-disable-next-line no-control-regex
const SGR = /\u001b\[([0-9;:]{0,64})m/g;
// eslint-disable-next-line no-control-regex
const SILENT = /\u001b\[\?(?:25|1049|2004)[hl]|\u001b\[[0-2]?K|\u001b\(B|\u001b\][^\u0007\u001b]{0,500}(?:\u0007|\u001b\\)/g;

/** Cut output into runs of one style. A line that a carriage return began anew shows its last state. */
export function spans(output: string): Span[] {
  const settled = output.includes("\r") ? output.replaceAll("\r\n", "\n").split("\n").map(lastState).join("\n") : output;
  if (!settled.includes("\u001b")) return [{ text: settled, style: null }];
  const plain = settled.replace(SILENT, "");
  const found: Span[] = [];
  let style: Style = {};
  let end = 0;
  for (const match of plain.matchAll(SGR)) {
    push(found, plain.slice(end, match.index), style);
    end = match.index + match[0].length;
    style = after(style, match[1] ?? "");
  }
  push(found, plain.slice(end), style);
  return found;
}

function lastState(line: string): string {
  const parts = line.split("\r").filter((part) => part !== "");
  return parts.at(-1) ?? "";
}

function push(found: Span[], text: string, style: Style): void {
  if (text) found.push({ text, style: Object.keys(style).length ? style : null });
}

function after(style: Style, codes: string): Style {
  const left = codes.split(/[;:]/).map((code) => (code === "" ? 0 : Number(code)));
  let next: Style = { ...style };
  while (left.length) {
    const code = left.shift() ?? 0;
    if (code === 0) next = {};
    else if (code === 1) next.bold = true;
    else if (code === 2) next.dim = true;
    else if (code === 3) next.italic = true;
    else if (code === 4) next.underline = true;
    else if (code === 7) next.inverse = true;
    else if (code === 22) {
      delete next.bold;
      delete next.dim;
    } else if (code === 23) delete next.italic;
    else if (code === 24) delete next.underline;
    else if (code === 27) delete next.inverse;
    else if (code === 39) delete next.fg;
    else if (code === 49) delete next.bg;
    else if (code >= 30 && code <= 37) next.fg = code - 30;
    else if (code >= 90 && code <= 97) next.fg = code - 82;
    else if (code >= 40 && code <= 47) next.bg = code - 40;
    else if (code >= 100 && code <= 107) next.bg = code - 92;
    else if (code === 38 || code === 48) {
      const colour = extended(left);
      if (colour !== null) next[code === 38 ? "fg" : "bg"] = colour;
    }
  }
  return next;
}

function extended(left: number[]): number | string | null {
  const how = left.shift();
  if (how === 5) return palette(left.shift() ?? 0);
  if (how === 2) return rgb(left.splice(0, 3));
  return null;
}

function palette(index: number): number | string {
  if (index < 16) return index;
  if (index >= 232) return rgb(Array.from({ length: 3 }, () => 8 + (index - 232) * 10));
  const steps = [0, 95, 135, 175, 215, 255];
  const at = index - 16;
  return rgb([steps[Math.floor(at / 36)] ?? 0, steps[Math.floor(at / 6) % 6] ?? 0, steps[at % 6] ?? 0]);
}

function rgb(parts: number[]): string {
  const [r, g, b] = [0, 1, 2].map((index) => Math.min(255, Math.max(0, Math.round(parts[index] ?? 0) || 0)));
  return `rgb(${r} ${g} ${b})`;
}
