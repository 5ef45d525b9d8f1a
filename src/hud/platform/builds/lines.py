"""A build's log: numbered lines in the database, so that any server can tell it again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, func, insert, select

from hud.platform.registry import tables

LINE_AT_MOST = 8 * 1024
LINES_AT_MOST = 20_000
"""Beyond these a build goes on, and its log says how much is missing."""

_table = tables.build_lines


@dataclass(frozen=True, slots=True)
class Line:
    """One line; `at` is microseconds."""

    seq: int
    at: int
    text: str


def read_lines(
    connection: Connection, team: str, build_id: str, *, after: int = -1, limit: int = 1000
) -> list[Line]:
    """Return the lines that come after the one numbered `after`."""
    rows = connection.execute(
        select(_table.c.seq, _table.c.at, _table.c.text)
        .where(_table.c.team == team, _table.c.build_id == build_id, _table.c.seq > after)
        .order_by(_table.c.seq)
        .limit(limit)
    )
    return [Line(*row) for row in rows]


def append_lines(
    connection: Connection, team: str, build_id: str, lines: Sequence[tuple[int, str]]
) -> int:
    """Add lines, each with its time, and return how many there are then."""
    last = connection.execute(
        select(func.max(_table.c.seq)).where(_table.c.team == team, _table.c.build_id == build_id)
    ).scalar()
    seq = -1 if last is None else int(last)
    rows = [
        {"team": team, "build_id": build_id, "seq": seq + number, "at": at, "text": text}
        for number, (at, text) in enumerate(lines, 1)
    ]
    if rows:
        connection.execute(insert(_table), rows)
    return seq + 1 + len(rows)
