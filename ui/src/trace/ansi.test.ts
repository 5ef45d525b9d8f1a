import { expect, test } from "vitest";

import { spans } from "./ansi";

const ESC = "\u001b";

test("colours are told apart and end", () => {
  expect(spans(`a${ESC}[1;31mb${ESC}[0mc`)).toEqual([
    { text: "a", style: null },
    { text: "b", style: { bold: true, fg: 1 } },
    { text: "c", style: null },
  ]);
});

test("bright, indexed and true colours are read", () => {
  expect(spans(`${ESC}[92mx`)[0]?.style).toEqual({ fg: 10 });
  expect(spans(`${ESC}[38;5;196mx`)[0]?.style).toEqual({ fg: "rgb(255 0 0)" });
  expect(spans(`${ESC}[48;2;1;2;300mx`)[0]?.style).toEqual({ bg: "rgb(1 2 255)" });
});

test("a line that was drawn anew shows its last state", () => {
  expect(spans("10%\r50%\r100%\ndone").map((span) => span.text)).toEqual(["100%\ndone"]);
});

test("what moves the cursor stays, to be seen; what only hides it goes", () => {
  expect(spans(`${ESC}[2Jx${ESC}[?25l`).map((span) => span.text).join("")).toBe(`${ESC}[2Jx`);
});

test("a code that never ends changes nothing", () => {
  expect(spans(`${ESC}[38;5mx`).at(-1)?.text).toBe("x");
  expect(spans(`${ESC}[`).map((span) => span.text).join("")).toBe(`${ESC}[`);
});
