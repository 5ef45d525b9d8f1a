/** Characters that a page would hide or obey, as something to see: controls, bidirectional marks, invisibles. */

export type Piece = string | { shown: string; name: string };

// C0 but for tab and line feed, DEL and C1; bidirectional controls; what has no width; tags.
// eslint-disable-next-line no-control-regex
const HIDDEN = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb]|\udb40[\udc00-\udc7f]/g;

const NAMES: Record<number, string> = {
  0x00ad: "soft hyphen",
  0x061c: "Arabic letter mark",
  0x200b: "zero-width space",
  0x200e: "left-to-right mark",
  0x200f: "right-to-left mark",
  0x202a: "left-to-right embedding",
  0x202b: "right-to-left embedding",
  0x202c: "end of embedding",
  0x202d: "left-to-right override",
  0x202e: "right-to-left override",
  0x2066: "left-to-right isolate",
  0x2067: "right-to-left isolate",
  0x2068: "first strong isolate",
  0x2069: "end of isolate",
  0xfeff: "byte order mark",
};

/** Cut a text at what cannot be seen. A text without any is given back as it is, in one piece. */
export function visible(text: string): Piece[] {
  if (text.search(HIDDEN) < 0) return [text];
  const pieces: Piece[] = [];
  let end = 0;
  for (const match of text.matchAll(HIDDEN)) {
    const before = text.slice(end, match.index);
    end = match.index + match[0].length;
    // A line that ends as Windows ends it is an ordinary line.
    if (match[0] === "\r" && text[end] === "\n") {
      if (before) pieces.push(before);
      continue;
    }
    if (before) pieces.push(before);
    pieces.push(shown(match[0]));
  }
  if (end < text.length) pieces.push(text.slice(end));
  return pieces;
}

function shown(char: string): { shown: string; name: string } {
  const code = char.codePointAt(0) ?? 0;
  const spelled = `U+${code.toString(16).toUpperCase().padStart(4, "0")}`;
  if (code < 0x20) return { shown: String.fromCodePoint(0x2400 + code), name: `control character ${spelled}` };
  if (code === 0x7f) return { shown: "␡", name: `delete ${spelled}` };
  return { shown: spelled, name: `${NAMES[code] ?? "invisible character"} ${spelled}` };
}
