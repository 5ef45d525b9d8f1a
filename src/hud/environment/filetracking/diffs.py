"""Unified diffs of two texts, in bounded time and size.

Looking for the shortest diff is quadratic, so it is done between the lines where the texts begin
and end to differ, and only while these are few; beyond that everything between is replaced.
"""

from __future__ import annotations

import difflib
import time
from collections.abc import Iterator

_MATCHED_LINES = 800
_CONTEXT = 3

Opcode = tuple[int, int, int, int]


def unified_diff(
    path: str,
    before: str | None,
    after: str | None,
    *,
    max_chars: int,
    deadline: float | None = None,
) -> str | None:
    """Return the diff from `before` to `after`; None when it is longer than `max_chars`.

    Args:
        before: The former text, None when there was no file.
        after: The text now, None when there is no file.
        deadline: Value of `time.perf_counter()` from which on no short diff is looked for.
    """
    old, new = _lines(before or ""), _lines(after or "")
    left = "/dev/null" if before is None else f"a/{path}"
    right = "/dev/null" if after is None else f"b/{path}"
    pieces = [f"--- {left}\n+++ {right}\n"]
    left_chars = max_chars - len(pieces[0])
    for hunk in _hunks(old, new, _changes(old, new, deadline)):
        for piece in hunk:
            left_chars -= len(piece)
            if left_chars < 0:
                return None
            pieces.append(piece)
    return "".join(pieces)


def _lines(text: str) -> list[str]:
    """Split at line feeds alone; the last line has none where the text does not end in one."""
    lines = [f"{line}\n" for line in text.split("\n")]
    last = lines.pop()[:-1]
    return [*lines, last] if last else lines


def _changes(old: list[str], new: list[str], deadline: float | None) -> list[Opcode]:
    """Return (old start, old end, new start, new end) of everything that differs, in order."""
    shorter = min(len(old), len(new))
    first = 0
    while first < shorter and old[first] == new[first]:
        first += 1
    last = 0
    while last < shorter - first and old[-1 - last] == new[-1 - last]:
        last += 1
    end, new_end = len(old) - last, len(new) - last
    if first == end and first == new_end:
        return []
    few = (end - first) + (new_end - first) <= _MATCHED_LINES
    in_time = deadline is None or time.perf_counter() < deadline
    if first in (end, new_end) or not few or not in_time:
        return [(first, end, first, new_end)]
    matcher = difflib.SequenceMatcher(None, old[first:end], new[first:new_end])
    return [
        (first + i1, first + i2, first + j1, first + j2)
        for tag, i1, i2, j1, j2 in matcher.get_opcodes()
        if tag != "equal"
    ]


def _hunks(old: list[str], new: list[str], changes: list[Opcode]) -> Iterator[Iterator[str]]:
    """Yield each hunk: changes that share their lines of context."""
    group: list[Opcode] = []
    for change in changes:
        if group and change[0] - group[-1][1] > 2 * _CONTEXT:
            yield _hunk(old, new, group)
            group = []
        group.append(change)
    if group:
        yield _hunk(old, new, group)


def _hunk(old: list[str], new: list[str], group: list[Opcode]) -> Iterator[str]:
    begin = max(group[0][0] - _CONTEXT, 0)
    end = min(group[-1][1] + _CONTEXT, len(old))
    new_begin = group[0][2] - (group[0][0] - begin)
    new_end = group[-1][3] + (end - group[-1][1])
    yield f"@@ -{_range(begin, end)} +{_range(new_begin, new_end)} @@\n"
    at = begin
    for i1, i2, j1, j2 in group:
        yield from _marked(" ", old, at, i1)
        yield from _marked("-", old, i1, i2)
        yield from _marked("+", new, j1, j2)
        at = i2
    yield from _marked(" ", old, at, end)


def _marked(mark: str, lines: list[str], begin: int, end: int) -> Iterator[str]:
    for index in range(begin, end):
        line = lines[index]
        yield f"{mark}{line}"
        if not line.endswith("\n"):
            yield "\n\\ No newline at end of file\n"


def _range(begin: int, end: int) -> str:
    count = end - begin
    return f"{begin if count == 0 else begin + 1},{count}"
