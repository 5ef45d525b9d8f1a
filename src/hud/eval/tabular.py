"""Writes batches of columns to a file: Parquet, JSON lines or CSV.

A file appears whole or not at all. What each format cannot hold is decided here: Parquet and JSON
lines keep every value as it is; a CSV cell has no null, so what is not known is empty there, and a
text that a spreadsheet would run as a formula gets an apostrophe before it.
"""

from __future__ import annotations

import contextlib
import csv
import os
import tempfile
from collections.abc import Callable, Generator, Iterable, Sequence
from pathlib import Path
from typing import IO, Any, Literal

from hud._core import json
from hud._core.errors import InputError, StoreError, bounded
from hud.eval.arrow import arrow_schema, arrow_table, needed, pyarrow
from hud.eval.columns import Batch, Column
from hud.trace.clock import iso

Format = Literal["parquet", "jsonl", "csv"]
FORMATS: tuple[Format, ...] = ("parquet", "jsonl", "csv")

_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def format_of(path: Path) -> Format:
    """Return the format that a file's name asks for.

    Raises:
        InputError: when it asks for none that is known.
    """
    for name in FORMATS:
        if path.suffix.lower() == f".{name}":
            return name
    raise InputError(
        f"{bounded(str(path), 200)} names no format to write",
        hint="end it in .parquet, .jsonl or .csv, or name the format",
    )


def write_table(
    path: Path, form: Format, columns: Sequence[Column], batches: Iterable[Batch]
) -> int:
    """Write batches to `path`, replacing what was there, and return how many rows that were.

    Raises:
        InputError: when the libraries that write Parquet are not installed.
        StoreError: when the file cannot be written.
    """
    if form == "parquet":
        needed("a Parquet file", ("pyarrow",))
    try:
        with whole_file(path) as file:
            return _WRITERS[form](file, columns, batches)
    except OSError as error:
        raise StoreError(
            f"{bounded(str(path), 300)} cannot be written: {error.strerror or error}"
        ) from error


def write_lines(
    file: IO[bytes], form: Format, columns: Sequence[Column], batches: Iterable[Batch]
) -> int:
    """Write batches as text to a stream, such as stdout.

    Raises:
        InputError: when the format is no text.
    """
    if form == "parquet":
        raise InputError("Parquet cannot be written to stdout", hint="name a file")
    return _WRITERS[form](file, columns, batches)


@contextlib.contextmanager
def whole_file(path: Path) -> Generator[IO[bytes]]:
    """Yield a file that takes the place of `path` when the block ends well, and else is gone."""
    path = Path(os.path.realpath(path))  # a link stays one
    if path.exists() and not path.is_file():
        with path.open("wb") as device:
            yield device
        return
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:50]}-")
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _write_parquet(file: IO[bytes], columns: Sequence[Column], batches: Iterable[Batch]) -> int:
    import pyarrow.parquet as parquet  # pyright: ignore[reportMissingTypeStubs]

    library: Any = parquet
    pyarrow()
    rows = 0
    schema = arrow_schema(columns)
    with library.ParquetWriter(file, schema, compression="zstd") as writer:
        for batch in batches:
            table = arrow_table(columns, batch)
            writer.write_table(table)
            rows += table.num_rows
    return rows


def _write_jsonl(file: IO[bytes], columns: Sequence[Column], batches: Iterable[Batch]) -> int:
    rows = 0
    names = [column.name for column in columns]
    for batch in batches:
        spelled = [_spelled_times(column, batch[column.name]) for column in columns]
        lines = [
            json.encode(dict(zip(names, row, strict=True))) for row in zip(*spelled, strict=True)
        ]
        file.write(b"\n".join(lines) + b"\n")
        rows += len(lines)
    return rows


def _write_csv(file: IO[bytes], columns: Sequence[Column], batches: Iterable[Batch]) -> int:
    rows = 0
    stream = _Utf8(file)
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow([column.name for column in columns])
    for batch in batches:
        spelled = [_cells(column, batch[column.name]) for column in columns]
        count = len(spelled[0])
        writer.writerows(zip(*spelled, strict=True))
        rows += count
    return rows


class _Utf8:
    """Text to a stream of bytes, whatever it holds."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def write(self, text: str) -> int:
        return self._file.write(text.encode("utf-8", "replace"))


def _spelled_times(column: Column, values: list[Any]) -> list[Any]:
    if column.kind != "time":
        return values
    return [None if value is None else iso(value) for value in values]


def _cells(column: Column, values: list[Any]) -> list[Any]:
    match column.kind:
        case "time":
            return _spelled_times(column, values)
        case "text" | "category":
            return [_no_formula(value) for value in values]
        case _:
            return values


def _no_formula(value: str | None) -> str | None:
    return f"'{value}" if value and value.startswith(_FORMULA) else value


_WRITERS: dict[Format, Callable[[IO[bytes], Sequence[Column], Iterable[Batch]], int]] = {
    "parquet": _write_parquet,
    "jsonl": _write_jsonl,
    "csv": _write_csv,
}
