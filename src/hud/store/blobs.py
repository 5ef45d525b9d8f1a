"""Content-addressed files: bytes under the SHA-256 of what they are.

A blob is there completely or not at all, is never changed, and is readable by its owner only.
Which blobs belong to which team is in the database.
"""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from pathlib import Path

from hud._core.errors import StoreError
from hud.store.errors import store_error

_SHA256 = re.compile(r"[0-9a-f]{64}")


class BlobFolder:
    """The folder `blobs/` of a store. Every method may be called from any thread or process."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def path(self, sha256: str) -> Path:
        """Return where the blob `sha256` lies, whether it exists or not.

        Raises:
            StoreError: when `sha256` is not 64 lower-case hex digits.
        """
        if _SHA256.fullmatch(sha256) is None:
            raise StoreError(f"{sha256!r} is not the name of a blob")
        return self.root / sha256[:2] / sha256[2:]

    def write(self, content: bytes) -> str:
        """Keep `content` durably and return its SHA-256; keeping it again costs a stat.

        Raises:
            OSError: when the disk is full or the folder cannot be written.
        """
        sha256 = hashlib.sha256(content).hexdigest()
        path = self.path(sha256)
        try:
            if path.stat().st_size == len(content):
                return sha256
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
        return sha256

    def read(self, sha256: str) -> bytes:
        """Return the content of the blob `sha256`.

        Raises:
            StoreError: when the blob is missing or its content is not what its name says.
        """
        path = self.path(sha256)
        try:
            content = path.read_bytes()
        except FileNotFoundError as error:
            raise StoreError(f"the blob {sha256} is missing from {self.root}") from error
        except OSError as error:
            raise store_error(error, path) from error
        if hashlib.sha256(content).hexdigest() != sha256:
            raise StoreError(
                f"the blob {sha256} in {self.root} is damaged",
                hint="restore the file from a backup or delete it",
            )
        return content


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
