"""JSON in and out of bytes, fast, for every place that crosses a process or a disk.

Knows how to write the plain-data types users hand us (pydantic models, numpy scalars, paths);
it does not validate: typed decoding belongs to whoever owns the type.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePath
from typing import Any, TypeVar, cast

import msgspec

T = TypeVar("T")


def plain(value: Any) -> Any:
    """Turn one foreign object into something JSON can hold.

    Raises:
        TypeError: for a type with no plain form.
    """
    dump = getattr(value, "model_dump", None)
    if dump is not None:
        return dump(mode="json", exclude_none=True)
    if isinstance(value, Mapping):
        return dict(cast("Mapping[Any, Any]", value))
    if isinstance(value, PurePath):
        return str(value)
    for name in ("tolist", "item"):
        method = getattr(value, name, None)
        if method is not None:
            return method()
    raise TypeError(f"{type(value).__qualname__} has no JSON form")


_encoder = msgspec.json.Encoder(enc_hook=plain)
_decoder = msgspec.json.Decoder()


def encode(value: Any) -> bytes:
    """Return `value` as compact UTF-8 JSON; lone surrogates become U+FFFD.

    Raises:
        TypeError: when something in `value` has no JSON form.
        ValueError: when `value` contains itself.
    """
    try:
        return _encoder.encode(value)
    except UnicodeEncodeError:
        return _encoder.encode(_without_surrogates(value))
    except RecursionError as error:
        raise ValueError("value is nested too deeply for JSON") from error


def decode(data: bytes | str) -> Any:
    """Return the value that `data` spells.

    Raises:
        ValueError: when `data` is not one JSON document.
    """
    try:
        return _decoder.decode(data)
    except (msgspec.DecodeError, RecursionError) as error:
        raise ValueError(str(error) or "nested too deeply") from error


def to_plain(value: Any) -> Any:
    """Return `value` as fresh dicts, lists and scalars, exactly as a JSON round trip gives."""
    return _decoder.decode(encode(value))


def _without_surrogates(value: Any) -> Any:
    if isinstance(value, str):
        return value if _is_utf8(value) else _repaired(value)
    if isinstance(value, Mapping):
        items = cast("Mapping[Any, Any]", value).items()
        return {_without_surrogates(key): _without_surrogates(item) for key, item in items}
    if isinstance(value, list | tuple):
        return [_without_surrogates(item) for item in cast("list[Any]", value)]
    if value is None or isinstance(value, bool | int | float):
        return value
    return _without_surrogates(msgspec.to_builtins(value, enc_hook=plain))


def _repaired(text: str) -> str:
    """Join surrogate pairs that were held as two characters; lone ones become U+FFFD."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _is_utf8(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
