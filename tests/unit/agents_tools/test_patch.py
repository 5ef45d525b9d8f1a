"""Patches read and applied to text."""

from __future__ import annotations

import contextlib
import difflib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hud.agents.tools.base import ToolError
from hud.agents.tools.patch import Change, apply_hunks, parse_diff, parse_new_file, parse_patch

_line = st.text(st.characters(codec="utf-8", exclude_characters="\n\r"), max_size=8)
_texts = st.lists(_line, max_size=12).map(lambda lines: "".join(f"{line}\n" for line in lines))
_unique = st.lists(st.integers(0, 60), unique=True, max_size=40)


def patched(text: str, diff: str) -> str:
    return apply_hunks(text, parse_diff(diff))


def diff_of(before: str, after: str, context: int) -> str:
    """Return the difference of two texts, without line numbers."""
    old, new = before.split("\n")[:-1], after.split("\n")[:-1]
    lines = list(difflib.unified_diff(old, new, n=context, lineterm=""))[2:]
    return "".join(f"{'@@' if line.startswith('@@') else line}\n" for line in lines)


@given(_texts, _texts)
def test_a_whole_file_s_difference_gives_the_other_file(before: str, after: str) -> None:
    if before != after:
        assert patched(before, diff_of(before, after, 100)) == after


@given(_unique, st.data())
def test_hunks_with_context_give_the_other_file(numbers: list[int], data: st.DataObject) -> None:
    changed: list[str] = []
    for number in numbers:
        match data.draw(st.sampled_from(["keep"] * 4 + ["drop", "add"])):
            case "keep":
                changed.append(f"line {number}")
            case "add":
                changed += [f"line {number}", f"new {number}"]
            case _:
                pass
    before = "".join(f"line {number}\n" for number in numbers)
    after = "".join(f"{line}\n" for line in changed)
    if before != after:
        assert patched(before, diff_of(before, after, 3)) == after
        windows = before.replace("\n", "\r\n")
        assert patched(windows, diff_of(before, after, 3)) == after.replace("\n", "\r\n")


@given(_texts)
def test_a_new_file_reads_as_its_added_lines(text: str) -> None:
    diff = "".join(f"+{line}\n" for line in text.split("\n")[:-1])
    assert parse_new_file(diff) == text


@given(st.text(st.sampled_from("@ +-ab*\n\\")))
def test_any_text_is_a_diff_or_told_back(text: str) -> None:
    with contextlib.suppress(ToolError):
        assert parse_diff(text) == () or text.strip("\n")
    with contextlib.suppress(ToolError):
        parse_patch(f"*** Begin Patch\n*** Update File: a\n{text}\n*** End Patch")
    with contextlib.suppress(ToolError):
        assert parse_new_file(text).count("\n") <= text.count("\n") + 1


@pytest.mark.parametrize(
    ("before", "diff", "after"),
    [
        ("a\nb\nc", "@@\n-b\n+B\n", "a\nB\nc"),
        ("a\nb", "@@\n-b\n+B\n+C\n", "a\nB\nC"),
        ("a\nb", "@@\n-b\n", "a"),
        ("a\n", "@@\n-a\n", ""),
        ("", "+a\n", "a\n"),
        ("a\n", "+b\n", "a\nb\n"),
        ("a\n", "@@ a\n+b\n", "a\nb\n"),
        ("x\na\nx\na\n", "@@\n x\n-a\n+A\n*** End of File\n", "x\na\nx\nA\n"),
        ("x\ny\n", "@@ -1,2 +1,2 @@ head\n x\n-y\n+z\n\\ No newline at end of file\n", "x\nz\n"),
        ("a\n\nb\n", "@@\n a\n\n-b\n+B\n", "a\n\nB\n"),
        ("a\nb\n", "@@\n-a\n+A\n\n", "A\nb\n"),
        ("a\r\nb\r\n", "@@\r\n-a\r\n+A\r\n", "A\r\nb\r\n"),
        ("a\r\nb\nc\r\n", "@@\n a\n-b\n+B\n", "a\r\nB\r\nc\r\n"),
    ],
)
def test_a_diff_applies(before: str, diff: str, after: str) -> None:
    assert patched(before, diff) == after


def test_lines_to_go_past_say_which_of_equal_places_is_meant() -> None:
    text = "class A:\n  def f():\n    x\nclass B:\n  def f():\n    x\n  def g():\n    x\n"
    nested = "@@ class B:\n@@   def f():\n-    x\n+    y\n"
    assert patched(text, nested).splitlines() == [
        "class A:", "  def f():", "    x", "class B:", "  def f():", "    y", "  def g():", "    x",
    ]  # fmt: skip
    assert patched(text, "@@ def g():\n-    x\n+    z\n") == text[: -len("    x\n")] + "    z\n"


def test_the_line_to_go_past_may_be_the_hunk_s_first_line_too() -> None:
    text = "def f():\n    x\ndef g():\n    x\n"
    diff = "@@ def g():\n def g():\n-    x\n+    y\n"
    assert patched(text, diff) == "def f():\n    x\ndef g():\n    y\n"


def test_two_hunks_may_go_past_the_same_line() -> None:
    text = "def f():\n    a\n    b\n    c\n"
    diff = "@@ def f():\n-    a\n+    A\n@@ def f():\n-    c\n+    C\n"
    assert patched(text, diff) == "def f():\n    A\n    b\n    C\n"


@pytest.mark.parametrize(
    ("before", "diff", "after"),
    [
        ("a  \nb\n", "@@\n a\n-b\n+B\n", "a  \nB\n"),
        ("\tif x:\n\t\ty\n", "@@\n if x:\n-  y\n+\t\tz\n", "\tif x:\n\t\tz\n"),
        (
            "say \u201chi\u201d \u2014 now\nb\n",
            '@@\n say "hi" - now\n-b\n+B\n',
            "say \u201chi\u201d \u2014 now\nB\n",
        ),
    ],
)
def test_context_that_differs_in_blanks_or_typography_still_matches_and_stays(
    before: str, diff: str, after: str
) -> None:
    assert patched(before, diff) == after


def test_an_exact_place_wins_over_an_earlier_one_that_is_only_like_it() -> None:
    assert patched("  a\na\n", "@@\n-a\n+b\n") == "  a\nb\n"


@pytest.mark.parametrize(
    ("diff", "says"),
    [
        ("@@\n-q\n+Q\n", "hunk 1 of 1 does not apply to the file: the line 'q' is not in the file"),
        ("@@\n b\n-q\n", "at line 3 the file has 'c' where it has 'q'"),
        ("@@\n c\n-q\n", "at line 4 the file ends where it has 'q'"),
        ("@@\n-c\n+C\n@@\n-a\n+A\n", "hunk 2 of 2 .* its lines stand at line 1, before"),
        ("@@ nowhere\n-a\n", "no line of it is 'nowhere'"),
        ("@@\n a\n", "hunk 1 of the diff adds nothing"),
        ("@@ a\n", "hunk 1 of the diff adds nothing"),
        ("@@\n-a\n+A\nb\n", "line 4 of the diff begins with none of"),
    ],
)
def test_what_does_not_apply_is_told_by_hunk_or_line(diff: str, says: str) -> None:
    with pytest.raises(ToolError, match=says):
        patched("a\nb\nc\n", diff)


PATCH = """*** Begin Patch
*** Add File: new dir/a.py
+x

+*** End Patch
*** Update File: b.py
*** Move to: c.py
@@ def f():
-  a
+  b

*** Delete File: d.py
*** End Patch"""


@pytest.mark.parametrize(
    "wrap",
    [
        "{}",
        "\n{}\n\n",
        "```\n{}\n```",
        "```diff\n{}\n```",
        "<<'EOF'\n{}\nEOF",
        "apply_patch <<EOF\n{}\nEOF",
    ],
)
def test_a_patch_is_read_with_what_models_put_around_it(wrap: str) -> None:
    create, update, delete = parse_patch(wrap.format(PATCH))
    assert create == Change("create", "new dir/a.py", text="x\n\n*** End Patch\n")
    assert (update.kind, update.path, update.move_to) == ("update", "b.py", "c.py")
    assert update.hunks[0].anchors == ("def f():",)
    assert delete == Change("delete", "d.py")
    assert parse_patch(PATCH.replace("\n", "\r\n")) == [create, update, delete]


@pytest.mark.parametrize(
    ("patch", "says"),
    [
        ("", "not ''|not nothing"),
        ("--- a\n+++ b\n", "begins with the line '\\*\\*\\* Begin Patch', not '--- a'"),
        ("*** Begin Patch\n*** Delete File: a", "was it cut off"),
        ("*** Begin Patch\n*** End Patch", "changes no file"),
        ("*** Begin Patch\nhello\n*** End Patch", "not 'hello'"),
        ("*** Begin Patch\n*** Update File: a\n*** End Patch", "'a' has no hunk"),
        ("*** Begin Patch\n*** Delete File: a\n-x\n*** End Patch", "no further lines"),
        ("*** Begin Patch\n*** Add File:  \n+x\n*** End Patch", "names no file"),
    ],
)
def test_what_is_no_patch_is_told(patch: str, says: str) -> None:
    with pytest.raises(ToolError, match=says):
        parse_patch(patch)
