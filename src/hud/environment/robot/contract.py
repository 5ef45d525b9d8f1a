"""The contract of a gymnasium environment: what its spaces look like on the robot wire.

A space becomes one or several features: dicts and tuples are taken apart (`nest/a`), images stay
images, everything else is a row of float32. A `contract.json` adds to what is derived.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from hud._core.errors import InputError, bounded
from hud.protocol.openpi import load_numpy

ACTION = "action"
SOLE = "obs"
IMAGE_MIN = 8
_CHANNELS = {1: "gray", 3: "rgb", 4: "rgba"}

Step = str | int
Convert = Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class Leaf:
    """One leaf of a space: its path, and the feature it becomes."""

    name: str
    path: tuple[Step, ...]
    space: Any
    feature: dict[str, Any]
    convert: Convert

    def read(self, value: Any) -> Any:
        """Return this leaf of a whole observation, as it goes on the wire."""
        for step in self.path:
            value = value[step]
        return self.convert(value)


def observed(space: Any) -> list[Leaf]:
    """Return the leaves of an observation space, in order.

    Raises:
        InputError: for a space that has no form on the wire.
    """
    return [_leaf(name, path, leaf) for name, path, leaf in _walk(space, SOLE, ())]


def image_leaf(name: str, shape: tuple[int, ...]) -> Leaf:
    """Return the leaf of a rendered frame, which is no part of the observation space."""
    feature = {"role": "observation", "type": "rgb", "dtype": "uint8", "shape": list(shape)}
    return Leaf(name, (), None, feature, lambda value: value)


def derive(
    leaves: list[Leaf], action: Any, *, control_rate: float, robot_type: str
) -> dict[str, Any]:
    """Return the contract of observation leaves and an action space."""
    features = {leaf.name: leaf.feature for leaf in leaves}
    features[ACTION] = Actions(action).feature
    return {"robot_type": robot_type, "control_rate": control_rate, "features": features}


def merge(derived: dict[str, Any], path: Path) -> dict[str, Any]:
    """Return `derived` with what a contract file says instead.

    Raises:
        InputError: when the file is no contract, or names a feature the simulation lacks.
    """
    try:
        held: Any = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is no contract: {error}") from error
    if not isinstance(held, dict):
        raise InputError(f"{path} is no contract but {bounded(held)}")
    said = cast("dict[str, Any]", held)
    features = cast("dict[str, dict[str, Any]]", said.get("features") or {})
    known = cast("dict[str, dict[str, Any]]", derived.get("features") or {})
    unknown = [name for name in features if known and name not in known]
    if unknown:
        raise InputError(
            f"{path} has features the simulation lacks: {', '.join(unknown)}",
            hint=f"it has: {', '.join(known)}",
        )
    merged = {name: {**row, **features.get(name, {})} for name, row in known.items()}
    return {**derived, **said, "features": merged or features}


class Actions:
    """An action space as one row `[D]` of float32, and back.

    Attributes:
        feature: Its feature in the contract.
    """

    def __init__(self, space: Any) -> None:
        self._space = space
        self._leaves = [(path, leaf, _size(leaf)) for _, path, leaf in _walk(space, ACTION, ())]
        numpy = load_numpy()
        names: list[str] = []
        low: list[float | None] = []
        high: list[float | None] = []
        for path, leaf, size in self._leaves:
            prefix = str(path[-1]) if path else "act"
            names.extend(f"{prefix}_{index}" for index in range(size))
            bounds = _bounds(leaf, size)
            low.extend(bounds[0])
            high.extend(bounds[1])
        size = len(names)
        self.feature: dict[str, Any] = {
            "role": "action",
            "dtype": "float32",
            "shape": [size],
            "names": names,
            "stats": {"low": low, "high": high},
        }
        self._numpy = numpy

    def native(self, row: Any) -> Any:
        """Return the simulation's own action for a row `[D]`."""
        values: dict[tuple[Step, ...], Any] = {}
        at = 0
        for path, leaf, size in self._leaves:
            values[path] = self._one(leaf, row[at : at + size])
            at += size
        if () in values:
            return values[()]
        return _nested(self._space, (), values)

    def _one(self, leaf: Any, row: Any) -> Any:
        numpy = self._numpy
        kind = type(leaf).__name__
        if kind == "Discrete":
            low, high = int(leaf.start), int(leaf.start + leaf.n - 1)
            return min(max(int(numpy.rint(row[0])), low), high)
        if kind == "Box" and leaf.dtype.kind == "f":
            return row.reshape(leaf.shape).astype(leaf.dtype)
        return numpy.rint(row).reshape(leaf.shape).astype(leaf.dtype)

    def held(self) -> Any:
        """Return the row that asks for nothing: zeros, or the nearest that the space allows."""
        numpy = self._numpy
        stats = cast("dict[str, list[float | None]]", self.feature["stats"])
        row = numpy.zeros(len(self.feature["names"]), numpy.float32)
        for at, (low, high) in enumerate(zip(stats["low"], stats["high"], strict=True)):
            row[at] = max(row[at], low if low is not None else row[at])
            row[at] = min(row[at], high if high is not None else row[at])
        return row


def _nested(space: Any, path: tuple[Step, ...], values: dict[tuple[Step, ...], Any]) -> Any:
    if path in values:
        return values[path]
    children = _children(space)
    assert children is not None
    if isinstance(space.spaces, Mapping):
        return {key: _nested(child, (*path, key), values) for key, child in children}
    return tuple(_nested(child, (*path, key), values) for key, child in children)


def _children(space: Any) -> list[tuple[Step, Any]] | None:
    """Return the named parts of a composite space, or None for a leaf."""
    if type(space).__name__ not in ("Dict", "Tuple"):
        return None
    held: Any = space.spaces
    if isinstance(held, Mapping):
        return list(cast("Mapping[str, Any]", held).items())
    return list(enumerate(cast("Iterable[Any]", held)))


def _walk(
    space: Any, sole: str, path: tuple[Step, ...]
) -> Iterator[tuple[str, tuple[Step, ...], Any]]:
    children = _children(space)
    if children is None:
        yield "/".join(map(str, path)) or sole, path, space
        return
    for key, child in children:
        yield from _walk(child, sole, (*path, key))


def _leaf(name: str, path: tuple[Step, ...], space: Any) -> Leaf:
    numpy = load_numpy()
    image = _image(space)
    if image is not None:
        shape, convert, kind = image
        row = {"role": "observation", "type": kind, "dtype": "uint8", "shape": list(shape)}
        return Leaf(name, path, space, row, convert)
    size = _size(space)
    low, high = _bounds(space, size)
    prefix = str(path[-1]) if path else name
    feature: dict[str, Any] = {
        "role": "observation",
        "dtype": "float32",
        "shape": [size],
        "names": [f"{prefix}_{index}" for index in range(size)],
        "stats": {"low": low, "high": high},
    }
    return Leaf(
        name, path, space, feature, lambda value: numpy.asarray(value, numpy.float32).reshape(-1)
    )


def _image(space: Any) -> tuple[tuple[int, ...], Convert, str] | None:
    """Return shape, conversion and type of an image `[H, W, C]`, `[C, H, W]` or `[H, W]`."""
    if type(space).__name__ != "Box" or space.dtype.name != "uint8":
        return None
    numpy = load_numpy()
    shape = tuple(int(size) for size in space.shape)
    if len(shape) == 2 and min(shape) >= IMAGE_MIN:
        return (*shape, 1), lambda value: numpy.asarray(value)[:, :, None], "gray"
    if len(shape) != 3:
        return None
    if shape[2] in _CHANNELS and min(shape[:2]) >= IMAGE_MIN:
        return shape, numpy.asarray, _CHANNELS[shape[2]]
    if shape[0] in _CHANNELS and min(shape[1:]) >= IMAGE_MIN:
        turned = (shape[1], shape[2], shape[0])
        return turned, lambda value: numpy.moveaxis(numpy.asarray(value), 0, 2), _CHANNELS[shape[0]]
    return None


def _size(space: Any) -> int:
    kind = type(space).__name__
    if kind == "Discrete":
        return 1
    if kind in ("Box", "MultiBinary", "MultiDiscrete"):
        return max(1, int(load_numpy().prod(space.shape)))
    raise InputError(
        f"a space {bounded(space)} has no form on the robot wire",
        hint="flatten it with a gymnasium wrapper; Box, Discrete, MultiDiscrete, MultiBinary, "
        "Dict and Tuple are understood",
    )


def _bounds(space: Any, size: int) -> tuple[list[float | None], list[float | None]]:
    """Return the lowest and highest of every value, None where it is unbounded."""
    numpy = load_numpy()
    match type(space).__name__:
        case "Discrete":
            return [float(space.start)], [float(space.start + space.n - 1)]
        case "MultiBinary":
            return [0.0] * size, [1.0] * size
        case "MultiDiscrete":
            low = numpy.asarray(space.start, float).reshape(-1)
            return _finite(low), _finite(low + numpy.asarray(space.nvec).reshape(-1) - 1)
        case _:
            return _finite(space.low), _finite(space.high)


def _finite(values: Any) -> list[float | None]:
    numpy = load_numpy()
    row = numpy.asarray(values, float).reshape(-1)
    return [float(value) if numpy.isfinite(value) else None for value in row]
