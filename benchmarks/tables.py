"""Results as tables: for a terminal, for Markdown, and as data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

Value = str | float | int | None
MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Column:
    """A title, and how to spell its numbers: a format specification."""

    title: str
    spec: str = ""

    def spell(self, value: Value) -> str:
        if value is None:
            return "–"
        return value if isinstance(value, str) else format(value, self.spec)


@dataclass(slots=True)
class Table:
    """One benchmark's results.

    Attributes:
        about: What was measured and how, for somebody who wants to judge the numbers.
    """

    name: str
    title: str
    about: str
    columns: Sequence[Column]
    rows: list[tuple[Value, ...]] = field(default_factory=list[tuple[Value, ...]])

    def add(self, *values: Value) -> None:
        """Add a row, one value per column."""
        if len(values) != len(self.columns):
            raise ValueError(f"{self.name}: {len(values)} values for {len(self.columns)} columns")
        self.rows.append(values)

    def as_text(self) -> str:
        """Return it with aligned columns."""
        cells = self._cells()
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        lines = [self._aligned(row, widths) for row in cells]
        rule = "  ".join("-" * width for width in widths)
        return "\n".join([self.title, "", lines[0], rule, *lines[1:]])

    def as_markdown(self) -> str:
        """Return a section with its heading and explanation."""
        head, *rows = self._cells()
        sides = ["---" if self._is_left(at) else "---:" for at in range(len(head))]
        lines = ["| " + " | ".join(row) + " |" for row in (head, sides, *rows)]
        return "\n".join([f"## {self.title}", "", self.about, "", *lines])

    def as_data(self) -> dict[str, Any]:
        """Return the unrounded values by column title."""
        titles = [column.title for column in self.columns]
        rows = [dict(zip(titles, row, strict=True)) for row in self.rows]
        return {"name": self.name, "title": self.title, "rows": rows}

    def _cells(self) -> list[list[str]]:
        columns = self.columns
        spelled = [
            [column.spell(value) for column, value in zip(columns, row, strict=True)]
            for row in self.rows
        ]
        return [[column.title for column in columns], *spelled]

    def _is_left(self, at: int) -> bool:
        return not self.columns[at].spec

    def _aligned(self, row: Sequence[str], widths: Sequence[int]) -> str:
        cells = (
            cell.ljust(width) if self._is_left(at) else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        return "  ".join(cells).rstrip()


def at_most(value: float, limit: float) -> str:
    """Say whether a figure keeps its upper limit."""
    return "ok" if value <= limit else "MISS"


def at_least(value: float, limit: float) -> str:
    """Say whether a figure keeps its lower limit."""
    return "ok" if value >= limit else "MISS"


def ratio(value: float | None, base: float | None) -> float | None:
    """Return value over base, None where either is missing."""
    return None if value is None or not base else value / base
