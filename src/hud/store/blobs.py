"""Content-addressed bytes: under the SHA-256 of what they are, in a folder or somewhere else.

A blob is there completely or not at all, is never changed, and is readable by its owner only.
Which blobs belong to which team is in the database.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import tempfile
import time
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from hud._core.errors import StoreError, bounded
from hud.store.errors import store_error

_ASIDE = ".old-"
_HALF_DONE_S = 3_600.0
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class BlobFile:
    """One blob as it is kept; `changed_at` is when it was written last, in epoch seconds."""

    sha256: str
    size_bytes: int
    changed_at: float


class Blobs(Protocol):
    """Where the contents of blobs are. Every method may be called from any thread or process.

    Attributes:
        where: What a message calls the place; holds no secret.
    """

    where: str

    def write_all(self, contents: Mapping[str, bytes]) -> None:
        """Keep `contents`, each under its SHA-256, durably; keeping one again costs little.

        Raises whatever the storage raises; `StoreError` where that can be told.
        """
        ...

    def read(self, sha256: str) -> bytes:
        """Return the content of the blob `sha256`, verified.

        Raises:
            StoreError: when the blob is missing or its content is not what its name says.
        """
        ...

    def read_part(self, sha256: str, start: int, stop: int) -> bytes:
        """Return the bytes from `start` to before `stop`, which nothing verifies.

        Raises:
            StoreError: when the blob is missing.
        """
        ...

    def files(self) -> Iterator[BlobFile]:
        """Yield everything that is kept."""
        ...

    def delete(self, sha256: str, unchanged_since: float) -> bool:
        """Delete a blob unless somebody wrote it again after `unchanged_since` (epoch seconds).

        Returns whether it was deleted.
        """
        ...


def check_name(sha256: str) -> str:
    """Return `sha256` when it is the name of a blob, so that no path can be made of it.

    Raises:
        StoreError: when it is not 64 lower-case hex digits.
    """
    if _SHA256.fullmatch(sha256) is None:
        raise StoreError(f"{bounded(sha256)!r} is not the name of a blob")
    return sha256


def verified(content: bytes, sha256: str, where: str) -> bytes:
    """Return `content` when it is what its name says.

    Raises:
        StoreError: when it is not.
    """
    if hashlib.sha256(content).hexdigest() != sha256:
        raise StoreError(
            f"the blob {sha256} in {where} is damaged",
            hint="restore the file from a backup or delete it",
        )
    return content


class BlobFolder:
    """Blobs in a folder of this machine: `blobs/` of a store."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.where = bounded(str(root), 300)

    def path(self, sha256: str) -> Path:
        """Return where the blob `sha256` lies, whether it exists or not.

        Raises:
            StoreError: when `sha256` is not 64 lower-case hex digits.
        """
        check_name(sha256)
        return self.root / sha256[:2] / sha256[2:]

    def write_all(self, contents: Mapping[str, bytes]) -> None:
        for sha256, content in contents.items():
            self._write(sha256, content)

    def _write(self, sha256: str, content: bytes) -> None:
        path = self.path(sha256)
        try:
            # Its new age says to whoever collects what nobody refers to that somebody will soon.
            os.utime(path)
            if path.stat().st_size == len(content):
                return
        except FileNotFoundError:
            pass
        folder = path.parent
        fresh = not folder.is_dir()
        self.root.mkdir(mode=0o700, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=folder, prefix=".new-")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            Path(temporary).replace(path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
        _sync_folder(folder)
        if fresh:
            _sync_folder(self.root)

    def read(self, sha256: str) -> bytes:
        path = self.path(sha256)
        try:
            content = path.read_bytes()
        except FileNotFoundError as error:
            raise StoreError(f"the blob {sha256} is missing from {self.where}") from error
        except OSError as error:
            raise store_error(error, path) from error
        return verified(content, sha256, self.where)

    def read_part(self, sha256: str, start: int, stop: int) -> bytes:
        path = self.path(sha256)
        try:
            with path.open("rb") as file:
                file.seek(start)
                return file.read(max(stop - start, 0))
        except FileNotFoundError as error:
            raise StoreError(f"the blob {sha256} is missing from {self.where}") from error
        except OSError as error:
            raise store_error(error, path) from error

    def files(self) -> Generator[BlobFile]:
        self._tidy()
        for path in sorted(self.root.glob("??/*")):
            sha256 = path.parent.name + path.name
            if _SHA256.fullmatch(sha256) is not None:
                with contextlib.suppress(FileNotFoundError):
                    found = path.stat()
                    yield BlobFile(sha256, found.st_size, found.st_mtime)

    def _tidy(self) -> None:
        """Undo what processes left half done that were killed long ago."""
        before = time.time() - _HALF_DONE_S
        for path in self.root.glob("??/.*"):
            with contextlib.suppress(FileNotFoundError):
                if path.stat().st_ctime >= before:
                    continue
                if path.name.startswith(_ASIDE):
                    with contextlib.suppress(FileExistsError):
                        path.with_name(path.name.removeprefix(_ASIDE)).hardlink_to(path)
                path.unlink()

    def delete(self, sha256: str, unchanged_since: float) -> bool:
        path = self.path(sha256)
        aside = path.with_name(f"{_ASIDE}{path.name}")
        try:
            # Out of the way first: whoever writes it from now on makes it anew.
            path.rename(aside)
            if aside.stat().st_mtime < unchanged_since:
                aside.unlink()
                return True
            aside.rename(path)
        except FileNotFoundError:
            return False
        except OSError as error:
            raise store_error(error, path) from error
        return False


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
