"""How to build a bridge in another process: what is called there, named so that it can be found.

A function or class of an importable module goes by its name; one of a source file that was
executed under a private name goes by file and name, and its file is executed there; anything else
(a lambda, a closure) goes by value, as cloudpickle spells it. A recipe only ever goes from an
environment to the simulator it starts.
"""

from __future__ import annotations

import importlib
import importlib.util
import pickle
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, cast

from hud._core.errors import InputError, bounded

_GYM_ID = re.compile(r"(?:[\w.]+:)?(?:[\w-]+/)?[\w.:-]+-v\d+")
_ATTRIBUTE = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")


@dataclass(frozen=True, slots=True)
class ByName:
    """A function or class: a module's name, its file, and the name within."""

    module: str
    file: str | None
    qualname: str

    def resolve(self) -> Any:
        """Import the module, or execute its file, and return what is meant."""
        module = self._module()
        value: Any = module
        for part in self.qualname.split("."):
            value = getattr(value, part)
        return value

    def _module(self) -> ModuleType:
        if self.file is None or self._is_importable():
            return importlib.import_module(self.module)
        name = f"hud_robot_source_{Path(self.file).stem}"
        if name in sys.modules:
            return sys.modules[name]
        folder = str(Path(self.file).parent)
        if folder not in sys.path:
            sys.path.insert(0, folder)
        spec = importlib.util.spec_from_file_location(name, self.file)
        if spec is None or spec.loader is None:
            raise InputError(f"{self.file} is no Python file")
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
        return module

    def _is_importable(self) -> bool:
        if self.module == "__main__":
            return False
        try:
            spec = importlib.util.find_spec(self.module)
        except (ImportError, ValueError):
            return False
        origin = None if spec is None else spec.origin
        return origin is not None and self.file is not None and _same(origin, self.file)


@dataclass(frozen=True, slots=True)
class ByValue:
    """Something pickled by cloudpickle."""

    data: bytes

    def resolve(self) -> Any:
        return pickle.loads(self.data)


@dataclass(frozen=True, slots=True)
class Recipe:
    """A bridge class and its arguments.

    Attributes:
        path: What `sys.path` was where the recipe was written.
    """

    bridge: Any
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict[str, Any])
    path: tuple[str, ...] = ()

    @classmethod
    def of(cls, bridge: Any, *args: Any, **kwargs: Any) -> Recipe:
        """Write down how to build `bridge(*args, **kwargs)`."""
        return cls(
            _referred(bridge),
            tuple(_referred(arg) for arg in args),
            {name: _referred(value) for name, value in kwargs.items()},
            tuple(entry or str(Path.cwd()) for entry in sys.path),
        )

    def build(self) -> Any:
        """Build the bridge here."""
        for entry in self.path:
            if entry not in sys.path:
                sys.path.append(entry)
        kwargs = {name: _resolved(value) for name, value in self.kwargs.items()}
        return _resolved(self.bridge)(*(_resolved(arg) for arg in self.args), **kwargs)

    def dump(self) -> bytes:
        """Return it as bytes.

        Raises:
            InputError: when an argument cannot go to another process.
        """
        try:
            return pickle.dumps(self)
        except Exception as error:
            raise InputError(
                f"a robot's arguments cannot go to its own process: {error}",
                hint="use plain data, or a function of a module",
            ) from error

    @staticmethod
    def load(data: bytes) -> Recipe:
        """Read what `dump` wrote, in the process it was written for."""
        return cast("Recipe", pickle.loads(data))


def named(text: str) -> Any:
    """Return what `module:attribute` names, or None for a text that is no such name.

    Raises:
        InputError: when the module or the attribute is not there.
    """
    if _GYM_ID.fullmatch(text) or not _ATTRIBUTE.fullmatch(text):
        return None
    name, _, attribute = text.partition(":")
    try:
        value: Any = importlib.import_module(name)
        for part in attribute.split("."):
            value = getattr(value, part)
    except (ImportError, AttributeError) as error:
        raise InputError(f"robot target {text!r} cannot be found: {error}") from error
    return value


def _referred(value: Any) -> Any:
    if not callable(value):
        return value
    module: Any = getattr(value, "__module__", None)
    qualname: Any = getattr(value, "__qualname__", None)
    if isinstance(module, str) and isinstance(qualname, str) and "<" not in qualname:
        return ByName(module, _file_of(value, module), qualname)
    try:
        pickler: Any = importlib.import_module("cloudpickle")
    except ModuleNotFoundError:
        raise InputError(
            f"{bounded(value)} cannot go to the robot's own process",
            hint="use a function or class of a module, or pip install 'hud-python[robot]'",
        ) from None
    return ByValue(pickler.dumps(value))


def _resolved(value: Any) -> Any:
    return value.resolve() if isinstance(value, ByName | ByValue) else value


def _file_of(value: Callable[..., Any], module: str) -> str | None:
    """Return the file a function or class was defined in, also when its module is forgotten."""
    candidates: list[Any] = [value]
    if isinstance(value, type):
        candidates = [item for item in vars(value).values() if hasattr(item, "__globals__")]
    for candidate in candidates:
        found = getattr(candidate, "__globals__", {})
        if found.get("__name__") == module and found.get("__file__"):
            return str(Path(found["__file__"]).resolve())
    held = getattr(sys.modules.get(module), "__file__", None)
    return None if held is None else str(Path(held).resolve())


def _same(one: str, other: str) -> bool:
    return Path(one).resolve() == Path(other).resolve()
