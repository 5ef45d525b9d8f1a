"""The seam between what the store says and the database that hears it.

Statements are written once, in the SQL both databases share, with `?` for a value and `{rows}` for
a table of rows given in Python (its columns are called column1, column2, …). Each database has one
`Session`, which knows how to spell these two.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

Rows = Sequence[tuple[Any, ...]]


class Session(Protocol):
    """One connection, for one thread at a time."""

    def query(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Return what `sql` selects."""
        ...

    def change(self, sql: str, values: Sequence[Any]) -> int:
        """Execute `sql` and return how many rows it changed."""
        ...

    def query_rows(self, sql: str, columns: Sequence[str], rows: Rows) -> list[tuple[Any, ...]]:
        """Return what `sql`, which names `{rows}` once, selects; perhaps twice for the same row.

        Args:
            columns: What the columns of `rows` are called in the schema: their types follow.
        """
        ...

    def change_rows(self, sql: str, columns: Sequence[str], rows: Rows) -> int:
        """Execute `sql`, which names `{rows}` once, and return about how many rows it changed.

        It may be executed in parts, and twice for the same row. An insertion that leaves out what
        exists counts exactly what it inserted.
        """
        ...

    def lock(self, names: Sequence[str]) -> None:
        """Keep out other writers that lock one of `names`, until the transaction ends."""
        ...
