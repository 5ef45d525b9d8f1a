"""An SFTP version 3 server over two descriptors, for a process that stands inside the sandbox.

It serves whatever its process may reach: confinement is the sandbox's, not its own. Standard
library only. Everything is bounded: packets, handles, pages of a listing, and no file can make it
wait. The bytes are `sftp_wire`.
"""

from __future__ import annotations

import errno
import os
import time

from . import sftp_wire as wire
from .sftp_names import Names, apply, file_system
from .sftp_wire import Fields

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

MAX_PACKET_BYTES = 256 * 1024
MAX_DATA_BYTES = MAX_PACKET_BYTES - 1024
MAX_HANDLES = 1024
_SPARE_DESCRIPTORS = 32
_PAGE_BYTES = 64 * 1024
_CHUNK_BYTES = 256 * 1024
_FLUSH_BYTES = 512 * 1024

_READ, _WRITE, _APPEND, _CREATE, _TRUNCATE, _EXCLUSIVE = 1, 2, 4, 8, 16, 32
# A FIFO or a terminal must neither make an open wait nor become this process's own.
_OPEN_ALWAYS = os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC

_EXTENSIONS = (
    (b"posix-rename@openssh.com", b"1"),
    (b"hardlink@openssh.com", b"1"),
    (b"fsync@openssh.com", b"1"),
    (b"statvfs@openssh.com", b"2"),
    (b"fstatvfs@openssh.com", b"2"),
    (b"lsetstat@openssh.com", b"1"),
    (b"limits@openssh.com", b"1"),
)


def serve(read_fd: int, write_fd: int, *, start_dir: str, client_version: str = "") -> None:
    """Answer requests from `read_fd` on `write_fd` until the client ends; never raises.

    Args:
        start_dir: What relative paths are relative to.
        client_version: The client's SSH identification, by which the two arguments of SYMLINK
            are told apart; empty means the order of the draft.
    """
    session = Session(start_dir, client_version)
    try:
        os.set_blocking(read_fd, True)
        os.set_blocking(write_fd, True)
        _converse(session, read_fd, write_fd)
    except Exception:
        # The client is gone, or memory is: nobody is left to be told.
        return
    finally:
        session.close()


def _converse(session: Session, read_fd: int, write_fd: int) -> None:
    buffer = bytearray()
    while chunk := os.read(read_fd, _CHUNK_BYTES):
        buffer += chunk
        with memoryview(buffer) as view:
            at = _answer_all(session, view, write_fd)
        if at < 0:
            return
        del buffer[:at]


def _answer_all(session: Session, view: memoryview, write_fd: int) -> int:
    """Answer every whole packet in `view`; return where the next one begins, -1 to end."""
    replies: list[bytes] = []
    waiting = at = 0
    while len(view) - at >= 4:
        length = int.from_bytes(view[at : at + 4], "big")
        if not 0 < length <= MAX_PACKET_BYTES:
            at = -1  # where the next packet begins can no longer be told
            break
        if at + 4 + length > len(view):
            break
        reply = session.answer(bytes(view[at + 4 : at + 4 + length]))
        at += 4 + length
        replies += (len(reply).to_bytes(4, "big"), reply)
        waiting += len(reply)
        if waiting >= _FLUSH_BYTES:
            _send(write_fd, replies)
            replies, waiting = [], 0
    _send(write_fd, replies)
    return at


def _send(write_fd: int, pieces: list[bytes]) -> None:
    rest = memoryview(b"".join(pieces))
    while rest:
        rest = rest[os.write(write_fd, rest) :]


class _File:
    """An open file."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    def close(self) -> None:
        descriptor, self.descriptor = self.descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


class _Listing:
    """A directory that is being read, page by page."""

    def __init__(self, path: bytes) -> None:
        self._entries = os.scandir(path)
        self._first: list[bytes] = [b".", b".."]
        self._path = path

    def page(self) -> list[bytes]:
        """Return the next entries; an empty page is the end."""
        now = time.time()
        page: list[bytes] = []
        size = 0
        while self._first:
            name = self._first.pop(0)
            page.append(wire.entry(name, _stat_or_none(os.path.join(self._path, name)), now))  # noqa: PTH118
        for found in self._entries:
            try:
                attributes = found.stat(follow_symlinks=False)
            except OSError:
                attributes = None
            page.append(wire.entry(found.name, attributes, now))
            size += len(page[-1])
            if size >= _PAGE_BYTES:
                break
        return page

    def close(self) -> None:
        self._entries.close()


def _stat_or_none(path: bytes) -> os.stat_result | None:
    try:
        return os.lstat(path)
    except OSError:
        return None


class Session:
    """One client's requests and the handles it holds. `close` it in every case."""

    def __init__(self, start_dir: str, client_version: str = "") -> None:
        self._names = Names(start_dir, client_version)
        self._handles: dict[bytes, _File | _Listing] = {}
        self._opened = 0
        self._has_begun = False
        self._max_handles = _handle_limit()
        self._operations: dict[int, Callable[[int, Fields], bytes]] = {
            **self._names.operations,
            wire.OPEN: self._open,
            wire.CLOSE: self._close,
            wire.READ: self._read,
            wire.WRITE: self._write,
            wire.FSTAT: self._fstat,
            wire.FSETSTAT: self._fsetstat,
            wire.OPENDIR: self._opendir,
            wire.READDIR: self._readdir,
            wire.EXTENDED: self._extended,
        }
        self._extensions: dict[bytes, Callable[[int, Fields], bytes]] = {
            **self._names.extensions,
            b"fsync@openssh.com": self._fsync,
            b"fstatvfs@openssh.com": self._fstatvfs,
            b"limits@openssh.com": self._limits,
        }

    def answer(self, packet: bytes) -> bytes:
        """Return the reply to one packet; whatever goes wrong is a status."""
        kind = packet[0] if packet else 0
        if kind == wire.INIT and not self._has_begun:
            self._has_begun = True
            offered = b"".join(wire.text(name) + wire.text(value) for name, value in _EXTENSIONS)
            return b"%c\0\0\0\3%b" % (wire.VERSION, offered)
        request = 0
        try:
            fields = Fields(packet)
            request = fields.u32()
            operation = self._operations.get(kind)
            if operation is None:
                return wire.status(request, wire.OP_UNSUPPORTED, f"no request of type {kind}")
            if not self._has_begun:
                return wire.status(request, wire.FAILURE, "the session has not begun")
            return operation(request, fields)
        except Exception as error:
            return wire.failure(request, error)

    def close(self) -> None:
        """Close every handle."""
        while self._handles:
            _, held = self._handles.popitem()
            try:
                held.close()
            except OSError:
                continue

    def _hold(self, request: int, held: _File | _Listing) -> bytes:
        self._opened += 1
        name = b"%d" % self._opened
        self._handles[name] = held
        return wire.handle(request, name)

    def _check_handles(self) -> None:
        if len(self._handles) >= self._max_handles:
            raise OSError(errno.EMFILE, "too many open handles")

    def _file(self, fields: Fields) -> int:
        held = self._handles.get(fields.string())
        if not isinstance(held, _File):
            raise OSError(errno.EBADF, "no such file handle")
        return held.descriptor

    # Files

    def _open(self, request: int, fields: Fields) -> bytes:
        path, asked, wanted = self._names.path(fields), fields.u32(), fields.attrs()
        self._check_handles()
        flags = _OPEN_ALWAYS | _access(asked)
        if asked & _APPEND:
            flags |= os.O_APPEND
        if asked & _CREATE:
            flags |= os.O_CREAT
            if asked & _EXCLUSIVE:
                flags |= os.O_EXCL
        if asked & _TRUNCATE:
            flags |= os.O_TRUNC
        mode = 0o666 if wanted.mode is None else wanted.mode
        return self._hold(request, _File(os.open(path, flags, mode)))

    def _close(self, request: int, fields: Fields) -> bytes:
        held = self._handles.pop(fields.string(), None)
        if held is None:
            raise OSError(errno.EBADF, "no such handle")
        held.close()
        return wire.status(request, wire.OK)

    def _read(self, request: int, fields: Fields) -> bytes:
        descriptor, offset, length = self._file(fields), fields.u64(), fields.u32()
        length = min(length, MAX_DATA_BYTES)
        try:
            value = os.pread(descriptor, length, offset)
        except OSError as error:
            if error.errno != errno.ESPIPE:
                raise
            value = os.read(descriptor, length)
        if not value and length:
            return wire.status(request, wire.EOF, "end of file")
        return wire.data(request, value)

    def _write(self, request: int, fields: Fields) -> bytes:
        descriptor, offset, value = self._file(fields), fields.u64(), fields.string()
        rest = memoryview(value)
        while rest:
            try:
                written = os.pwrite(descriptor, rest, offset)
            except OSError as error:
                if error.errno != errno.ESPIPE:
                    raise
                written = os.write(descriptor, rest)
            rest = rest[written:]
            offset += written
        return wire.status(request, wire.OK)

    def _fsync(self, request: int, fields: Fields) -> bytes:
        os.fsync(self._file(fields))
        return wire.status(request, wire.OK)

    # Attributes

    def _fstat(self, request: int, fields: Fields) -> bytes:
        return wire.attrs(request, os.fstat(self._file(fields)))

    def _fsetstat(self, request: int, fields: Fields) -> bytes:
        apply(self._file(fields), fields.attrs())
        return wire.status(request, wire.OK)

    # Directories

    def _opendir(self, request: int, fields: Fields) -> bytes:
        path = self._names.path(fields)
        self._check_handles()
        return self._hold(request, _Listing(path))

    def _readdir(self, request: int, fields: Fields) -> bytes:
        held = self._handles.get(fields.string())
        if not isinstance(held, _Listing):
            raise OSError(errno.EBADF, "no such directory handle")
        page = held.page()
        if not page:
            return wire.status(request, wire.EOF, "end of directory")
        return wire.names(request, page)

    # Extensions

    def _extended(self, request: int, fields: Fields) -> bytes:
        name = fields.string()
        operation = self._extensions.get(name)
        if operation is None:
            return wire.status(request, wire.OP_UNSUPPORTED, "no such extension")
        return operation(request, fields)

    def _fstatvfs(self, request: int, fields: Fields) -> bytes:
        return file_system(request, os.fstatvfs(self._file(fields)))

    def _limits(self, request: int, fields: Fields) -> bytes:
        data = MAX_DATA_BYTES
        return wire.extended_reply(request, MAX_PACKET_BYTES, data, data, self._max_handles)


def _handle_limit() -> int:
    try:
        allowed = os.sysconf("SC_OPEN_MAX") - _SPARE_DESCRIPTORS
    except (OSError, ValueError):
        return 64
    # A listing takes one descriptor, as a file does.
    return max(8, min(MAX_HANDLES, allowed))


def _access(asked: int) -> int:
    if asked & _WRITE or asked & _APPEND:
        return os.O_RDWR if asked & _READ else os.O_WRONLY
    return os.O_RDONLY
