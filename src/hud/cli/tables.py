"""Plain tables: columns that line up with or without a terminal, colour or wide characters."""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Sequence

from hud.cli.render import one_line

_GAP = "  "
_MIN_COLUMN = 8


def table(
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    right: Collection[int] = (),
    width: int | None = None,
    shrink: int = 0,
) -> str:
    """Return the rows under their header.

    Args:
        right: Columns aligned to the right.
        width: Columns of the terminal; the column `shrink` is cut so that lines fit, down to
            8 characters. None cuts nothing.
    """
    cells = [[one_line(cell) for cell in row] for row in (header, *rows)]
    widths = [max(columns_of(row[at]) for row in cells) for at in range(len(header))]
    if width is not None:
        over = sum(widths) + len(_GAP) * (len(widths) - 1) - width
        if over > 0:
            widths[shrink] = max(widths[shrink] - over, min(widths[shrink], _MIN_COLUMN))
            for row in cells:
                row[shrink] = cut(row[shrink], widths[shrink])
    lines: list[str] = []
    for row in cells:
        padded = (_pad(cell, widths[at], at in right) for at, cell in enumerate(row))
        lines.append(_GAP.join(padded).rstrip())
    return "\n".join(lines)


def pairs(rows: Sequence[tuple[str, str]]) -> str:
    """Return labels and values, the values lined up."""
    widest = max(columns_of(label) for label, _ in rows)
    return "\n".join(f"{_pad(label, widest, False)}{_GAP}{one_line(text)}" for label, text in rows)


def columns_of(text: str) -> int:
    """Return how many terminal columns `text` takes."""
    if text.isascii():
        return len(text)
    return sum(_columns(character) for character in text)


def cut(text: str, columns: int) -> str:
    """Return `text` in at most that many columns, an ellipsis where something is missing."""
    if columns_of(text) <= columns:
        return text
    kept: list[str] = []
    left = columns - 1
    for character in text:
        left -= _columns(character)
        if left < 0:
            break
        kept.append(character)
    return "".join(kept) + "…"


def _columns(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def _pad(text: str, width: int, to_right: bool) -> str:
    space = " " * max(0, width - columns_of(text))
    return space + text if to_right else text + space
