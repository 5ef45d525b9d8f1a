"""Whole trees a hostile program writes to: hand them over, remove them, fill them from a template.

Built on `files_walk`; single files are `files`.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
from pathlib import Path

from hud._core.errors import bounded
from hud.sandbox.files_paths import (
    CREATE,
    LIST,
    READ,
    REFER,
    AnyPath,
    Owner,
    UnsafePath,
    change_owner,
    folder,
    give,
    parts_of,
    root_of,
)
from hud.sandbox.files_walk import MAX_DEPTH, Entry, Walk, too_large

_LEVELS_AT_ONCE = 64
_MOST_PASSES = 100_000
_COPY_BYTES = 1 << 20
_NO_SUCH_WAY = (errno.EXDEV, errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP)


def hand_over(root: AnyPath, uid: int, gid: int) -> None:
    """Give `root` and everything below it to a uid and gid, following nothing.

    A file that has a name outside as well is replaced by a copy first, so that the one outside
    keeps its owner and cannot be written through the one inside. Devices keep their owner.

    Raises:
        TooLarge: when the tree is deeper than 128 folders.
        OSError: when this process may not.
    """
    shared: dict[tuple[int, int], list[str]] = {}
    tree = Walk(root)
    with contextlib.closing(iter(tree)) as entries:
        for entry in entries:
            found = entry.stat
            if stat.S_ISREG(found.st_mode) and found.st_nlink > 1:
                shared.setdefault((found.st_dev, found.st_ino), []).append(entry.path)
            elif (found.st_uid, found.st_gid) != (uid, gid):
                with contextlib.suppress(FileNotFoundError):
                    give(entry.folder, entry.name, (uid, gid))
    if tree.exceeded is not None:
        raise too_large(tree.exceeded, None, MAX_DEPTH)
    with root_of(root) as top:
        for inode, names in shared.items():
            _hand_over_shared(top, inode, names, (uid, gid))
        os.fchown(top, uid, gid)


def _hand_over_shared(root: int, inode: tuple[int, int], paths: list[str], owner: Owner) -> None:
    """Hand over a file of several names, all of its names below `root` being `paths`."""
    for path in paths:
        *above, name = path.split("/")
        with contextlib.suppress(FileNotFoundError), folder(root, tuple(above)) as parent:
            descriptor = os.open(name, REFER, dir_fd=parent)
            try:
                found = os.fstat(descriptor)
                if not stat.S_ISREG(found.st_mode):
                    continue
                if (found.st_dev, found.st_ino) == inode and found.st_nlink <= len(paths):
                    change_owner(descriptor, parent, name, owner)  # no name lies outside
                    return
            finally:
                os.close(descriptor)
            _replace_by_copy(parent, name, owner)


def _replace_by_copy(parent: int, name: str, owner: Owner) -> None:
    source = os.open(name, READ, dir_fd=parent)
    try:
        found = os.fstat(source)
        if not stat.S_ISREG(found.st_mode):
            return
        temporary = f".hud-{secrets.token_hex(8)}"
        try:
            _copy_file(source, found, parent, temporary, owner)
            os.rename(temporary, name, src_dir_fd=parent, dst_dir_fd=parent)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary, dir_fd=parent)
            raise
    finally:
        os.close(source)


def copy_tree(source: AnyPath, root: AnyPath, *, owner: Owner | None = None) -> None:
    """Copy everything below `source` into `root`, which is made when missing.

    Symbolic links are copied as links; devices, sockets and FIFOs are left out. Permissions
    (without set-uid and set-gid) and times are kept. Files that are in the way are replaced.

    Raises:
        UnsafePath: when a symbolic link in `root` is in a folder's way.
        TooLarge: when the tree is deeper than 128 folders.
        OSError: when something cannot be read or written.
    """
    Path(root).mkdir(parents=True, exist_ok=True)
    tree = Walk(source)
    folders: list[tuple[str, int]] = []
    with root_of(root) as top, contextlib.closing(iter(tree)) as entries:
        if owner is not None:
            os.fchown(top, *owner)
        for entry in entries:
            above = parts_of(entry.path)[:-1]
            with folder(top, above) as parent:
                if stat.S_ISDIR(entry.stat.st_mode):
                    _make_folder(parent, entry.name, owner)
                    folders.append((entry.path, stat.S_IMODE(entry.stat.st_mode) & 0o1777))
                else:
                    _copy_entry(entry, parent, owner)
        if tree.exceeded is not None:
            raise too_large(tree.exceeded, None, MAX_DEPTH)
        # Last, for a folder that may not be written to has been filled by now.
        for path, mode in reversed(folders):
            with folder(top, parts_of(path)) as made:
                descriptor = os.open(".", LIST, dir_fd=made)
                try:
                    os.fchmod(descriptor, mode)
                finally:
                    os.close(descriptor)


def _make_folder(parent: int, name: str, owner: Owner | None) -> None:
    try:
        os.mkdir(name, 0o700, dir_fd=parent)
    except FileExistsError:
        found = os.stat(name, dir_fd=parent, follow_symlinks=False)
        if not stat.S_ISDIR(found.st_mode):
            raise UnsafePath(f"{bounded(name)!r} is in the way of a folder") from None
    if owner is not None:
        give(parent, name, owner)


def _copy_entry(entry: Entry, parent: int, owner: Owner | None) -> None:
    kind = stat.S_IFMT(entry.stat.st_mode)
    if kind not in (stat.S_IFREG, stat.S_IFLNK):
        return
    with contextlib.suppress(FileNotFoundError):
        os.unlink(entry.name, dir_fd=parent)
    if kind == stat.S_IFLNK:
        target = os.readlink(entry.name, dir_fd=entry.folder)
        os.symlink(target, entry.name, dir_fd=parent)
        if owner is not None:
            give(parent, entry.name, owner)
        return
    source = os.open(entry.name, READ, dir_fd=entry.folder)
    try:
        found = os.fstat(source)
        if stat.S_ISREG(found.st_mode):
            _copy_file(source, found, parent, entry.name, owner)
    finally:
        os.close(source)


def _copy_file(
    source: int, found: os.stat_result, parent: int, name: str, owner: Owner | None
) -> None:
    target = os.open(name, CREATE, 0o600, dir_fd=parent)
    try:
        _copy_content(source, target, found.st_size)
        if owner is not None:
            os.fchown(target, *owner)
        os.fchmod(target, stat.S_IMODE(found.st_mode) & 0o1777)
        os.utime(target, ns=(found.st_atime_ns, found.st_mtime_ns))
    finally:
        os.close(target)


def _copy_content(source: int, target: int, size: int) -> None:
    """Copy up to `size` bytes and leave holes what they are."""
    os.ftruncate(target, size)
    at = 0
    while at < size:
        try:
            at = os.lseek(source, at, os.SEEK_DATA)
            end = min(os.lseek(source, at, os.SEEK_HOLE), size)
        except OSError as error:
            if error.errno == errno.ENXIO:
                return  # nothing but a hole is left
            end = size
        while at < end:
            copied = _copy_some(source, target, at, end - at)
            if copied == 0:
                return
            at += copied


def _copy_some(source: int, target: int, at: int, count: int) -> int:
    try:
        return os.copy_file_range(source, target, min(count, 1 << 30), at, at)
    except OSError as error:
        if error.errno not in _NO_SUCH_WAY:
            raise
    data = os.pread(source, min(count, _COPY_BYTES), at)
    rest = memoryview(data)
    while rest:
        written = os.pwrite(target, rest, at)
        rest = rest[written:]
        at += written
    return len(data)


def remove_tree(root: AnyPath) -> None:
    """Remove `root` and everything below it, whatever its depth and its permissions.

    A missing `root` is no error; one that is a link or a file goes by itself.

    Raises:
        OSError: the first that kept something from being removed, once everything else is gone.
    """
    path = Path(root)
    try:
        top = os.open(path, LIST)
    except FileNotFoundError:
        return
    except PermissionError:
        path.chmod(0o700)
        top = os.open(path, LIST)
    except OSError as error:
        if error.errno not in (errno.ENOTDIR, errno.ELOOP):
            raise
        path.unlink()
        return
    try:
        remover = _Remover(top)
        for _ in range(_MOST_PASSES):
            if not remover.empty(top, 0):
                break
    finally:
        os.close(top)
    try:
        path.rmdir()
    except OSError as error:
        raise remover.failure or error from None


class _Remover:
    """Empties folders; what lies too deep is moved up to the top, to be emptied from there.

    Attributes:
        failure: The first error that could not be got around.
    """

    def __init__(self, top: int) -> None:
        self._top = top
        self._token = secrets.token_hex(8)
        self._moved = 0
        self.failure: OSError | None = None

    def empty(self, above: int, depth: int) -> bool:
        """Remove what is in a folder, once; return whether anything was."""
        progress = False
        with os.scandir(above) as entries:
            for entry in entries:
                try:
                    progress |= self._removed(above, entry.name, depth)
                except FileNotFoundError:
                    continue
                except OSError as error:
                    self.failure = self.failure or error
        return progress

    def _removed(self, above: int, name: str, depth: int) -> bool:
        found = os.stat(name, dir_fd=above, follow_symlinks=False)
        is_folder = stat.S_ISDIR(found.st_mode)
        try:
            return self._take(above, name, depth, is_folder)
        except PermissionError:
            # As a plain user: the folder around it, or it itself, forbids what its owner may allow.
            _unlock(above, ".")
            if is_folder:
                _unlock(above, name)
            return self._take(above, name, depth, is_folder)

    def _take(self, above: int, name: str, depth: int, is_folder: bool) -> bool:
        if not is_folder:
            os.unlink(name, dir_fd=above)
            return True
        if depth >= _LEVELS_AT_ONCE:
            self._moved += 1
            place = f".hud-{self._token}-{self._moved}"
            os.rename(name, place, src_dir_fd=above, dst_dir_fd=self._top)
            return True
        inner = os.open(name, LIST, dir_fd=above)
        try:
            for _ in range(_MOST_PASSES):
                if not self.empty(inner, depth + 1):
                    break
        finally:
            os.close(inner)
        os.rmdir(name, dir_fd=above)
        return True


def _unlock(above: int, name: str) -> None:
    """Let a folder's owner do everything with it."""
    descriptor = os.open(name, REFER, dir_fd=above)
    try:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            os.chmod(f"/proc/self/fd/{descriptor}", 0o700)  # noqa: PTH101
    finally:
        os.close(descriptor)
