"""Unified diffs in bounded time: what they say, applied to the old text, gives the new one."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hud.environment.filetracking.diffs import unified_diff

MAX = 1 << 20
_HUNK = re.compile(r"@@ -(\d+),(\d+) \+(\d+),(\d+) @@\n")
_line = st.sampled_from(["a", "b", "c", "", "x\r", "@@ -1,1 +1,1 @@", "\\ No newline", "ü"])
_texts = st.lists(_line, max_size=30).map("\n".join)


def applied(patch: str, before: str) -> str:
    """Apply a patch strictly: every line of context and every removed line must be there."""
    lines = patch.split("\n")
    assert lines.pop() == ""
    body = [f"{line}\n" for line in lines][2:]
    old = [f"{line}\n" for line in before.split("\n")]
    last = old.pop()[:-1]
    if last:
        old.append(last)
    new: list[str] = []
    at = index = 0
    while index < len(body):
        header = _HUNK.fullmatch(body[index])
        assert header is not None, body[index]
        start, count, new_start, new_count = (int(number) for number in header.groups())
        index += 1
        begin = start if count == 0 else start - 1
        new += old[at:begin]
        assert len(new) == (new_start if new_count == 0 else new_start - 1)
        at = begin
        taken = made = 0
        while taken < count or made < new_count:
            mark, text = body[index][0], body[index][1:]
            index += 1
            if index < len(body) and body[index].startswith("\\ No newline"):
                text = text[:-1]
                index += 1
            if mark in " -":
                assert old[at] == text
                at += 1
                taken += 1
            if mark in " +":
                new.append(text)
                made += 1
    return "".join(new + old[at:])


@given(before=_texts, after=_texts)
@settings(max_examples=500, deadline=None)
def test_a_diff_applied_to_the_old_text_gives_the_new_one(before: str, after: str) -> None:
    patch = unified_diff("p", before, after, max_chars=MAX)
    assert patch is not None
    assert applied(patch, before) == after


@given(before=_texts, after=_texts)
@settings(max_examples=200, deadline=None)
def test_a_diff_without_time_is_right_too(before: str, after: str) -> None:
    patch = unified_diff("p", before, after, max_chars=MAX, deadline=0.0)
    assert patch is not None
    assert applied(patch, before) == after


def test_it_is_what_diff_prints() -> None:
    before = "".join(f"line {number}\n" for number in range(20))
    after = before.replace("line 3\n", "line three\n").replace("line 17\n", "")
    assert unified_diff("f", before, after, max_chars=MAX) == (
        "--- a/f\n+++ b/f\n"
        "@@ -1,7 +1,7 @@\n line 0\n line 1\n line 2\n-line 3\n+line three\n"
        " line 4\n line 5\n line 6\n"
        "@@ -15,6 +15,5 @@\n line 14\n line 15\n line 16\n-line 17\n line 18\n line 19\n"
    )
    assert unified_diff("f", None, "x", max_chars=MAX) == (
        "--- /dev/null\n+++ b/f\n@@ -0,0 +1,1 @@\n+x\n\\ No newline at end of file\n"
    )
    assert unified_diff("f", "x\n", None, max_chars=MAX) == (
        "--- a/f\n+++ /dev/null\n@@ -1,1 +0,0 @@\n-x\n"
    )


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed here")
def test_git_applies_it(tmp_path: Path) -> None:
    before = "".join(f"{number}\n" for number in range(300))
    after = "new\n" + before.replace("150\n", "a\nb\n").removesuffix("299\n") + "end"
    patch = unified_diff("f", before, after, max_chars=MAX)
    assert patch is not None
    (tmp_path / "f").write_text(before)
    subprocess.run(["git", "apply"], cwd=tmp_path, input=patch, text=True, check=True)
    assert (tmp_path / "f").read_text() == after


def test_a_small_change_of_a_long_text_is_a_small_diff() -> None:
    before = "same\n" * 100_000
    middle = len(before) // 2
    patch = unified_diff("f", before, before[:middle] + "x" + before[middle:], max_chars=500)
    assert patch is not None


def test_a_diff_longer_than_allowed_is_none() -> None:
    assert unified_diff("f", None, "x\n" * 1_000, max_chars=1_000) is None
    assert unified_diff("f", "x\n" * 1_000, None, max_chars=1_000) is None


@pytest.mark.parametrize("kind", ["same lines", "two lines", "rotated"])
def test_texts_made_to_be_slow_are_diffed_all_the_same(kind: str) -> None:
    if kind == "same lines":
        before, after = "a\n" * 5_000 + "b\n", "c\n" + "a\n" * 4_999
    elif kind == "two lines":
        before, after = "a\nb\n" * 200, "b\nb\na\n" * 130
    else:
        lines = [f"{number % 20}\n" for number in range(400)]
        before, after = "".join(lines), "".join(lines[7:] + lines[:7][::-1])
    patch = unified_diff("f", before, after, max_chars=MAX)
    assert patch is not None and applied(patch, before) == after
