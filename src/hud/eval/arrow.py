"""Columns as Arrow tables, the common ground of data frames and Parquet files.

Needs the extra `data`, which is imported only when it is used.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

from hud._core.errors import InputError
from hud.eval.columns import Batch, Column, Kind

_PACKAGES = ("pandas", "pyarrow")


def needed(who: str, packages: Sequence[str] = _PACKAGES) -> None:
    """Make sure that the libraries are there.

    Raises:
        InputError: when one is not installed.
    """
    for name in packages:
        try:
            importlib.import_module(name)
        except ModuleNotFoundError as error:
            raise InputError(
                f"{who} needs the Python package {error.name}",
                hint="pip install 'hud-python[data]'",
            ) from error


def pyarrow() -> Any:
    """Return the library, which says nothing of its types."""
    return importlib.import_module("pyarrow")


def arrow_schema(columns: Sequence[Column]) -> Any:
    """Return the Arrow types of columns; all may be null."""
    pa = pyarrow()
    types: dict[Kind, Any] = {
        "text": pa.string(),
        "category": pa.dictionary(pa.int32(), pa.string()),
        "int": pa.int64(),
        "float": pa.float64(),
        "bool": pa.bool_(),
        "time": pa.timestamp("us", tz="UTC"),
    }
    return pa.schema([(column.name, types[column.kind]) for column in columns])


def arrow_table(columns: Sequence[Column], batch: Batch) -> Any:
    """Return a batch as an Arrow table; lone surrogates in a text become U+FFFD."""
    pa = pyarrow()
    schema: Any = arrow_schema(columns)
    arrays: list[Any] = []
    for column, field in zip(columns, schema, strict=True):
        values = batch[column.name]
        try:
            arrays.append(_array(values, field.type))
        except UnicodeEncodeError:
            arrays.append(_array([_valid(value) for value in values], field.type))
    return pa.Table.from_arrays(arrays, schema=schema)


def _array(values: Sequence[Any], kind: Any) -> Any:
    pa = pyarrow()
    if pa.types.is_dictionary(kind):
        return pa.array(values, pa.string()).dictionary_encode().cast(kind)
    return pa.array(values, kind)


def _valid(value: Any) -> Any:
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value
