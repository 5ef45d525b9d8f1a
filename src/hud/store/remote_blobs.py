"""Blobs in an object store, or wherever else fsspec reaches: `s3://BUCKET/PREFIX`.

Contents are uploaded before the rows that name them are committed, several at once. Where the
store is and with which key it is reached is the environment's to say (`AWS_ENDPOINT_URL`,
`AWS_ACCESS_KEY_ID`, … for S3).
"""

from __future__ import annotations

import importlib
import threading
import time
from collections.abc import Generator, Mapping
from typing import Any, cast

from hud._core.errors import InputError, StoreError, bounded
from hud._core.redact import redact
from hud.store.blobs import BlobFile, check_name, verified

_FRESH_S = 600.0
_REMEMBERED = 10_000
_EXTRAS = {
    "s3": "s3fs",
    "s3a": "s3fs",
    "gs": "gcsfs",
    "gcs": "gcsfs",
    "az": "adlfs",
    "abfs": "adlfs",
}


class RemoteBlobs:
    """Blobs under `url`.

    Raises:
        InputError: when `url` cannot be understood.
        StoreError: when what reaches such a place is not installed.
    """

    def __init__(self, url: str) -> None:
        self.where = bounded(redact(url.rstrip("/")), 300)
        self._files, self._root = _opened(url, self.where)
        self._lock = threading.Lock()
        self._written: dict[str, float] = {}

    def write_all(self, contents: Mapping[str, bytes]) -> None:
        fresh = self._not_written_lately(contents)
        if not fresh:
            return
        try:
            self._files.pipe({self._path(sha256): contents[sha256] for sha256 in fresh})
        except Exception as error:  # every object store has its own
            raise self._error("written", error) from error
        now = time.monotonic()
        with self._lock:
            for sha256 in fresh:
                self._written[sha256] = now
            while len(self._written) > _REMEMBERED:
                del self._written[next(iter(self._written))]

    def read(self, sha256: str) -> bytes:
        return verified(self._read(sha256), sha256, self.where)

    def read_part(self, sha256: str, start: int, stop: int) -> bytes:
        return self._read(sha256, start=start, end=stop)

    def files(self) -> Generator[BlobFile]:
        try:
            self._files.invalidate_cache()
            found: dict[str, dict[str, Any]] = self._files.find(self._root, detail=True)
        except FileNotFoundError:
            return
        except Exception as error:
            raise self._error("listed", error) from error
        for path, info in found.items():
            sha256 = "".join(path.rsplit("/", 2)[-2:])
            changed: Any = info.get("LastModified") or info.get("mtime") or info.get("created")
            if changed is not None:
                when = changed if isinstance(changed, int | float) else changed.timestamp()
                yield BlobFile(sha256, int(info.get("size") or 0), when)

    def delete(self, sha256: str, unchanged_since: float) -> bool:
        path = self._path(sha256)
        with self._lock:
            self._written.pop(sha256, None)
        try:
            changed: Any = self._files.modified(path)
            if changed.timestamp() >= unchanged_since:
                return False
            self._files.rm_file(path)
        except FileNotFoundError:
            return False
        except Exception as error:
            raise self._error("deleted", error) from error
        return True

    def _read(self, sha256: str, **part: int) -> bytes:
        path = self._path(sha256)
        try:
            return cast("bytes", self._files.cat_file(path, **part))
        except FileNotFoundError as error:
            raise StoreError(f"the blob {sha256} is missing from {self.where}") from error
        except Exception as error:
            raise self._error("read", error) from error

    def _path(self, sha256: str) -> str:
        check_name(sha256)
        return f"{self._root}/{sha256[:2]}/{sha256[2:]}"

    def _not_written_lately(self, contents: Mapping[str, bytes]) -> list[str]:
        since = time.monotonic() - _FRESH_S
        with self._lock:
            return [one for one in contents if self._written.get(one, since) <= since]

    def _error(self, what: str, error: Exception) -> StoreError:
        said = bounded(redact(str(error)), 200)
        return StoreError(
            f"the blobs in {self.where} cannot be {what}: {type(error).__name__}: {said}",
            hint="check that it can be reached, and the key it is reached with",
        )


def _opened(url: str, where: str) -> tuple[Any, str]:
    core: Any = importlib.import_module("fsspec.core")  # only where blobs are elsewhere
    scheme = url.partition("://")[0]
    try:
        files, root = core.url_to_fs(url, skip_instance_cache=True, use_listings_cache=False)
    except ImportError as error:
        package = _EXTRAS.get(scheme, scheme)
        extra = "hud-python[s3]" if package == "s3fs" else package
        raise StoreError(
            f"blobs in {where} need the package {package}, which is not installed",
            hint=f"pip install '{extra}'",
        ) from error
    except ValueError as error:
        raise InputError(
            f"blobs cannot be kept in {where}: fsspec knows no {bounded(scheme, 40)!r}",
            hint="s3://BUCKET/PREFIX, or leave it out for a folder",
        ) from error
    return files, str(root).rstrip("/")
