"""Replies of models in files, so that running the same evaluation again costs nothing.

What names a reply is its call's key; when to look is `calling`'s part. Replies are kept as the
model gave them, nothing is redacted: files and folders are readable by their owner only.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import random
import re
import stat
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import msgspec

from hud._core import json
from hud._core.errors import InputError, bounded
from hud._core.paths import hud_home

VARIABLE = "HUD_MODEL_CACHE"
LIMIT_BYTES = 2 << 30
_ENTRY_LIMIT_BYTES = 64 << 20
_FORMAT = 1
_KEPT = 0.9
_CHECKS_PER_LIMIT = 32
_STALE_S = 3600.0
_KEY = re.compile(r"[0-9a-f]{64}")
_FOLDER_NAME = re.compile(r"[0-9a-f]{2}")
_FILE_NAME = re.compile(r"[0-9a-f]{62}\.json")
_NEW = ".new-"
_NOT_BLOCKING = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)

_log = logging.getLogger(__name__)


class _Entry(msgspec.Struct):
    """A file: the digest tells a whole one from what a crash or somebody else left."""

    format: int
    key: str
    sha256: str
    body: msgspec.Raw


_entries = msgspec.json.Decoder(_Entry)


@dataclass(frozen=True, slots=True)
class CacheSize:
    """How much a cache holds."""

    entries: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class _File:
    path: Path
    size_bytes: int
    used_at: float
    is_entry: bool


class ResponseCache:
    """A folder of replies, safe for several threads and processes at once.

    An entry is there whole or not at all. Files that are not its own are left alone. Beyond its
    limit, which is looked after now and then, what was not used for longest goes.

    Args:
        folder: Made when something is kept; entries lie in `ab/cdef….json` by key.
        limit_bytes: What all entries may take together.
    """

    def __init__(self, folder: Path, *, limit_bytes: int = LIMIT_BYTES) -> None:
        self.folder = folder
        self.limit_bytes = limit_bytes
        # Begins anywhere, so that many short processes together check as often as one long one.
        self._until_check = random.random() * limit_bytes / _CHECKS_PER_LIMIT
        self._checking = threading.Lock()
        self._has_complained = False

    def read(self, key: str) -> dict[str, Any] | None:
        """Return the reply under `key`; None when there is none, or none that is whole."""
        path = self._path(key)
        try:
            entry = _entries.decode(_content(path))
            body = bytes(entry.body)
            if (entry.format, entry.key) != (_FORMAT, key) or entry.sha256 != _sha256(body):
                return None
            reply = json.decode(body)
        except (OSError, ValueError):
            return None
        with contextlib.suppress(OSError):
            os.utime(path)
        return cast("dict[str, Any]", reply) if isinstance(reply, dict) else None

    def write(self, key: str, reply: dict[str, Any]) -> bytes | None:
        """Keep a reply under `key` and return its JSON; None when it has none.

        A disk that does not take it is told to the log, once: the reply is not lost by that.
        """
        try:
            body = json.encode(reply)
        except (TypeError, ValueError, OverflowError):
            return None
        entry = _Entry(_FORMAT, key, _sha256(body), msgspec.Raw(body))
        data = msgspec.json.encode(entry)
        if len(data) > _ENTRY_LIMIT_BYTES:
            return body
        try:
            self._replace(self._path(key), data)
            self._until_check -= len(data)
            if self._until_check <= 0:
                self._until_check = self.limit_bytes / _CHECKS_PER_LIMIT
                self.trim()
        except OSError as error:
            if not self._has_complained:
                self._has_complained = True
                _log.warning("model replies cannot be kept in %s: %s", self.folder, error)
        return body

    def trim(self) -> None:
        """Remove the oldest used entries if all together take more than the limit."""
        if not self._checking.acquire(blocking=False):
            return
        try:
            self._trim()
        finally:
            self._checking.release()

    def size(self) -> CacheSize:
        """Count the entries and what they take on disk."""
        sizes = [file.size_bytes for file in self._files() if file.is_entry]
        return CacheSize(len(sizes), sum(sizes))

    def clear(self) -> int:
        """Remove every entry and return how many there were."""
        removed = 0
        for file in self._files():
            with contextlib.suppress(OSError):
                file.path.unlink()
                removed += file.is_entry
        return removed

    def _path(self, key: str) -> Path:
        if _KEY.fullmatch(key) is None:
            raise ValueError(f"{bounded(key)!r} is not the key of a model call")
        return self.folder / key[:2] / f"{key[2:]}.json"

    def _replace(self, path: Path, data: bytes) -> None:
        folder = path.parent
        if not folder.is_dir():
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            folder.mkdir(mode=0o700, exist_ok=True)
        # mkstemp gives mode 0600. Nothing is flushed to the disk: after a power cut the digest
        # tells what did not get there.
        handle, temporary = tempfile.mkstemp(dir=folder, prefix=_NEW)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
            Path(temporary).replace(path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise

    def _trim(self) -> None:
        stale = time.time() - _STALE_S
        entries: list[_File] = []
        for file in self._files():
            if file.is_entry:
                entries.append(file)
            elif file.used_at < stale:
                file.path.unlink(missing_ok=True)
        total = sum(file.size_bytes for file in entries)
        if total <= self.limit_bytes:
            return
        entries.sort(key=lambda file: file.used_at)
        for file in entries:
            if total <= self.limit_bytes * _KEPT:
                return
            with contextlib.suppress(OSError):
                file.path.unlink(missing_ok=True)
                total -= file.size_bytes

    def _files(self) -> Iterator[_File]:
        """Yield the files that this cache has written, half-written ones included."""
        for folder in _listed(self.folder):
            if not _FOLDER_NAME.fullmatch(folder.name) or not folder.is_dir(follow_symlinks=False):
                continue
            for held in _listed(Path(folder.path)):
                is_entry = _FILE_NAME.fullmatch(held.name) is not None
                if not is_entry and not held.name.startswith(_NEW):
                    continue
                with contextlib.suppress(OSError):
                    found = held.stat(follow_symlinks=False)
                    if stat.S_ISREG(found.st_mode):
                        yield _File(Path(held.path), found.st_size, found.st_mtime, is_entry)


def parse_cache_setting(value: str) -> ResponseCache | None:
    """Return the cache that a setting names: `1` for the folder in HUD_HOME, or a folder's path.

    Raises:
        InputError: when the value is neither, or the folder cannot be made.
        StoreError: when HUD_HOME cannot be made.
    """
    value = value.strip()
    match value.lower():
        case "" | "0" | "false" | "no" | "off":
            return None
        case "1" | "true" | "yes" | "on":
            folder = hud_home() / "cache" / "models"
        case _ if value.startswith(("~", ".")) or os.sep in value:
            folder = Path(value).expanduser().absolute()
        case _:
            raise InputError(
                f"{VARIABLE}: {bounded(value)!r} is neither 1 nor a folder",
                hint="write 1, 0, or a path with a slash: ./cache",
            )
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK | os.X_OK):
            raise PermissionError(13, "Permission denied")
    except OSError as error:
        raise InputError(
            f"{VARIABLE}: the folder {bounded(str(folder), 300)} cannot be used: {error.strerror}",
            hint="name a folder this user can write to",
        ) from error
    return ResponseCache(folder)


def _content(path: Path) -> bytes:
    """Return what a regular file of bearable size holds; nothing else is waited for or followed."""
    with open(os.open(path, _NOT_BLOCKING), "rb") as file:  # noqa: PTH123 -- opened by handle
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode) or found.st_size > _ENTRY_LIMIT_BYTES:
            raise ValueError("not an entry")
        return file.read(_ENTRY_LIMIT_BYTES)


def _listed(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as found:
            return list(found)
    except OSError:
        return []


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
