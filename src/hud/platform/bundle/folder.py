"""The folder a bundle is written to: it appears whole, or not at all."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Generator
from pathlib import Path
from typing import Any

from hud._core import json
from hud._core.errors import InputError, bounded


class Folder:
    """Writes files below one folder and counts their bytes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size_bytes = 0
        self._made: set[Path] = set()

    def write(self, name: str, content: bytes) -> None:
        """Write a file; `name` has slashes between folders, which are made."""
        path = self.path / name
        if path.parent not in self._made:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._made.add(path.parent)
        path.write_bytes(content)
        self.size_bytes += len(content)

    def write_json(self, name: str, value: Any) -> None:
        """Write a value as JSON."""
        self.write(name, json.encode(value))


@contextlib.contextmanager
def new_folder(target: Path) -> Generator[Folder]:
    """Yield where to write; it becomes `target` when the block ends well, else it is removed.

    Raises:
        InputError: when there is something at `target`, or nothing can be written there.
    """
    target = target.absolute()
    part = target.with_name(f".{target.name}.part")
    try:
        if target.exists() and (not target.is_dir() or any(target.iterdir())):
            raise InputError(
                f"there is something at {bounded(str(target), 300)} already",
                hint="name a folder that does not exist yet",
            )
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir()
        try:
            yield Folder(part)
            if target.exists():
                target.rmdir()
            part.rename(target)
        finally:
            shutil.rmtree(part, ignore_errors=True)
    except OSError as error:
        raise InputError(
            f"the bundle cannot be written to {bounded(str(target), 300)}: {error.strerror}",
            hint="name a folder that can be written to, on a disk with room",
        ) from error
