"""What SFTP requests do to files by their names; what they do to open ones is `sftp`.

Runs inside the sandbox, with the standard library only.
"""

from __future__ import annotations

import errno
import os
import stat

from . import sftp_wire as wire
from .sftp_wire import Fields, Malformed, NewAttrs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

# Clients that put the target of a symbolic link first, against the draft.
_TARGET_FIRST = ("OpenSSH", "paramiko")


class Names:
    """The requests that take paths, relative ones from where the session starts."""

    def __init__(self, start_dir: str, client_version: str) -> None:
        self._start = os.fsencode(start_dir)
        self._target_first = any(name in client_version for name in _TARGET_FIRST)
        self.operations: dict[int, Callable[[int, Fields], bytes]] = {
            wire.LSTAT: self._lstat,
            wire.SETSTAT: self._setstat,
            wire.REMOVE: self._remove,
            wire.MKDIR: self._mkdir,
            wire.RMDIR: self._rmdir,
            wire.REALPATH: self._realpath,
            wire.STAT: self._stat,
            wire.RENAME: self._rename,
            wire.READLINK: self._readlink,
            wire.SYMLINK: self._symlink,
        }
        self.extensions: dict[bytes, Callable[[int, Fields], bytes]] = {
            b"posix-rename@openssh.com": self._posix_rename,
            b"hardlink@openssh.com": self._hardlink,
            b"statvfs@openssh.com": self._statvfs,
            b"lsetstat@openssh.com": self._lsetstat,
        }

    def path(self, fields: Fields) -> bytes:
        """Read a path, as an absolute one."""
        path = fields.path()
        return path if path.startswith(b"/") else os.path.join(self._start, path)  # noqa: PTH118

    def _stat(self, request: int, fields: Fields) -> bytes:
        return wire.attrs(request, os.stat(self.path(fields)))  # noqa: PTH116

    def _lstat(self, request: int, fields: Fields) -> bytes:
        return wire.attrs(request, os.lstat(self.path(fields)))

    def _setstat(self, request: int, fields: Fields) -> bytes:
        apply(self.path(fields), fields.attrs())
        return wire.status(request, wire.OK)

    def _lsetstat(self, request: int, fields: Fields) -> bytes:
        path, wanted = self.path(fields), fields.attrs()
        if wanted.size is not None:
            raise Malformed("a link has no size to set")
        if wanted.mode is not None and not stat.S_ISLNK(os.lstat(path).st_mode):
            os.chmod(path, wanted.mode)  # noqa: PTH101
        if wanted.times is not None:
            os.utime(path, wanted.times, follow_symlinks=False)
        if wanted.owner is not None:
            os.lchown(path, *wanted.owner)
        return wire.status(request, wire.OK)

    def _mkdir(self, request: int, fields: Fields) -> bytes:
        path, wanted = self.path(fields), fields.attrs()
        os.mkdir(path, 0o777 if wanted.mode is None else wanted.mode)  # noqa: PTH102
        return wire.status(request, wire.OK)

    def _rmdir(self, request: int, fields: Fields) -> bytes:
        os.rmdir(self.path(fields))  # noqa: PTH106
        return wire.status(request, wire.OK)

    def _remove(self, request: int, fields: Fields) -> bytes:
        os.unlink(self.path(fields))  # noqa: PTH108
        return wire.status(request, wire.OK)

    def _realpath(self, request: int, fields: Fields) -> bytes:
        resolved = os.path.realpath(self.path(fields))
        return wire.names(request, [wire.entry(resolved, None, 0)])

    def _rename(self, request: int, fields: Fields) -> bytes:
        """Rename without replacing, as version 3 has it."""
        old, new = self.path(fields), self.path(fields)
        attributes = os.lstat(old)
        if not stat.S_ISDIR(attributes.st_mode):
            try:
                os.link(old, new, follow_symlinks=False)
            except FileExistsError:
                raise
            except OSError:
                pass  # a file system or a policy that has no links for this one
            else:
                os.unlink(old)  # noqa: PTH108
                return wire.status(request, wire.OK)
        if os.path.lexists(new):
            raise FileExistsError(errno.EEXIST, "the new name is taken")
        os.rename(old, new)  # noqa: PTH104
        return wire.status(request, wire.OK)

    def _posix_rename(self, request: int, fields: Fields) -> bytes:
        old, new = self.path(fields), self.path(fields)
        os.rename(old, new)  # noqa: PTH104
        return wire.status(request, wire.OK)

    def _hardlink(self, request: int, fields: Fields) -> bytes:
        old, new = self.path(fields), self.path(fields)
        os.link(old, new, follow_symlinks=False)
        return wire.status(request, wire.OK)

    def _readlink(self, request: int, fields: Fields) -> bytes:
        target = os.readlink(self.path(fields))  # noqa: PTH115
        return wire.names(request, [wire.entry(target, None, 0)])

    def _symlink(self, request: int, fields: Fields) -> bytes:
        first, second = fields.path(), fields.path()
        target, link = (first, second) if self._target_first else (second, first)
        os.symlink(target, os.path.join(self._start, link))  # noqa: PTH118, PTH211
        return wire.status(request, wire.OK)

    def _statvfs(self, request: int, fields: Fields) -> bytes:
        return file_system(request, os.statvfs(self.path(fields)))


def apply(target: bytes | int, wanted: NewAttrs) -> None:
    """Give a file, by its path or its descriptor, the attributes that were asked for."""
    if wanted.size is not None:
        os.truncate(target, wanted.size)
    if wanted.mode is not None:
        os.chmod(target, wanted.mode)  # noqa: PTH101
    if wanted.times is not None:
        os.utime(target, wanted.times)
    if wanted.owner is not None:
        os.chown(target, *wanted.owner)


def file_system(request: int, found: os.statvfs_result) -> bytes:
    """Return the reply that describes a file system."""
    return wire.extended_reply(
        request,
        found.f_bsize,
        found.f_frsize,
        found.f_blocks,
        found.f_bfree,
        found.f_bavail,
        found.f_files,
        found.f_ffree,
        found.f_favail,
        found.f_fsid,
        found.f_flag & (os.ST_RDONLY | os.ST_NOSUID),
        found.f_namemax,
    )
