import { expect, test } from "vitest";

import { counted, replacedRows, rowsOf } from "./Diff";

const PATCH = "--- a/x\n+++ b/x\n@@ -8,3 +8,3 @@ def f():\n same\n-old\n+new\n\\ No newline at end of file\n";

test("a diff's lines have their numbers", () => {
  expect(rowsOf(PATCH)).toEqual([
    { kind: "hunk", before: null, after: null, text: "def f():" },
    { kind: "same", before: 8, after: 8, text: "same" },
    { kind: "drop", before: 9, after: null, text: "old" },
    { kind: "add", before: null, after: 9, text: "new" },
    { kind: "note", before: null, after: null, text: "No newline at end of file" },
  ]);
  expect(counted(PATCH)).toEqual({ added: 1, dropped: 1 });
});

test("what is no diff stays what it is", () => {
  expect(rowsOf("hello\nworld").map((row) => row.text)).toEqual(["hello", "world"]);
  expect(rowsOf("")).toEqual([]);
});

test("a replaced text shows only the lines that changed", () => {
  expect(replacedRows("a\nb\nc", "a\nB\nc").map((row) => `${row.kind} ${row.text}`)).toEqual(["same a", "drop b", "add B", "same c"]);
});
