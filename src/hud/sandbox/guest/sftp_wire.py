"""The bytes of SFTP version 3: fields of a packet, attributes, replies, and what errno becomes.

The format is draft-ietf-secsh-filexfer-02. What the requests do is `sftp`. Runs inside the
sandbox, in an interpreter that has nothing but the standard library.
"""

from __future__ import annotations

import errno
import os
import stat
import struct
import time

INIT, VERSION = 1, 2
OPEN, CLOSE, READ, WRITE = 3, 4, 5, 6
LSTAT, FSTAT, SETSTAT, FSETSTAT = 7, 8, 9, 10
OPENDIR, READDIR, REMOVE, MKDIR, RMDIR = 11, 12, 13, 14, 15
REALPATH, STAT, RENAME, READLINK, SYMLINK = 16, 17, 18, 19, 20
STATUS, HANDLE, DATA, NAME, ATTRS = 101, 102, 103, 104, 105
EXTENDED, EXTENDED_REPLY = 200, 201

OK, EOF, NO_SUCH_FILE, PERMISSION_DENIED, FAILURE, BAD_MESSAGE = 0, 1, 2, 3, 4, 5
OP_UNSUPPORTED = 8

_SIZE, _UIDGID, _PERMISSIONS, _TIMES, _MORE = 1, 2, 4, 8, 1 << 31
_MAX_U32 = (1 << 32) - 1
_SIX_MONTHS_S = 182 * 86_400
_MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]

_u32 = struct.Struct(">I")
_u64 = struct.Struct(">Q")
_attrs = struct.Struct(">IQIIIII")
_status = struct.Struct(">BIII")
_data = struct.Struct(">BII")

_STATUS_OF = {
    errno.ENOENT: NO_SUCH_FILE,
    errno.ENOTDIR: NO_SUCH_FILE,
    errno.ELOOP: NO_SUCH_FILE,
    errno.EACCES: PERMISSION_DENIED,
    errno.EPERM: PERMISSION_DENIED,
    errno.EROFS: PERMISSION_DENIED,
    errno.ENOSYS: OP_UNSUPPORTED,
    errno.EOPNOTSUPP: OP_UNSUPPORTED,
}


class Malformed(Exception):
    """A packet ends before its fields do, or holds what no field may."""


class NewAttrs:
    """The attributes a client asks for; None where it leaves one alone."""

    __slots__ = ("mode", "owner", "size", "times")

    def __init__(
        self,
        size: int | None,
        owner: tuple[int, int] | None,
        mode: int | None,
        times: tuple[int, int] | None,
    ) -> None:
        self.size = size
        self.owner = owner
        self.mode = mode
        self.times = times


class Fields:
    """Reads one packet's fields in order, each checked against its end."""

    __slots__ = ("_at", "_packet")

    def __init__(self, packet: bytes, at: int = 1) -> None:
        self._packet = packet
        self._at = at

    def u32(self) -> int:
        at, self._at = self._at, self._at + 4
        try:
            return _u32.unpack_from(self._packet, at)[0]
        except struct.error:
            raise Malformed("the packet is too short") from None

    def u64(self) -> int:
        at, self._at = self._at, self._at + 8
        try:
            return _u64.unpack_from(self._packet, at)[0]
        except struct.error:
            raise Malformed("the packet is too short") from None

    def string(self) -> bytes:
        length = self.u32()
        at, self._at = self._at, self._at + length
        if self._at > len(self._packet):
            raise Malformed("a string is longer than its packet")
        return self._packet[at : self._at]

    def path(self) -> bytes:
        path = self.string()
        if b"\0" in path:
            raise Malformed("a path holds a zero byte")
        return path

    def attrs(self) -> NewAttrs:
        flags = self.u32()
        size = self.u64() if flags & _SIZE else None
        owner = (self.u32(), self.u32()) if flags & _UIDGID else None
        mode = self.u32() & 0o7777 if flags & _PERMISSIONS else None
        times = (self.u32(), self.u32()) if flags & _TIMES else None
        if flags & _MORE:
            for _ in range(self.u32()):
                self.string()
                self.string()
        return NewAttrs(size, owner, mode, times)


def text(value: bytes) -> bytes:
    """Return `value` as a field."""
    return _u32.pack(len(value)) + value


def packed(attributes: os.stat_result | None) -> bytes:
    """Return a file's attributes as a field; None is a file about which nothing is known."""
    if attributes is None:
        return b"\0\0\0\0"
    return _attrs.pack(
        _SIZE | _UIDGID | _PERMISSIONS | _TIMES,
        attributes.st_size,
        attributes.st_uid & _MAX_U32,
        attributes.st_gid & _MAX_U32,
        attributes.st_mode,
        _clamped(attributes.st_atime),
        _clamped(attributes.st_mtime),
    )


def _clamped(seconds: float) -> int:
    return min(max(int(seconds), 0), _MAX_U32)


def status(request: int, code: int, message: str = "") -> bytes:
    """Return a reply that is a status alone."""
    said = message.encode("utf-8", "replace")[:1_000]
    # The two last fields are the message and an empty language tag.
    return _status.pack(STATUS, request, code, len(said)) + said + b"\0\0\0\0"


def failure(request: int, error: Exception) -> bytes:
    """Return the status that says what went wrong."""
    if isinstance(error, Malformed):
        return status(request, BAD_MESSAGE, str(error))
    if not isinstance(error, OSError) or error.errno is None:
        return status(request, FAILURE, type(error).__name__)
    code = _STATUS_OF.get(error.errno, FAILURE)
    return status(request, code, os.strerror(error.errno))


def handle(request: int, value: bytes) -> bytes:
    """Return a reply that hands out a handle."""
    return _data.pack(HANDLE, request, len(value)) + value


def data(request: int, value: bytes) -> bytes:
    """Return a reply that is a piece of a file."""
    return _data.pack(DATA, request, len(value)) + value


def attrs(request: int, value: os.stat_result) -> bytes:
    """Return a reply that is a file's attributes."""
    return b"%c%b%b" % (ATTRS, _u32.pack(request), packed(value))


def names(request: int, entries: list[bytes]) -> bytes:
    """Return a reply of names, each made by `entry`."""
    return b"%c%b%b%b" % (NAME, _u32.pack(request), _u32.pack(len(entries)), b"".join(entries))


def extended_reply(request: int, *numbers: int) -> bytes:
    """Return an extension's reply of 64-bit numbers."""
    mask = (1 << 64) - 1
    packed_numbers = b"".join(_u64.pack(number & mask) for number in numbers)
    return b"%c%b%b" % (EXTENDED_REPLY, _u32.pack(request), packed_numbers)


def entry(name: bytes, attributes: os.stat_result | None, now: float) -> bytes:
    """Return one name with the line `ls -l` would print for it, and its attributes."""
    line = name if attributes is None else long_name(name, attributes, now)
    return text(name) + text(line) + packed(attributes)


def long_name(name: bytes, attributes: os.stat_result, now: float) -> bytes:
    """Return the line of a listing; owners are numbers, since no name service is asked here."""
    return b"%s %4d %-8d %-8d %8d %s %s" % (
        stat.filemode(attributes.st_mode).encode(),
        attributes.st_nlink,
        attributes.st_uid,
        attributes.st_gid,
        attributes.st_size,
        _date(attributes.st_mtime, now),
        name,
    )


def _date(seconds: float, now: float) -> bytes:
    try:
        date = time.localtime(seconds)
    except (OverflowError, ValueError, OSError):
        return b"Jan  1  1970"
    month = _MONTHS[date.tm_mon - 1]
    if 0 <= now - seconds < _SIX_MONTHS_S:
        return f"{month} {date.tm_mday:2d} {date.tm_hour:02d}:{date.tm_min:02d}".encode()
    return f"{month} {date.tm_mday:2d}  {date.tm_year:4d}".encode()
