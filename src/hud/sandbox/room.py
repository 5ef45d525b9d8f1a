"""Make room in a folder that holds too much and whose agent cannot clean it up itself.

When that is the case is `watch`'s part. Nothing may run in the folder's sandbox meanwhile.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Collection
from pathlib import Path

from hud.sandbox import files

_BLOCK_BYTES = 512
_MOST_FILES = 20_000_000


def entries_of(folder: Path) -> frozenset[str]:
    """Return the names a folder holds; none where it cannot be read."""
    try:
        with os.scandir(folder) as found:
            return frozenset(entry.name for entry in found)
    except OSError:
        return frozenset()


def make_room(
    folder: Path, *, keep: Collection[str], max_files: int | None, max_bytes: int | None
) -> list[str]:
    """Remove what a folder holds, newest first, until it is within these limits; return the names.

    Args:
        keep: What is never removed: names of its entries.
    """
    removed: list[str] = []
    count, size = _usage(folder)
    for name in _newest_first(folder, keep):
        few = max_files is None or count <= max_files
        if few and (max_bytes is None or size <= max_bytes):
            break
        path = folder / name
        its_count, its_size = _usage(path)
        with contextlib.suppress(OSError):
            files.remove_tree(path)
            count, size = count - its_count, size - its_size
            removed.append(name)
    return removed


def _newest_first(folder: Path, keep: Collection[str]) -> list[str]:
    times: list[tuple[int, str]] = []
    for name in entries_of(folder) - frozenset(keep):
        with contextlib.suppress(OSError):
            times.append(((folder / name).lstat().st_mtime_ns, name))
    return [name for _, name in sorted(times, reverse=True)]


def _usage(path: Path) -> tuple[int, int]:
    try:
        found = path.lstat()
        if not stat.S_ISDIR(found.st_mode):
            return 1, found.st_blocks * _BLOCK_BYTES
        used = files.usage(path, max_files=_MOST_FILES, max_bytes=None)
    except OSError:
        return 0, 0
    return used.files + 1, used.bytes + found.st_blocks * _BLOCK_BYTES
