"""Files below a folder that a hostile program writes to, read and written from outside of it.

Paths are relative to that folder, or absolute as the program sees them (`guest`). No symbolic link
is followed, nothing makes the caller wait, and everything read has a limit. Whole trees are
`files_walk` and `files_tree`, whose functions are found here too.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import stat as kinds
from collections.abc import Generator

from hud._core.errors import bounded
from hud.sandbox.files_paths import (
    CREATE,
    GUEST,
    LIST,
    READ,
    AnyPath,
    Owner,
    TooLarge,
    UnsafePath,
    folder,
    parts_of,
    refuse,
    refuse_link,
    root_of,
)
from hud.sandbox.files_tree import copy_tree, hand_over, remove_tree
from hud.sandbox.files_walk import Entry, Usage, Walk, usage, walk

__all__ = [
    "Entry",
    "TooLarge",
    "UnsafePath",
    "Usage",
    "Walk",
    "copy_tree",
    "exists",
    "hand_over",
    "listdir",
    "read_bytes",
    "read_text",
    "remove_tree",
    "stat",
    "usage",
    "walk",
    "write_bytes",
]

_CHUNK_BYTES = 1 << 20
_TEMPORARY_NAME = 100


def read_bytes(root: AnyPath, path: AnyPath, *, max_bytes: int, guest: str = GUEST) -> bytes:
    """Return a plain file's content.

    A file with further names is read only when it belongs to whom `root` belongs to: another
    owner's may be one from outside.

    Raises:
        UnsafePath: when the path leads out of `root`, or there is something else than a file.
        TooLarge: when it holds more than `max_bytes`.
        OSError: when there is nothing, or it cannot be read.
    """
    with root_of(root) as top, _opened(top, parts_of(path, guest)) as descriptor:
        return read_limited(descriptor, max_bytes, os.fspath(path))


def read_text(
    root: AnyPath,
    path: AnyPath,
    *,
    max_bytes: int,
    guest: str = GUEST,
    encoding: str = "utf-8",
    errors: str = "replace",
) -> str:
    """Return a plain file's content as text; what is none becomes U+FFFD unless told otherwise.

    Raises:
        UnsafePath: as `read_bytes`, whose other errors apply too.
    """
    return read_bytes(root, path, max_bytes=max_bytes, guest=guest).decode(encoding, errors)


def write_bytes(
    root: AnyPath,
    path: AnyPath,
    data: bytes,
    *,
    mode: int = 0o644,
    owner: Owner | None = None,
    guest: str = GUEST,
) -> None:
    """Put a file in place, as a whole, in the place of whatever file is there.

    It is a new file: another name of the old one keeps the old content. Missing folders are made.

    Args:
        owner: uid and gid of the file and of folders made for it.

    Raises:
        UnsafePath: when the path leads out of `root`, or there is something else than a file.
        OSError: when it cannot be written.
    """
    parts = parts_of(path, guest)
    if not parts:
        raise UnsafePath(f"{bounded(os.fspath(path))!r} is the folder itself")
    name = parts[-1]
    with root_of(root) as top, folder(top, parts[:-1], make=True, owner=owner) as above:
        with contextlib.suppress(FileNotFoundError):
            refuse(os.stat(name, dir_fd=above, follow_symlinks=False), name)
        temporary = f".{name[:_TEMPORARY_NAME]}.{secrets.token_hex(8)}"
        descriptor = os.open(temporary, CREATE, 0o600, dir_fd=above)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                if owner is not None:
                    os.fchown(descriptor, *owner)
                os.fchmod(descriptor, mode)
            os.rename(temporary, name, src_dir_fd=above, dst_dir_fd=above)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary, dir_fd=above)
            raise


def stat(root: AnyPath, path: AnyPath, *, guest: str = GUEST) -> os.stat_result:
    """Return the attributes of what is at a path.

    Raises:
        UnsafePath: when the path leads out of `root`, or a part of it is a symbolic link.
        OSError: when there is nothing.
    """
    parts = parts_of(path, guest)
    with root_of(root) as top:
        if not parts:
            return os.fstat(top)
        with folder(top, parts[:-1]) as above:
            found = os.stat(parts[-1], dir_fd=above, follow_symlinks=False)
    refuse(found, os.fspath(path), links_only=True)
    return found


def exists(root: AnyPath, path: AnyPath, *, guest: str = GUEST) -> bool:
    """Tell whether there is anything at a path.

    Raises:
        UnsafePath: when the path leads out of `root`, or a part of it is a symbolic link.
    """
    try:
        stat(root, path, guest=guest)
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def listdir(
    root: AnyPath, path: AnyPath = ".", *, max_entries: int = 100_000, guest: str = GUEST
) -> list[str]:
    """Return the names in a folder, sorted.

    Raises:
        UnsafePath: when the path leads out of `root`.
        TooLarge: when there are more than `max_entries`.
        OSError: when there is no such folder.
    """
    names: list[str] = []
    with root_of(root) as top, folder(top, parts_of(path, guest)) as found:
        listed = os.open(".", LIST, dir_fd=found)
        try:
            with os.scandir(listed) as entries:
                for entry in entries:
                    if len(names) == max_entries:
                        told = bounded(os.fspath(path))
                        raise TooLarge(f"{told!r} holds more than {max_entries:,} entries")
                    names.append(entry.name)
        finally:
            os.close(listed)
    return sorted(names)


@contextlib.contextmanager
def _opened(root: int, parts: tuple[str, ...]) -> Generator[int]:
    if not parts:
        raise UnsafePath("the folder itself is no file")
    with folder(root, parts[:-1]) as above:
        descriptor = open_plain(above, parts[-1], owner=os.fstat(root).st_uid)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def open_plain(above: int, name: str, *, owner: int) -> int:
    """Open the plain file `name` in the folder `above` for reading; the caller closes it.

    Raises:
        UnsafePath: when it is something else, or has further names and not this `owner`.
        OSError: when it cannot be opened.
    """
    try:
        descriptor = os.open(name, READ, dir_fd=above)
    except OSError as error:
        refuse_link(error, above, name)
        with contextlib.suppress(OSError):
            refuse(os.stat(name, dir_fd=above, follow_symlinks=False), name)
        raise
    try:
        found = os.fstat(descriptor)
        refuse(found, name)
        if found.st_nlink > 1 and found.st_uid != owner:
            raise UnsafePath(f"{bounded(name)!r} is another name of somebody else's file")
        assert kinds.S_ISREG(found.st_mode)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def read_limited(descriptor: int, max_bytes: int, name: str) -> bytes:
    """Read an open file to its end.

    Raises:
        TooLarge: when it holds more than `max_bytes`.
    """
    if os.fstat(descriptor).st_size <= max_bytes:
        pieces: list[bytes] = []
        left = max_bytes + 1
        while left and (piece := os.read(descriptor, min(left, _CHUNK_BYTES))):
            pieces.append(piece)
            left -= len(piece)
        if left:
            return b"".join(pieces)
    raise TooLarge(f"{bounded(name)!r} holds more than {max_bytes:,} bytes")
