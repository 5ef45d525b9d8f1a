"""Edits of text in memory."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hud.agents.tools.base import ToolError
from hud.agents.tools.text_edits import around, best_match, inserted, lines_of, replaced, shown

_texts = st.lists(st.sampled_from(["a", "b", " ", "\n", "\r\n", "x\ry", "\u2028", "é"])).map(
    "".join
)


@given(_texts, _texts, _texts)
def test_what_is_not_replaced_stays(before: str, new: str, after: str) -> None:
    edited = replaced(f"{before}<old>{after}", "<old>", new)
    assert edited.text.startswith(before)
    assert edited.text.endswith(after)
    between = edited.text[len(before) : len(edited.text) - len(after)]
    assert between.replace("\r\n", "\n") == new.replace("\r\n", "\n")
    assert len(lines_of(around(edited))) <= len(lines_of(edited.text))


@given(_texts, st.integers(-1, 8), _texts)
def test_insertion_adds_whole_lines_and_keeps_the_others(text: str, line: int, new: str) -> None:
    try:
        edited = inserted(text, line, new)
    except ToolError:
        assert not 0 <= line <= len(lines_of(text))
        return
    added = lines_of(new) or [""]
    lines = lines_of(text)
    assert lines_of(edited.text) == [*lines[:line], *added, *lines[line:]]
    assert (edited.first, edited.last) == (line + 1, line + len(added))


@pytest.mark.parametrize(
    ("text", "old", "new", "after"),
    [
        ("a\r\nb\r\nc", "a\nb", "A\nB", "A\r\nB\r\nc"),
        ("a\nb\n", "a\r\nb", "A", "A\n"),
        ("a\r\nb\n", "b", "c\nd", "a\r\nc\nd\n"),
        ("one\n", "one\n", "", ""),
        ("x", "x", "x\n", "x\n"),
    ],
)
def test_line_ends_are_taken_for_equal(text: str, old: str, new: str, after: str) -> None:
    assert replaced(text, old, new).text == after


@pytest.mark.parametrize(
    ("text", "old", "new", "says"),
    [
        ("aXa\na\n", "a", "b", r"3 times \(lines 1, 1, 2\)"),
        ("aaa", "aa", "b", "2 times"),
        ("a" * 5000, "a", "b", "1000 or more times"),
        ("a\n" * 12, "a", "b", r"12 times \(lines 1, .*10, …\)"),
        ("  if x:\n    y\n", "if x:\n  y", "z", "line 1 and after differ from it in blanks only"),
        ("a", "", "b", "is empty"),
        ("a", "a", "a", "the same"),
        ("a", "b", "c", "nowhere in the file"),
    ],
)
def test_a_place_that_is_not_the_only_one_is_told(text: str, old: str, new: str, says: str) -> None:
    with pytest.raises(ToolError, match=says):
        replaced(text, old, new)


@given(_texts, st.integers(10, 200))
def test_what_is_shown_fits(text: str, chars: int) -> None:
    assert len(shown(text, None, chars)) <= chars + 70


def test_a_line_too_long_to_be_shown_is_cut() -> None:
    said = shown("x" * 500 + "\ny\n", None, 100)
    assert said.startswith("     1\txxx")
    assert said.endswith("[line 1 of 2, its beginning: it has 500 characters]")


@pytest.mark.parametrize("span", [[0, 1], [3, 4], [2, 1], [1], [1, 2, 3], [1, 0], [-1, -1]])
def test_lines_that_are_not_there_are_told(span: list[int]) -> None:
    with pytest.raises(ToolError):
        shown("a\nb\n", span, 100)


def test_a_last_line_beyond_the_end_is_the_end() -> None:
    assert shown("a\nb\n", [2, 99], 100) == "     2\tb"


def test_the_place_of_an_edit_is_shown_with_some_lines_about_it() -> None:
    text = "".join(f"line {n}\n" for n in range(1, 30))
    said = around(replaced(text, "line 15\n", "new\nnewer\n")).splitlines()
    assert said[0] == "    11\tline 11"
    assert said[4:6] == ["    15\tnew", "    16\tnewer"]
    assert said[-1] == "    20\tline 19"


@given(st.lists(st.sampled_from("ab"), max_size=12), st.lists(st.sampled_from("ab"), min_size=1))
def test_the_best_match_is_the_first_place_with_the_most_lines(
    lines: list[str], wanted: list[str]
) -> None:
    def matched(place: int) -> int:
        there = lines[place:]
        pairs = zip(there, wanted, strict=False)
        return next((n for n, (one, other) in enumerate(pairs) if one != other), None) or (
            min(len(there), len(wanted)) if there[:1] == wanted[:1] else 0
        )

    counts = [matched(place) for place in range(len(lines))]
    best = max(counts, default=0)
    assert best_match(lines, wanted) == (counts.index(best) if best else 0, best)
