"""Paths below a folder that a hostile program writes to, walked so that nothing leads out of it.

Every component is opened relative to the one before it and never followed when it is a symbolic
link, so what is renamed meanwhile changes what is found, not where the search ends up. What is
read and written at such paths is `files`.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Generator
from pathlib import Path, PurePath
from typing import ClassVar

from hud._core.errors import HudError, bounded

GUEST = "/workspace"
_MOST_PARTS = 512

# Without O_PATH (not on Linux) a folder must also be readable to be passed through.
PASS = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
LIST = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
REFER = getattr(os, "O_PATH", os.O_RDONLY | os.O_NONBLOCK) | os.O_NOFOLLOW | os.O_CLOEXEC

_KINDS = {
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}

AnyPath = str | os.PathLike[str]
Owner = tuple[int, int]


class UnsafePath(HudError):
    """A path leads out of its folder, or what is there is no plain file or folder.

    A program that may write to the folder can bring this about: a grader counts it as the
    program's failure, not as its own.
    """

    code: ClassVar[str] = "unsafe_path"


class TooLarge(UnsafePath):
    """A file, or a folder, holds more than the caller allows."""

    code: ClassVar[str] = "too_large"


def parts_of(path: AnyPath, guest: str = GUEST) -> tuple[str, ...]:
    """Return the components of a path that is relative, or absolute below `guest`.

    Raises:
        UnsafePath: when it is absolute elsewhere, has a `..`, or is no path.
    """
    text = os.fspath(path)
    if "\0" in text:
        raise UnsafePath(f"{bounded(text)!r} is no path: it holds a zero byte")
    parts = [part for part in text.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise UnsafePath(f"{bounded(text)!r} has a '..' in it")
    if text.startswith("/"):
        base = list(PurePath(guest).parts[1:])
        if parts[: len(base)] != base:
            raise UnsafePath(f"{bounded(text)!r} is not below {guest}")
        parts = parts[len(base) :]
    if len(parts) > _MOST_PARTS:
        raise UnsafePath(f"{bounded(text)!r} is {len(parts)} folders deep")
    return tuple(parts)


@contextlib.contextmanager
def root_of(root: AnyPath) -> Generator[int]:
    """Open the folder that everything stays below; its own path is trusted."""
    descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def folder(
    root: int, parts: tuple[str, ...], *, make: bool = False, owner: Owner | None = None
) -> Generator[int]:
    """Open the folder at `parts`, to name entries relative to it.

    Args:
        make: Make what is missing, for `owner`.

    Raises:
        UnsafePath: when a component is a symbolic link.
        OSError: when one is missing, or no folder.
    """
    descriptor = os.open(".", PASS, dir_fd=root)
    try:
        for part in parts:
            inner = _enter(descriptor, part, make=make, owner=owner)
            os.close(descriptor)
            descriptor = inner
        yield descriptor
    finally:
        os.close(descriptor)


def _enter(above: int, name: str, *, make: bool, owner: Owner | None) -> int:
    try:
        return os.open(name, PASS, dir_fd=above)
    except FileNotFoundError:
        if not make:
            raise
    except OSError as error:
        refuse_link(error, above, name)
        raise
    with contextlib.suppress(FileExistsError):
        os.mkdir(name, 0o755, dir_fd=above)
        if owner is not None:
            give(above, name, owner)
    return _enter(above, name, make=False, owner=None)


def refuse_link(error: OSError, above: int, name: str) -> None:
    """Raise `UnsafePath` when opening `name` failed because it is, or was, a symbolic link."""
    if error.errno not in (errno.ELOOP, errno.ENOTDIR):
        return
    with contextlib.suppress(OSError):
        found = os.stat(name, dir_fd=above, follow_symlinks=False)
        refuse(found, name, links_only=True)
        if error.errno == errno.ENOTDIR and not stat.S_ISDIR(found.st_mode):
            return
    raise UnsafePath(f"{bounded(name)!r} was swapped while it was opened") from error


def refuse(found: os.stat_result, name: str, *, links_only: bool = False) -> None:
    """Raise `UnsafePath` for what is no plain file, saying what it is."""
    kind = _KINDS.get(stat.S_IFMT(found.st_mode))
    if kind is not None and (stat.S_ISLNK(found.st_mode) or not links_only):
        raise UnsafePath(f"{bounded(name)!r} is {kind}")


def give(above: int, name: str, owner: Owner) -> os.stat_result | None:
    """Give one entry to `owner`, whatever it is renamed to meanwhile; follows no link.

    Devices, and files with further names, which may lie anywhere, keep their owner. Returns what
    it was when it changed hands, else None.
    """
    descriptor = os.open(name, REFER, dir_fd=above)
    try:
        found = os.fstat(descriptor)
        kind = stat.S_IFMT(found.st_mode)
        if kind in (stat.S_IFCHR, stat.S_IFBLK):
            return None
        if kind == stat.S_IFREG:
            # One look at the name: its only one is this one, and not one that was swapped away.
            named = os.stat(name, dir_fd=above, follow_symlinks=False)
            if not os.path.samestat(named, found) or named.st_nlink > 1:
                return None
        change_owner(descriptor, above, name, owner)
        return found
    finally:
        os.close(descriptor)


def change_owner(descriptor: int, above: int, name: str, owner: Owner) -> None:
    """Change the owner of what `descriptor` refers to, which is `name` in the folder `above`."""
    try:
        # Exactly this inode: the name may mean another one by now.
        os.chown(f"/proc/self/fd/{descriptor}", *owner)
    except FileNotFoundError:
        if Path("/proc/self/fd").exists():
            raise
        os.chown(name, *owner, dir_fd=above, follow_symlinks=False)
