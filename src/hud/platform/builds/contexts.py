"""Contexts that were uploaded: a place to put one into, opened once by a secret in its address.

The address carries no key of the team, because the clients that upload send none. It is good for
one upload within an hour, and only for that.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import hmac
import os
import secrets
import shutil
from collections.abc import AsyncIterable, Callable
from pathlib import Path
from typing import IO

from sqlalchemy import Connection, delete, func, insert, select, update

from hud._core.ids import is_id, new_id
from hud._core.paths import make_home
from hud.platform.accounts.keys import hashed
from hud.platform.builds.records import BuildStatus
from hud.platform.database import Database, now_us
from hud.platform.errors import ApiError
from hud.platform.registry import tables
from hud.platform.registry.naming import stored_id

OPEN_FOR_S = 3600
WAITING_AT_MOST = 100
"""Uploads that a team may have open at once."""

_FREE_BYTES = 512 * 1024 * 1024
_SUFFIX = ".tar.gz"
_table = tables.builds


class Contexts:
    """The folder that contexts wait in until they are built."""

    def __init__(self, home: Path) -> None:
        self._folder = home / "builds"

    def path(self, build_id: str) -> Path:
        """Return where the context of a build is."""
        if not is_id(build_id):
            raise ValueError(f"{build_id!r} is no id of a build")
        return self._folder / f"{build_id}{_SUFFIX}"

    def forget(self, build_id: str) -> None:
        """Remove the context of a build that has ended."""
        self.path(build_id).unlink(missing_ok=True)

    async def receive(
        self, build_id: str, body: AsyncIterable[bytes], close: Callable[[int], None]
    ) -> int:
        """Write what is uploaded to its place and return how many bytes it is.

        Args:
            build_id: Whose context it is.
            body: Its bytes.
            close: Told the size in a thread before the context takes its place; raises when it
                must not.

        Raises:
            ApiError: with status 507, when the disk is full.
        """
        await asyncio.to_thread(make_home, self._folder)
        partial = self._folder / f".{build_id}-{secrets.token_hex(4)}"
        try:
            with await asyncio.to_thread(partial.open, "xb") as file:
                size = await _write(file, body)
            await asyncio.to_thread(close, size)
            await asyncio.to_thread(partial.replace, self.path(build_id))
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise _no_room() from error
            raise
        finally:
            partial.unlink(missing_ok=True)
        return size

    def sweep(self, known: set[str]) -> int:
        """Remove contexts of builds that are not `known`, and what was broken off."""
        removed = 0
        with contextlib.suppress(FileNotFoundError):
            for path in self._folder.iterdir():
                is_partial = path.name.startswith(".")
                if is_partial or path.name.removesuffix(_SUFFIX) not in known:
                    path.unlink(missing_ok=True)
                    removed += 1
        return removed


async def _write(file: IO[bytes], body: AsyncIterable[bytes]) -> int:
    size = 0
    async for chunk in body:
        if not chunk:
            continue
        if size == 0 and shutil.disk_usage(Path(file.name).parent).free < _FREE_BYTES:
            raise _no_room()
        size += len(chunk)
        await asyncio.to_thread(file.write, chunk)
    file.flush()
    await asyncio.to_thread(os.fsync, file.fileno())
    return size


def open_upload(connection: Connection, team: str, actor: str) -> tuple[str, str]:
    """Make a build that waits for its context; return its id and the secret of the upload.

    Raises:
        ApiError: with status 429, when the team has too many that wait already.
    """
    open_now = connection.execute(
        select(func.count())
        .select_from(_table)
        .where(
            _table.c.team == team,
            _table.c.status == BuildStatus.UPLOADING,
            _table.c.created_at > _oldest_open(),
        )
    ).scalar()
    if int(open_now or 0) >= WAITING_AT_MOST:
        raise ApiError(
            429,
            f"{WAITING_AT_MOST} uploads wait for their contexts already",
            kind="busy",
            hint="finish or wait; each is forgotten after an hour",
        )
    build_id, secret = new_id(), secrets.token_urlsafe(32)
    connection.execute(
        insert(_table).values(
            team=team,
            id=build_id,
            status=BuildStatus.UPLOADING.value,
            actor=actor,
            upload_sha256=hashed(secret),
            created_at=now_us(),
        )
    )
    return build_id, secret


def check_upload(connection: Connection, build_id: str, secret: str) -> str:
    """Return the stored id of the build that `secret` opens the upload of.

    Raises:
        ApiError: with status 404, when it opens none, or was used already.
    """
    row = connection.execute(
        select(_table.c.id, _table.c.upload_sha256).where(
            _table.c.id == stored_id("build", build_id),
            _table.c.status == BuildStatus.UPLOADING,
            _table.c.upload_sha256.is_not(None),
            _table.c.created_at > _oldest_open(),
        )
    ).first()
    if row is None or not hmac.compare_digest(row.upload_sha256, hashed(secret)):
        raise _closed()
    return str(row.id)


def note_uploaded(connection: Connection, build_id: str, secret: str, size_bytes: int) -> None:
    """Close the upload: its context is there.

    Raises:
        ApiError: with status 404, when somebody else was faster.
    """
    done = connection.execute(
        update(_table)
        .where(_table.c.id == build_id, _table.c.upload_sha256 == hashed(secret))
        .values(size_bytes=size_bytes, upload_sha256=None)
    )
    if done.rowcount != 1:
        raise _closed()


def forget_abandoned(database: Database) -> set[str]:
    """Forget uploads that nobody triggered in time; return the ids of builds with a context."""
    with database.writing() as connection:
        connection.execute(
            delete(_table).where(
                _table.c.status == BuildStatus.UPLOADING, _table.c.created_at <= _oldest_open()
            )
        )
        rows = connection.execute(
            select(_table.c.id).where(_table.c.ended_at.is_(None), _table.c.status != "SUCCEEDED")
        )
        return {str(row.id) for row in rows}


def _oldest_open() -> int:
    return now_us() - OPEN_FOR_S * 1_000_000


def _closed() -> ApiError:
    return ApiError(
        404,
        "this upload is not open: it was used already, has expired, or never was",
        kind="not_found",
        hint="ask for another: POST /v2/builds/upload-url",
    )


def _no_room() -> ApiError:
    return ApiError(
        507,
        "the platform's disk is full",
        kind="no_room",
        hint="whoever runs it has to make room",
    )
