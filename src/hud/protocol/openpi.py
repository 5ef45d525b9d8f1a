"""What the robot wire (`openpi/0`) says in a frame: a msgpack map whose values may be arrays.

Array extension as PyPI `openpi-client` 0.1.2 writes it: a map with the binary keys
`__ndarray__`, `data`, `dtype`, `shape` (scalars: `__npgeneric__`, `data`, `dtype`). Nothing is
unpickled and no object is built but arrays of plain numbers. Who says what when is the business
of `hud.capabilities.robot` and `hud.environment.robot`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

import msgspec

from hud._core.errors import HudError, InputError, bounded

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAX_FRAME_BYTES = 64 << 20
MAX_DIMENSIONS = 8
MAX_KEYS = 4096

REJECTED = "rejected action: "
"""How the text frame begins that refuses an agent's action and leaves the episode going on."""

_KINDS = frozenset("biuf")
_DTYPE_CHARS = 8


class BadFrame(HudError):
    """A frame of the robot wire is no map, or holds what may not be sent."""

    code = "bad_robot_frame"


def load_numpy() -> Any:
    """Import and return numpy.

    Raises:
        InputError: when it is not installed.
    """
    try:
        import numpy
    except ModuleNotFoundError as error:
        raise InputError(
            "the robot capability needs numpy", hint="pip install 'hud-python[robot]'"
        ) from error
    return numpy


def to_numpy(x: Any) -> NDArray[Any]:
    """Return a list, a number or a tensor of any library as an array on this machine."""
    if hasattr(x, "detach"):
        x = x.detach().cpu()
    return load_numpy().asarray(x)


def pack(frame: Mapping[str, Any]) -> bytes:
    """Return one frame as bytes; arrays and numpy scalars may stand anywhere in it.

    Raises:
        BadFrame: when a value has no form on this wire, an array of objects included.
    """
    try:
        return _encoder.encode(dict(frame))
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise BadFrame(f"a frame cannot be sent: {error}") from error


def unpack(data: bytes) -> dict[str, Any]:
    """Return the map one frame spells; its arrays are fresh and writable.

    Raises:
        BadFrame: for anything but a map with text keys and plain arrays within the limits.
    """
    if len(data) > MAX_FRAME_BYTES:
        raise BadFrame(f"a frame of {len(data)} bytes is over the limit of {MAX_FRAME_BYTES}")
    try:
        value: Any = _decoder.decode(data)
        found = _restored(value)
    except (msgspec.DecodeError, ValueError, TypeError, RecursionError) as error:
        raise BadFrame(f"a frame cannot be read: {bounded(str(error), 200)}") from error
    if not isinstance(found, dict):
        raise BadFrame(f"a frame is no map but {bounded(found)}")
    frame = cast("dict[Any, Any]", found)
    if len(frame) > MAX_KEYS or not all(isinstance(key, str) for key in frame):
        raise BadFrame(f"a frame's keys are no {MAX_KEYS} texts: {bounded(list(frame))}")
    return frame


def _plain(value: Any) -> Any:
    numpy = load_numpy()
    if isinstance(value, numpy.ndarray):
        array = cast("NDArray[Any]", value)
        if array.dtype.kind not in _KINDS:
            raise TypeError(f"an array of dtype {array.dtype} has no form on the wire")
        return {
            b"__ndarray__": True,
            b"data": array.tobytes(),
            b"dtype": array.dtype.str,
            b"shape": list(array.shape),
        }
    if isinstance(value, numpy.generic):
        scalar: Any = value
        if scalar.dtype.kind not in _KINDS:
            raise TypeError(f"a scalar of dtype {scalar.dtype} has no form on the wire")
        return {b"__npgeneric__": True, b"data": scalar.item(), b"dtype": scalar.dtype.str}
    if isinstance(value, Mapping):
        return dict(cast("Mapping[Any, Any]", value))
    raise TypeError(f"{type(value).__qualname__} has no form on the wire")


_encoder = msgspec.msgpack.Encoder(enc_hook=_plain)
_decoder = msgspec.msgpack.Decoder()


def _restored(value: Any) -> Any:
    if isinstance(value, dict):
        held = cast("dict[Any, Any]", value)
        if b"__ndarray__" in held:
            return _array(held)
        if b"__npgeneric__" in held:
            return _dtype(held.get(b"dtype")).type(held.get(b"data"))
        return {key: _restored(item) for key, item in held.items()}
    if isinstance(value, list):
        return [_restored(item) for item in cast("list[Any]", value)]
    return value


def _array(held: dict[Any, Any]) -> NDArray[Any]:
    data, shape = held.get(b"data"), held.get(b"shape")
    if not isinstance(data, bytes) or not isinstance(shape, list):
        raise BadFrame("an array without bytes and shape")
    sizes = cast("list[Any]", shape)
    if len(sizes) > MAX_DIMENSIONS or not all(type(n) is int and n >= 0 for n in sizes):
        raise BadFrame(f"an array of shape {bounded(sizes)}")
    dtype = _dtype(held.get(b"dtype"))
    if math.prod(sizes) * dtype.itemsize != len(data):
        raise BadFrame(f"an array of shape {sizes}, {dtype} with {len(data)} bytes")
    return load_numpy().frombuffer(data, dtype).reshape(sizes).copy()


def _dtype(name: object) -> Any:
    if not isinstance(name, str) or len(name) > _DTYPE_CHARS or "," in name:
        raise BadFrame(f"an array of dtype {bounded(name)}")
    try:
        dtype = load_numpy().dtype(name)
    except TypeError:
        raise BadFrame(f"an array of dtype {bounded(name)}") from None
    if dtype.kind not in _KINDS or dtype.hasobject:
        raise BadFrame(f"an array of dtype {bounded(name)}")
    return dtype
