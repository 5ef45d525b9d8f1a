"""Statements as SQLite hears them, as few as possible.

Every statement takes as many rows as SQLite has variables for: Python's sqlite3 gives up the
interpreter lock on every step of a statement, and getting it back beside a busy main thread costs
up to 5 ms each time, so a statement per row would write a few hundred rows a second.
"""

from __future__ import annotations

import contextlib
import functools
import sqlite3
from collections.abc import Generator, Sequence
from typing import Any

from hud.store.changes import Change
from hud.store.session import Rows

_MAX_VARIABLES = 32_000


class SqliteConnection:
    """A `Connection` to a SQLite file."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.raw = connection
        self._version: int | None = None

    def query(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        return self.raw.execute(sql, values).fetchall()

    def change(self, sql: str, values: Sequence[Any]) -> int:
        return self.raw.execute(sql, values).rowcount

    def query_rows(self, sql: str, columns: Sequence[str], rows: Rows) -> list[tuple[Any, ...]]:
        found: list[tuple[Any, ...]] = []
        for statement, flat in _in_chunks(sql, len(columns), rows):
            found += self.raw.execute(statement, flat).fetchall()
        return found

    def change_rows(self, sql: str, columns: Sequence[str], rows: Rows) -> int:
        changed = 0
        if not rows:
            return changed
        for statement, flat in _in_chunks(sql, len(columns), rows):
            changed += self.raw.execute(statement, flat).rowcount
        return changed

    def lock(self, names: Sequence[str]) -> None:
        pass  # there is one writer at a time

    def begin(self) -> None:
        self.raw.execute("BEGIN IMMEDIATE")

    def commit(self) -> None:
        self.raw.execute("COMMIT")

    def rollback(self) -> None:
        if self.raw.in_transaction:
            self.raw.execute("ROLLBACK")

    @contextlib.contextmanager
    def savepoint(self) -> Generator[None]:
        self.raw.execute("SAVEPOINT one")
        try:
            yield
        except BaseException:
            self.raw.execute("ROLLBACK TO one")
            raise
        finally:
            self.raw.execute("RELEASE one")

    def announce(self, changes: Sequence[Change]) -> None:
        pass  # the file says it to whoever asks

    def changed_elsewhere(self) -> bool:
        before = self._version
        [(self._version,)] = self.query("PRAGMA data_version")
        return self._version != before

    def close(self) -> None:
        self.raw.close()


def _in_chunks(sql: str, width: int, rows: Rows) -> Generator[tuple[str, list[Any]]]:
    """Yield statements for up to so many `rows` each, with their values one after the other."""
    at_once = _MAX_VARIABLES // width
    for start in range(0, len(rows), at_once):
        chunk = rows[start : start + at_once]
        flat: list[Any] = []
        for row in chunk:
            flat.extend(row)
        # A few sizes only, so that the statements stay prepared (preparing gives up the
        # interpreter lock too). Repeating the last row changes nothing: every statement may be
        # executed twice.
        size = min(1 << (len(chunk) - 1).bit_length(), at_once)
        flat.extend(chunk[-1] * (size - len(chunk)))
        yield _statement(sql, width, size), flat


@functools.lru_cache(maxsize=256)
def _statement(sql: str, width: int, count: int) -> str:
    one = f"({', '.join('?' * width)})"
    return sql.replace("{rows}", f"VALUES {', '.join([one] * count)}")
