"""Pack a context into one file that depends on its contents alone, and unpack a stranger's safely.

What unpacks trusts nothing in the file: names, links, kinds, counts and sizes are all checked
before anything of an entry is written, and no link is followed or made until all files are there.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import os
import shutil
import tarfile
import zlib
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any, Protocol, cast

from hud._core.errors import InputError, bounded
from hud.packaging.context import Context, Entry, Limits

_CHUNK = 1 << 20
_HEADER_BYTES = 64 << 10  # of one extended header; names are far shorter
_COMPRESSION = 6
_EXTENDED = (
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)
_BLOCK = 512


@dataclass(frozen=True, slots=True)
class Packed:
    """A packed context.

    Attributes:
        sha256: Of the file.
        source_hash: SHA-256 of what is in it, whatever packed and compressed it.
        size: Bytes of the file.
    """

    path: Path
    sha256: str
    source_hash: str
    size: int


def source_hash(context: Context) -> str:
    """Return the hash that a packed context has, without packing it."""
    sink = _Hashing(None)
    _write(context, sink)
    return sink.digest()


def pack(context: Context, to: str | Path) -> Packed:
    """Write a context as a gzip tar: the same contents give the same bytes. Blocks.

    Raises:
        InputError: when a file of it changed or went away meanwhile, or `to` cannot be written.
    """
    path = Path(to)
    try:
        with path.open("wb") as raw:
            outer = _Hashing(raw)
            with gzip.GzipFile(
                filename="", mode="wb", fileobj=outer, compresslevel=_COMPRESSION, mtime=0
            ) as zipped:
                inner = _Hashing(zipped)
                _write(context, inner)
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror or error}") from error
    return Packed(path, outer.digest(), inner.digest(), outer.written)


class _Writable(Protocol):
    def write(self, data: bytes, /) -> object: ...


class _Hashing(io.RawIOBase):
    """Hash and count what is written, on its way to a file or to nowhere."""

    def __init__(self, to: _Writable | None) -> None:
        self._to = to
        self._hash = hashlib.sha256()
        self.written = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        taken = bytes(data)
        self._hash.update(taken)
        self.written += len(taken)
        if self._to is not None:
            self._to.write(taken)
        return len(taken)

    def tell(self) -> int:
        return self.written

    def digest(self) -> str:
        return self._hash.hexdigest()


def _write(context: Context, sink: _Hashing) -> None:
    with tarfile.open(fileobj=sink, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for entry in context.entries:
            header = tarfile.TarInfo(entry.name)
            header.mode = 0o755 if entry.kind == "folder" or entry.is_executable else 0o644
            if entry.kind == "file":
                _add_file(tar, header, context.root / entry.name, entry)
            else:
                header.type = tarfile.DIRTYPE if entry.kind == "folder" else tarfile.SYMTYPE
                header.linkname = entry.target
                tar.addfile(header)


def _add_file(tar: tarfile.TarFile, header: tarfile.TarInfo, path: Path, entry: Entry) -> None:
    header.size = entry.size
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        with os.fdopen(fd, "rb") as file:
            tar.addfile(header, file)
            if not file.read(1):
                return
    except OSError as error:
        raise InputError(
            f"{bounded(entry.name, 300)} changed while it was packed ({error})",
            hint="pack it again once nothing writes there",
        ) from error
    raise InputError(
        f"{bounded(entry.name, 300)} grew while it was packed",
        hint="pack it again once nothing writes there",
    )


def unpack(archive: str | Path, into: str | Path, limits: Limits | None = None) -> Path:
    """Unpack a gzip tar from a stranger into the new folder `into`, and return that. Blocks.

    Only files, folders and links that stay inside come out of it; modes are 644 and 755. Whatever
    is refused, nothing of it stays.

    Raises:
        InputError: when the archive is no such file, is damaged, too large, or holds a path or
            link that leads out of the folder, a device, or the same path twice.
    """
    target = Path(into)
    target.mkdir(mode=0o700)
    try:
        _Unpacking(target, limits or Limits()).run(Path(archive))
    except BaseException:
        shutil.rmtree(target, ignore_errors=True)
        raise
    target.chmod(0o755)
    return target


class _Header(tarfile.TarInfo):
    """A header whose extensions cannot fill the memory."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str | None, errors: str) -> _Header:
        made = super().frombuf(buf, encoding or "utf-8", errors)
        if made.type in _EXTENDED and not 0 <= made.size <= _HEADER_BYTES:
            raise InputError("the archive has a header that is too long")
        if made.type == tarfile.GNUTYPE_SPARSE or made.size < 0:
            raise InputError("the archive holds a sparse file, which is refused")
        return made


class _Bounded(io.RawIOBase):
    """Read what a gzip file unpacks to, and no more than is allowed of it."""

    def __init__(self, inner: IO[bytes], limit: int) -> None:
        self._inner = inner
        self._left = limit

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> bytes:
        data = self._inner.read(_CHUNK if size < 0 else min(size, _CHUNK))
        self._left -= len(data)
        if self._left < 0:
            raise InputError("the archive unpacks to more than is allowed")
        return data


class _Unpacking:
    """One archive on its way into a folder."""

    def __init__(self, target: Path, limits: Limits) -> None:
        self._target = target
        self._limits = limits
        self._seen: dict[str, str] = {}
        self._links: list[tuple[str, str]] = []
        self._bytes = 0

    def run(self, archive: Path) -> None:
        with _readable_errors(), gzip.open(archive, "rb") as zipped:
            # Headers and padding come on top of what the files hold.
            room = self._limits.total_bytes + 4 * _BLOCK * (self._limits.files + 64)
            stream = _Bounded(cast("IO[bytes]", zipped), room)
            with tarfile.open(
                fileobj=cast("IO[bytes]", stream), mode="r|", tarinfo=_Header, bufsize=20 * _BLOCK
            ) as tar:
                for header in tar:
                    self._take(tar, header)
                    # What it has seen already would otherwise grow with the archive.
                    cast("Any", tar).members = []
            while stream.read(_CHUNK):
                pass
        self._make_links()

    def _take(self, tar: tarfile.TarFile, header: tarfile.TarInfo) -> None:
        name = self._place(header)
        if name is None:
            return
        path = self._target / name
        if header.isdir():
            self._folder(name)
        elif header.isreg() and not header.issparse():
            self._parents(name)
            self._file(tar, header, path)
        elif header.issym():
            self._parents(name)
            self._links.append((name, header.linkname))
        elif header.islnk():
            self._parents(name)
            self._hard_link(name, header.linkname)
        else:
            raise InputError(
                f"the archive holds {bounded(name, 200)!r}, which is no file, folder or link"
            )
        if not header.isdir():
            self._seen[name] = "link" if header.issym() else "file"

    def _place(self, header: tarfile.TarInfo) -> str | None:
        """Return an entry's path inside, None for the folder itself."""
        name = _inside(header.name)
        if name is None:
            raise InputError(
                f"the archive holds the path {bounded(header.name, 200)!r}, which leads out of it"
            )
        if name == ".":
            if not header.isdir():
                raise InputError("the archive's top is no folder")
            return None
        held = self._seen.get(name)
        if held is not None and not (held == "folder" and header.isdir()):
            raise InputError(f"the archive holds {bounded(name, 200)!r} twice")
        if len(PurePosixPath(name).parts) > self._limits.depth:
            raise InputError(f"the archive nests deeper than {self._limits.depth} folders")
        self._count()
        return name

    def _count(self) -> None:
        if len(self._seen) + 1 > self._limits.files:
            raise InputError(f"the archive holds more than {self._limits.files} entries")

    def _parents(self, name: str) -> None:
        parent = str(PurePosixPath(name).parent)
        if parent != ".":
            self._folder(parent)

    def _folder(self, name: str) -> None:
        held = self._seen.get(name)
        if held == "folder":
            return
        if held is not None:
            raise InputError(f"the archive puts something below {bounded(name, 200)!r}, a {held}")
        self._parents(name)
        self._count()
        self._seen[name] = "folder"
        (self._target / name).mkdir(mode=0o755)

    def _file(self, tar: tarfile.TarFile, header: tarfile.TarInfo, path: Path) -> None:
        self._bytes += header.size
        if self._bytes > self._limits.total_bytes:
            raise InputError(f"the archive unpacks to over {self._limits.total_bytes >> 20} MB")
        source = tar.extractfile(header)
        assert source is not None
        mode = 0o755 if header.mode & 0o100 else 0o644
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with source, os.fdopen(os.open(path, flags, mode), "wb") as file:
            while chunk := source.read(_CHUNK):
                file.write(chunk)
        path.chmod(mode)

    def _hard_link(self, name: str, target: str) -> None:
        held = _inside(target)
        if held is None or self._seen.get(held) != "file":
            raise InputError(
                f"the archive's link {bounded(name, 200)!r} leads to {bounded(target, 200)!r}, "
                "which is no file of it"
            )
        os.link(self._target / held, self._target / name, follow_symlinks=False)

    def _make_links(self) -> None:
        """Make the symbolic links and look where each leads, one through the other."""
        for name, target in self._links:
            if not target or len(target) > 4096 or "\0" in target:
                raise InputError(f"the archive's link {bounded(name, 200)!r} leads nowhere")
            os.symlink(target, self._target / name)  # noqa: PTH211 -- the text as it is
        root = os.path.realpath(self._target)
        for name, target in self._links:
            real = os.path.realpath(self._target / name)
            if target.startswith("/") or not (real == root or real.startswith(f"{root}/")):
                raise InputError(
                    f"the archive's link {bounded(name, 200)!r} leads out of it, "
                    f"to {bounded(target, 200)!r}"
                )


def _inside(name: str) -> str | None:
    """Return a path as it reads inside the archive, or None when it leads out of it."""
    if not name or name.startswith("/") or "\0" in name or len(name) > 4096:
        return None
    try:
        name.encode()
    except UnicodeEncodeError:
        return None
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in parts or any(len(part.encode()) > 255 for part in parts):
        return None
    return "/".join(parts) or "."


@contextlib.contextmanager
def _readable_errors() -> Generator[None]:
    """Map whatever a damaged or hostile file makes the standard library raise."""
    try:
        yield
    except (EOFError, zlib.error, gzip.BadGzipFile, tarfile.TarError) as error:
        raise InputError(f"the archive is no gzip tar, or is damaged: {error}") from error
    except (RecursionError, ValueError, OverflowError, MemoryError) as error:
        raise InputError(f"the archive is damaged: {type(error).__name__}") from error
    except OSError as error:
        raise InputError(f"the archive cannot be unpacked: {error.strerror or error}") from error
