"""Deleting blobs that no step refers to any more, while others record.

What was stored or stored again lately is left alone. So a blob that somebody is about to refer to
stays: its content is written, and its age made new, before the row that refers to it.
"""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Generator
from dataclasses import dataclass

from hud._core.errors import InputError, StoreError
from hud.store.base import Store
from hud.store.engine import Connection
from hud.store.sql_store import SqlStore
from hud.store.sqlite_engine import SqliteEngine
from hud.store.upkeep.parts import Progress, alone, parts_of

GRACE_S = 24 * 3600.0
"""How long a blob is kept after it was stored last, whether anybody refers to it or not."""

LEAST_GRACE_S = 3600.0
"""What is stored over and over is dated anew every ten minutes only."""

_REFERENCE = re.compile(r'"\$blob":"([0-9a-f]{64})"')
_PAGE = 500
_STEPS = """
SELECT team, run_id, seq, payload FROM steps
WHERE has_blobs = 1 AND (team, run_id, seq) > (?, ?, ?) ORDER BY team, run_id, seq LIMIT ?
"""
_DEBUG_SPANS = """
SELECT team, run_id, span_id, payload FROM debug_spans
WHERE has_blobs = 1 AND (team, run_id, span_id) > (?, ?, ?) ORDER BY team, run_id, span_id LIMIT ?
"""
_ROWS = """
SELECT team, sha256, created_at FROM blobs
WHERE (team, sha256) > (?, ?) ORDER BY team, sha256 LIMIT ?
"""
_FORGET = "DELETE FROM blobs WHERE team = ? AND sha256 = ? AND created_at < ?"


@dataclass(frozen=True, slots=True)
class Collected:
    """What was collected: contents, their size, and how many times a team had one of them."""

    files: int
    size_bytes: int
    rows: int


def collect_garbage(
    store: Store,
    *,
    grace_s: float = GRACE_S,
    dry_run: bool = False,
    progress: Progress | None = None,
) -> Collected:
    """Delete the blobs that no step and no span of a team refers to.

    Args:
        grace_s: What was stored within so many seconds stays, an hour at least: a batch that is
            being written while this runs has to be younger.
        dry_run: Only count.

    Raises:
        InputError: when `grace_s` is too short.
        StoreError: when the store cannot be read or written; nothing that is referred to is gone.
    """
    if grace_s < LEAST_GRACE_S:
        raise InputError(
            f"blobs can be collected {LEAST_GRACE_S:g} s after they were stored, "
            f"not after {grace_s:g} s"
        )
    parts = parts_of(store)
    with contextlib.ExitStack() as held:
        if isinstance(parts.engine, SqliteEngine):
            held.enter_context(alone(parts.engine.path.parent))
        try:
            connection = held.enter_context(contextlib.closing(parts.engine.connect()))
            return _collect(parts, connection, _now() - grace_s, dry_run, progress)
        except StoreError:
            raise
        except Exception as error:
            raise parts.engine.error(error) from error


def _collect(
    parts: SqlStore,
    connection: Connection,
    before: float,
    dry_run: bool,
    progress: Progress | None,
) -> Collected:
    needed = set(_references(connection))
    before_us = int(before * 1_000_000)
    kept: set[bytes] = set()
    rows = 0
    for team, sha256, stored_at in _blob_rows(connection):
        is_needed = (team, sha256) in needed or stored_at >= before_us
        # Asked again as it is deleted: somebody may have stored it since.
        if not is_needed and (dry_run or connection.change(_FORGET, (team, sha256, before_us))):
            rows += 1
        else:
            kept.add(bytes.fromhex(sha256))
    files = size = 0
    found = [one for one in parts.blobs.files() if one.changed_at < before]
    for done, one in enumerate(found, 1):
        is_old = bytes.fromhex(one.sha256) not in kept
        if is_old and (dry_run or parts.blobs.delete(one.sha256, before)):
            files, size = files + 1, size + one.size_bytes
        if progress is not None:
            progress(done, len(found))
    return Collected(files, size, rows)


def _now() -> float:
    return time.time()


def _references(connection: Connection) -> Generator[tuple[str, str]]:
    for sql, last in ((_STEPS, 0), (_DEBUG_SPANS, "")):
        after: tuple[str, str, int | str] = ("", "", last)
        while page := connection.query(sql, (*after, _PAGE)):
            for team, _, _, payload in page:
                for sha256 in _REFERENCE.findall(payload):
                    yield team, sha256
            after = page[-1][:3]


def _blob_rows(connection: Connection) -> Generator[tuple[str, str, int]]:
    after = ("", "")
    while page := connection.query(_ROWS, (*after, _PAGE)):
        yield from page
        after = page[-1][:2]
