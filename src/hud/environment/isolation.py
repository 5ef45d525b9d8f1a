"""Give every execution of a source its own copies of the modules beside it.

An execution is a package of its own name: what its code imports from its folder becomes a
submodule, `import helper` inside it means `hud_source_env_3.helper`, at import time and later.
Executing the source itself is `loader`.
"""

from __future__ import annotations

import builtins
import importlib
import sys
from collections.abc import Mapping, Sequence
from importlib.machinery import FileFinder, ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any

_spaces: dict[str, Space] = {}


class Space:
    """The modules of one execution, under one name in `sys.modules`.

    Attributes:
        name: Prefix of every module in it.
        builtins: What its modules see as builtins: Python's, with an `__import__` that looks into
            the folder first.
    """

    def __init__(self, name: str, root: Path, stem: str) -> None:
        self.name = name
        self._root = str(root)
        finder = sys.path_importer_cache.get(self._root)
        if isinstance(finder, FileFinder):
            finder.invalidate_caches()
        self._owned: dict[str, bool] = {stem: True, "hud": False}
        self._stem = stem
        self.is_used = False
        self.builtins: dict[str, Any] = {**vars(builtins), "__import__": self._import}

    def open(self, module: ModuleType) -> None:
        """Make `module`, a package of that name, the one the others are imported into."""
        vars(module)["__builtins__"] = self.builtins
        _spaces[self.name] = self
        sys.modules[self.name] = module
        if _FINDER not in sys.meta_path:
            sys.meta_path.insert(0, _FINDER)

    def close(self) -> None:
        """Forget every module of this execution."""
        _spaces.pop(self.name, None)
        for name in [self.name, *self._submodules()]:
            sys.modules.pop(name, None)

    def siblings(self) -> dict[str, ModuleType]:
        """Return what was imported from the folder, by the names the source uses."""
        start = len(self.name) + 1
        return {name[start:]: sys.modules[name] for name in self._submodules()}

    def _submodules(self) -> list[str]:
        if not self.is_used:
            return []
        prefix = f"{self.name}."
        return [name for name in list(sys.modules) if name.startswith(prefix)]

    def _import(
        self,
        name: str,
        globals: Mapping[str, object] | None = None,
        locals: Mapping[str, object] | None = None,
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> ModuleType:
        top, _, rest = name.partition(".")
        if level != 0 or not self._owns(top):
            return builtins.__import__(name, globals, locals, fromlist or (), level)
        if top == self._stem and not rest:
            return sys.modules[self.name]
        full = f"{self.name}.{name}"
        module = importlib.import_module(full)
        if fromlist:
            return builtins.__import__(full, globals, locals, fromlist, 0)
        return module if not rest else sys.modules[f"{self.name}.{top}"]

    def _owns(self, top: str) -> bool:
        """Tell whether a top-level name means something in this source's folder."""
        owned = self._owned.get(top)
        if owned is None:
            owned = self._owned[top] = top not in sys.stdlib_module_names and self._holds(top)
        return owned

    def _holds(self, top: str) -> bool:
        spec = PathFinder.find_spec(top, [self._root])
        if spec is None:
            return False
        if spec.loader is not None:
            return True
        found = PathFinder.find_spec(top)  # a bare folder yields to a package installed elsewhere
        return found is None or found.loader is None


class _Loader(SourceFileLoader):
    def __init__(self, fullname: str, path: str, space: Space) -> None:
        super().__init__(fullname, path)
        self._space = space

    def exec_module(self, module: ModuleType) -> None:
        vars(module)["__builtins__"] = self._space.builtins
        super().exec_module(module)


class _Finder:
    """Finds the modules inside of spaces, and nothing else."""

    @staticmethod
    def find_spec(
        fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        own, dot, _ = fullname.partition(".")
        space = _spaces.get(own) if dot else None
        if space is None:
            return None
        space.is_used = True
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and isinstance(spec.loader, SourceFileLoader):
            spec.loader = _Loader(spec.loader.name, spec.loader.path, space)
        return spec


_FINDER = _Finder()
