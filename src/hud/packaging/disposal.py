"""Bundles that nobody needs any more: found by when they were last used, and removed whole.

Which of them are needed is for the caller to say.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from hud.packaging.bundle import ADDRESS

_REMOVING = ".removing-"
_POINTER = ".built-"


@dataclass(frozen=True, slots=True)
class Unused:
    """A bundle that could go.

    Attributes:
        size_bytes: What it takes on the disk.
    """

    folder: Path
    size_bytes: int


def find_unused(store: Path, *, before_s: float, needed: Collection[str]) -> list[Unused]:
    """Return the bundles that were last used or built before a time; blocks.

    Args:
        before_s: The time, in seconds since 1970.
        needed: Addresses of bundles that stay, however old.
    """
    found: list[Unused] = []
    for folder in sorted(store.iterdir()) if store.is_dir() else ():
        if not ADDRESS.fullmatch(folder.name) or folder.name in needed:
            continue
        if not folder.is_symlink() and folder.is_dir() and folder.stat().st_mtime < before_s:
            found.append(Unused(folder, _size_of(folder)))
    return found


def remove(store: Path, unused: Collection[Unused]) -> int:
    """Remove bundles, and what is left of any whose removal was cut short; return the bytes freed.

    A bundle is there or it is not: what is removed has another name by then. Blocks.
    """
    freed = 0
    for each in unused:
        going = store / f"{_REMOVING}{each.folder.name}"
        shutil.rmtree(going, ignore_errors=True)
        each.folder.rename(going)
        freed += each.size_bytes
    for folder in list(store.iterdir()) if store.is_dir() else ():
        if folder.name.startswith(_REMOVING):
            shutil.rmtree(folder, ignore_errors=True)
        elif folder.name.startswith(_POINTER) and _leads_nowhere(store, folder):
            folder.unlink(missing_ok=True)
    return freed


def _leads_nowhere(store: Path, pointer: Path) -> bool:
    try:
        address = pointer.read_text("utf-8")
    except (OSError, ValueError):
        return False
    return bool(ADDRESS.fullmatch(address)) and not (store / address).is_dir()


def _size_of(folder: Path) -> int:
    total = 0
    for top, _, names in os.walk(folder):
        for name in names:
            try:
                total += (Path(top) / name).lstat().st_blocks * 512
            except OSError:
                continue
    return total
