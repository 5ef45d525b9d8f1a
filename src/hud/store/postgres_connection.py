"""Statements as PostgreSQL hears them: a table of rows is one array per column.

Arrays in the binary format cost about 3 µs of client CPU per row of nine values; a parameter for
each value costs ten times that.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Generator, Iterable, Sequence
from operator import itemgetter
from typing import Any

import psycopg
from psycopg.pq import TransactionStatus

from hud._core import json
from hud.store.changes import ANYTHING, Change
from hud.store.session import Rows

CHANNEL = "hud_changes"
_ROWS_AT_ONCE = 5_000
_NAMED_AT_MOST = 500
_NAMED_AT_ONCE = 50
# Not text; everything else is.
_TYPES = {
    **dict.fromkeys(("group_size", "member", "attempt", "seq"), "int4"),
    **dict.fromkeys(("has_blobs",), "int2"),
    **dict.fromkeys(("created_at", "heard_at", "started_at", "ended_at", "at"), "int8"),
    **dict.fromkeys(("prompt_tokens", "completion_tokens", "cached_tokens"), "int8"),
    **dict.fromkeys(("llm_calls", "turns", "unpriced_turns", "size_bytes"), "int8"),
    **dict.fromkeys(("reward", "cost_usd", "known_cost_usd", "worked_s"), "float8"),
}
_KEY_COLUMNS = 2
_IN_ORDER = itemgetter(0, 1, 2)


class PostgresConnection:
    """A `Connection` to a PostgreSQL server.

    Args:
        token: Whose announcements these are: who announced something need not hear it.
    """

    def __init__(self, raw: psycopg.Connection[tuple[Any, ...]], token: str) -> None:
        self.raw = raw
        self._token = token

    def query(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        return self.raw.execute(_spelled(sql), values).fetchall()

    def change(self, sql: str, values: Sequence[Any]) -> int:
        return self.raw.execute(_spelled(sql), values).rowcount

    def query_rows(self, sql: str, columns: Sequence[str], rows: Rows) -> list[tuple[Any, ...]]:
        statement = _with_rows(sql, tuple(columns))
        found: list[tuple[Any, ...]] = []
        for start in range(0, len(rows), _ROWS_AT_ONCE):
            arrays = _arrays(columns, rows[start : start + _ROWS_AT_ONCE])
            found += self.raw.execute(statement, arrays).fetchall()
        return found

    def change_rows(self, sql: str, columns: Sequence[str], rows: Rows) -> int:
        statement = _with_rows(sql, tuple(columns))
        if len(columns) > _KEY_COLUMNS:
            # Two servers that lock the same rows in the same order do not lock each other out.
            rows = sorted(rows, key=_IN_ORDER)
        changed = 0
        for start in range(0, len(rows), _ROWS_AT_ONCE):
            arrays = _arrays(columns, rows[start : start + _ROWS_AT_ONCE])
            changed += self.raw.execute(statement, arrays).rowcount
        return changed

    def lock(self, names: Sequence[str]) -> None:
        for name in names:
            self.query("SELECT pg_advisory_xact_lock(hashtextextended(?, 0))", (name,))

    def begin(self) -> None:
        self.raw.execute(b"BEGIN")

    def commit(self) -> None:
        self.raw.execute(b"COMMIT")

    def rollback(self) -> None:
        if self.raw.info.transaction_status in (
            TransactionStatus.INTRANS,
            TransactionStatus.INERROR,
        ):
            with contextlib.suppress(psycopg.Error):  # what went wrong before is what matters
                self.raw.execute(b"ROLLBACK")

    @contextlib.contextmanager
    def savepoint(self) -> Generator[None]:
        self.raw.execute(b"SAVEPOINT one")
        try:
            yield
        except BaseException:
            self.raw.execute(b"ROLLBACK TO one")
            raise
        self.raw.execute(b"RELEASE one")

    def announce(self, changes: Sequence[Change]) -> None:
        if len(changes) > _NAMED_AT_MOST:
            changes = list(dict.fromkeys(Change(change.team) for change in changes))
        for start in range(0, len(changes), _NAMED_AT_ONCE):
            said = spelled_changes(self._token, changes[start : start + _NAMED_AT_ONCE])
            self.query("SELECT pg_notify(?, ?)", (CHANNEL, said))

    def changed_elsewhere(self) -> bool:
        return False

    def close(self) -> None:
        self.raw.close()


def spelled_changes(token: str, changes: Iterable[Change]) -> str:
    """Return `changes` as they are announced."""
    named = [[change.team, change.job_id, change.run_id] for change in changes]
    return json.encode([token, named]).decode()


def read_changes(text: str) -> tuple[str, list[Change]]:
    """Return who announced `text`, and what; that anything changed where it makes no sense."""
    try:
        token, named = json.decode(text)
        return str(token), [Change(*one) for one in named]
    except (ValueError, TypeError):
        return "", [ANYTHING]


@functools.lru_cache(maxsize=256)
def _spelled(sql: str) -> bytes:
    return sql.replace("?", "%s").encode()


@functools.lru_cache(maxsize=64)
def _with_rows(sql: str, columns: tuple[str, ...]) -> bytes:
    arrays = ", ".join(f"%b::{_TYPES.get(name, 'text')}[]" for name in columns)
    names = ", ".join(f"column{at}" for at in range(1, len(columns) + 1))
    return sql.replace("{rows}", f"SELECT * FROM unnest({arrays}) AS u ({names})").encode()


def _arrays(columns: Sequence[str], rows: Rows) -> list[list[Any]]:
    """Return one list per column, each of one type throughout."""
    return [
        _of_one_type(list(values), _CONVERSIONS.get(_TYPES.get(name, "text"), int))
        for name, values in zip(columns, zip(*rows, strict=True), strict=True)
    ]


def _of_one_type(values: list[Any], kind: Callable[[Any], Any]) -> list[Any]:
    if set(map(type, values)) <= {kind, type(None)}:
        return values
    return [None if value is None else kind(value) for value in values]


_CONVERSIONS: dict[str, type[str] | type[float]] = {"text": str, "float8": float}
