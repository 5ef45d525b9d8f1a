"""Walk everything below a folder that a hostile program writes to, within limits.

At most one descriptor per level is held, no symbolic link is followed, and a folder that is
swapped meanwhile is left out or seen as it was: the walk never leaves where it began.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Collection, Generator, Iterator
from typing import Literal, NamedTuple

from hud.sandbox.files_paths import LIST, AnyPath, TooLarge

MAX_DEPTH = 128
_BLOCK_BYTES = 512

Limit = Literal["entries", "bytes", "depth"]


class Entry(NamedTuple):
    """One entry. `folder` is open only until the next one is asked for."""

    path: str
    name: str
    stat: os.stat_result
    folder: int


class Usage(NamedTuple):
    """What a tree takes.

    Attributes:
        files: Entries of every kind, folders included.
        bytes: Space they take on the disk; holes take none, and a file with two names counts once.
        exceeded: Which limit ended the count early, or None when it is complete.
    """

    files: int
    bytes: int
    exceeded: Limit | None


class _Level(NamedTuple):
    descriptor: int
    prefix: str
    below: list[str]


class Walk:
    """One pass over everything below `root`: every entry, folders before what they hold.

    Attributes:
        exceeded: The limit that cut it short, or None.
        unreadable: Folders that could not be looked into.
    """

    def __init__(
        self,
        root: AnyPath,
        *,
        max_entries: int | None = None,
        max_depth: int = MAX_DEPTH,
        exclude: Collection[str] = (),
    ) -> None:
        """Prepare a pass; folders named in `exclude` are seen but not looked into."""
        self._root = root
        self._max_entries = max_entries
        self._max_depth = max_depth
        self._exclude = frozenset(exclude)
        self._count = 0
        self.exceeded: Limit | None = None
        self.unreadable = 0

    def __iter__(self) -> Generator[Entry]:
        """Begin the pass. Close the generator when it is not run to its end."""
        levels: list[_Level] = []
        try:
            top = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            levels.append(_Level(top, "", []))
            yield from self._listed(levels[-1])
            while levels:
                level = levels[-1]
                if not level.below or self.exceeded == "entries":
                    os.close(levels.pop().descriptor)
                    continue
                name = level.below.pop()
                if len(levels) >= self._max_depth:
                    self.exceeded = self.exceeded or "depth"
                    continue
                try:
                    inner = os.open(name, LIST, dir_fd=level.descriptor)
                except OSError:
                    self.unreadable += 1  # forbidden, or no longer a folder
                    continue
                levels.append(_Level(inner, f"{level.prefix}{name}/", []))
                yield from self._listed(levels[-1])
        finally:
            for level in levels:
                os.close(level.descriptor)

    def _listed(self, level: _Level) -> Iterator[Entry]:
        with os.scandir(level.descriptor) as entries:
            for entry in entries:
                if self._count == self._max_entries:
                    self.exceeded = "entries"
                    return
                try:
                    found = entry.stat(follow_symlinks=False)
                except OSError:
                    continue  # gone again
                self._count += 1
                if stat.S_ISDIR(found.st_mode) and entry.name not in self._exclude:
                    level.below.append(entry.name)
                yield Entry(level.prefix + entry.name, entry.name, found, level.descriptor)


def walk(
    root: AnyPath,
    *,
    max_entries: int | None = None,
    max_depth: int = MAX_DEPTH,
    exclude: Collection[str] = (),
) -> Generator[tuple[str, os.stat_result]]:
    """Yield the relative path and the attributes of everything below `root`.

    Raises:
        TooLarge: at the end, when a limit has cut it short.
    """
    tree = Walk(root, max_entries=max_entries, max_depth=max_depth, exclude=exclude)
    with contextlib.closing(iter(tree)) as entries:
        for entry in entries:
            yield entry.path, entry.stat
    if tree.exceeded is not None:
        raise too_large(tree.exceeded, max_entries, max_depth)


def too_large(exceeded: Limit, max_entries: int | None, max_depth: int) -> TooLarge:
    """Return the error for a tree that a walk could not see all of."""
    if exceeded == "depth":
        return TooLarge(f"the tree is more than {max_depth} folders deep")
    return TooLarge(f"the tree holds more than {max_entries or 0:,} entries")


def usage(
    root: AnyPath, *, max_files: int | None, max_bytes: int | None, max_depth: int = MAX_DEPTH
) -> Usage:
    """Count entries and the space they take, and stop as soon as a limit is passed.

    A limit of None is none. A tree deeper than `max_depth`, of which a part stays unseen, has
    passed a limit as well.
    """
    tree = Walk(root, max_entries=None if max_files is None else max_files + 1, max_depth=max_depth)
    files = size = 0
    seen: set[tuple[int, int]] = set()
    with contextlib.closing(iter(tree)) as entries:
        for entry in entries:
            files += 1
            if max_files is not None and files > max_files:
                return Usage(files, size, "entries")
            found = entry.stat
            if found.st_nlink > 1 and not stat.S_ISDIR(found.st_mode):
                key = (found.st_dev, found.st_ino)
                if key in seen:
                    continue
                seen.add(key)
            size += found.st_blocks * _BLOCK_BYTES
            if max_bytes is not None and size > max_bytes:
                return Usage(files, size, "bytes")
            if tree.exceeded is not None:
                break
    return Usage(files, size, tree.exceeded)
