"""Copying a store while others record into it, and making a store of such a copy.

A backup is a folder: the database as it was at one moment, and every blob it names. Making it
again into the same folder copies only what is new. The key that encrypts the secrets of providers
is in neither: it is kept elsewhere, on purpose.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

from hud._core.errors import InputError, StoreError, bounded
from hud._core.paths import make_home
from hud.store.base import Store
from hud.store.blobs import BlobFolder, Blobs
from hud.store.database import FILE_NAME, connect, prepare, read_revision
from hud.store.ddl_sqlite import REVISIONS
from hud.store.errors import store_error
from hud.store.sqlite_engine import SqliteEngine
from hud.store.upkeep.parts import Progress, alone, parts_of

BLOBS = "blobs"


@dataclass(frozen=True, slots=True)
class Backup:
    """What a backup or a restored store holds.

    Attributes:
        size_bytes: The size of the database.
        blobs: How many blobs it names.
        copied: How many of them were not there already.
        damaged: Blobs that are missing or are not what their names say; they were left out.
    """

    size_bytes: int
    blobs: int
    copied: int
    damaged: tuple[str, ...]


def back_up(store: Store, folder: Path, *, progress: Progress | None = None) -> Backup:
    """Copy the store into `folder`, as it is at this moment; others go on recording.

    Until it is complete, the backup that is in `folder` already stays what it was.

    Raises:
        InputError: when the store is on a database that has tools of its own for this.
        StoreError: when the store cannot be read or `folder` cannot be written.
    """
    parts = parts_of(store)
    engine = parts.engine
    if not isinstance(engine, SqliteEngine):
        raise InputError(
            f"{engine.where} is backed up with the tools of PostgreSQL",
            hint=f"pg_dump --format=custom, then a copy of the blobs in {parts.blobs.where}",
        )
    home = engine.path.parent
    if folder.resolve() == home.resolve():
        raise InputError(
            f"{bounded(str(folder), 300)} is the store itself", hint="name another folder"
        )
    make_home(folder)
    fresh = folder / f"{FILE_NAME}.new"
    with alone(home), _failures(folder):
        _copy_database(engine.path, fresh)
        copied, names, damaged = _copy_blobs(fresh, parts.blobs, folder, progress)
        fresh.replace(folder / FILE_NAME)
        _sync(folder)
        size = (folder / FILE_NAME).stat().st_size
    return Backup(size, names, copied, damaged)


def restore(
    folder: Path, home: Path, *, blobs: Blobs | None = None, progress: Progress | None = None
) -> Backup:
    """Make a store in `home`, which has none, of the backup in `folder`.

    Args:
        blobs: Where the blobs go, in place of a folder in `home`.

    Raises:
        InputError: when there is no backup in `folder`, or a store in `home` already.
        StoreError: when the backup is damaged or `home` cannot be written.
    """
    source, target = folder / FILE_NAME, home / FILE_NAME
    if not source.is_file():
        raise InputError(
            f"there is no backup in {bounded(str(folder), 300)}",
            hint="name the folder that a backup was made into",
        )
    make_home(home)
    if target.exists():
        raise InputError(
            f"there is a store in {bounded(str(home), 300)} already",
            hint="name an empty folder, or move the store away",
        )
    fresh = home / f"{FILE_NAME}.new"
    with alone(home), _failures(home):
        _check(source)
        _copy_database(source, fresh)
        kept = BlobFolder(home / BLOBS) if blobs is None else blobs
        copied, names, damaged = _copy_blobs(
            fresh, BlobFolder(folder / BLOBS), home, progress, into=kept
        )
        _write_ahead(fresh)
        os.link(fresh, target)  # refuses where a store was made meanwhile
        fresh.unlink()
        _sync(home)
        size = target.stat().st_size
    prepare(home, create=True)
    return Backup(size, names, copied, damaged)


def _copy_database(source: Path, target: Path) -> None:
    target.unlink(missing_ok=True)
    os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    with (
        contextlib.closing(connect(source)) as reading,
        contextlib.closing(sqlite3.connect(target)) as writing,
    ):
        # In one step: it reads one moment, and nobody who writes makes it begin anew.
        reading.backup(writing, pages=-1)
        # A file of its own, with no log beside it that a copy could leave behind.
        writing.execute("PRAGMA journal_mode = DELETE")
    with target.open("rb") as file:
        os.fsync(file.fileno())


def _copy_blobs(
    database: Path,
    source: Blobs,
    folder: Path,
    progress: Progress | None,
    *,
    into: Blobs | None = None,
) -> tuple[int, int, tuple[str, ...]]:
    """Copy what `database` names; return how many were new, how many there are, the damaged."""
    target = BlobFolder(folder / BLOBS) if into is None else into
    with contextlib.closing(sqlite3.connect(database)) as connection:
        rows = connection.execute("SELECT DISTINCT sha256 FROM blobs ORDER BY sha256").fetchall()
    names = [str(name) for (name,) in rows]
    there = {one.sha256 for one in target.files()} if names else set[str]()
    copied, damaged = 0, list[str]()
    for done, name in enumerate(names, 1):
        if name not in there:
            try:
                content = source.read(name)
            except StoreError:
                damaged.append(name)
            else:
                target.write_all({name: content})
                copied += 1
        if progress is not None:
            progress(done, len(names))
    return copied, len(names), tuple(damaged)


def _check(path: Path) -> None:
    revision = read_revision(path)
    if revision not in REVISIONS:
        raise StoreError(
            f"the backup {bounded(str(path), 300)} was made by a newer hud, or is not of a store",
            hint="upgrade hud, or name another folder",
        )
    with contextlib.closing(connect(path)) as connection:
        [(verdict,), *_] = connection.execute("PRAGMA quick_check(1)").fetchall()
    if verdict != "ok":
        raise StoreError(
            f"the backup {bounded(str(path), 300)} is damaged: {bounded(str(verdict), 120)}",
            hint="restore an older one",
        )


def _write_ahead(path: Path) -> None:
    with contextlib.closing(connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")


@contextlib.contextmanager
def _failures(folder: Path) -> Generator[None]:
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise store_error(error, folder) from error


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
