import { expect, test } from "vitest";

import { visible } from "./visible";

const shown = (text: string) => visible(text).map((piece) => (typeof piece === "string" ? piece : `<${piece.shown}>`)).join("");

test("a plain text stays one piece", () => {
  expect(visible("Grüße, 東京\tand\nmore 👩‍🚀")).toEqual(["Grüße, 東京\tand\nmore 👩‍🚀"]);
});

test("escapes and other controls become pictures of themselves", () => {
  expect(shown("a\u001b[31mb\u0000\u007f")).toBe("a<␛>[31mb<␀><␡>");
});

test("a text cannot turn the direction of what follows", () => {
  expect(shown("user\u202Egpj.exe")).toBe("user<U+202E>gpj.exe");
  expect(visible("\u2066")[0]).toMatchObject({ name: "left-to-right isolate U+2066" });
});

test("lines that end as Windows ends them are ordinary lines", () => {
  expect(shown("one\r\ntwo\rthree")).toBe("one\ntwo<␍>three");
});

test("asked twice, it finds the same", () => {
  expect(shown("\u200bx")).toBe("<U+200B>x");
  expect(shown("\u200bx")).toBe("<U+200B>x");
});
