"""What is in a taskset: its tasks in order, one of them with its past, and the whole for export."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from sqlalchemy import Connection, Row, Select, and_, func, select

from hud._core import json
from hud.platform.database import Database
from hud.platform.errors import not_found
from hud.platform.registry import tables
from hud.platform.registry.tasksets import Taskset

FACETS_OF = 20_000
_MOST_VALUES = 50
_MOST_COLUMNS = 50
_PIECE = 500
_PIECE_CHARACTERS = 2 * 1024 * 1024
_tasks, _versions = tables.tasks, tables.task_versions


@dataclass(frozen=True, slots=True)
class TaskVersion:
    """One version of a task; `record` is its row as JSON, in the form of an export."""

    slug: str
    version: int
    env: str
    task_id: str
    record: str
    digest: str
    created_at: int
    position: int


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which tasks: all that fit everything that is set."""

    search: str = ""
    env: str | None = None
    task_id: str | None = None
    columns: tuple[tuple[str, str], ...] = ()

    def has_columns(self, record: str) -> bool:
        """Tell whether a row has these values in its columns."""
        if not self.columns:
            return True
        found = columns_of(json.decode(record))
        return all(found.get(name) == value for name, value in self.columns)


@dataclass(slots=True)
class Facets:
    """How often each value occurs; `is_complete` is False when there are too many tasks to look."""

    env: Counter[str] = field(default_factory=Counter[str])
    task_id: Counter[str] = field(default_factory=Counter[str])
    columns: dict[str, Counter[str]] = field(default_factory=dict[str, Counter[str]])
    is_complete: bool = True


def columns_of(record: Mapping[str, Any]) -> dict[str, str]:
    """Return the columns of a row whose value is one text, number or flag, as text."""
    columns: Any = record.get("columns")
    if not isinstance(columns, dict):
        return {}
    return {
        name: value if isinstance(value, str) else json.encode(value).decode()
        for name, value in cast("dict[str, Any]", columns).items()
        if isinstance(value, str | int | float)
    }


def page_of_tasks(
    connection: Connection,
    team: str,
    taskset_id: str,
    wanted: Wanted,
    *,
    limit: int = 100,
    after: int = 0,
) -> tuple[list[TaskVersion], int]:
    """Return up to `limit` tasks in order, from behind the position `after`, and how many fit."""
    query = _current(team, taskset_id, wanted)
    if not wanted.columns:
        counting = query.with_only_columns(func.count()).order_by(None)
        total = connection.execute(counting).scalar_one()
        rows = connection.execute(query.where(_tasks.c.position > after).limit(limit))
        return [_version(row) for row in rows], total
    page: list[TaskVersion] = []
    total = 0
    for task in _walk(connection, query):
        if wanted.has_columns(task.record):
            total += 1
            if task.position > after and len(page) < limit:
                page.append(task)
    return page, total


def facets_of(connection: Connection, team: str, taskset_id: str) -> Facets:
    """Count the environments, task ids and column values of a taskset's first 20,000 tasks."""
    facets = Facets()
    for number, task in enumerate(_walk(connection, _current(team, taskset_id, Wanted()))):
        if number == FACETS_OF:
            facets.is_complete = False
            break
        facets.env[task.env] += 1
        facets.task_id[task.task_id] += 1
        for name, value in columns_of(json.decode(task.record)).items():
            if name in facets.columns or len(facets.columns) < _MOST_COLUMNS:
                facets.columns.setdefault(name, Counter())[value] += 1
    return facets


def commonest(counts: Counter[str]) -> list[tuple[str, int]]:
    """Return the commonest values with how often they occur, ties by value."""
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:_MOST_VALUES]


def find_task(
    connection: Connection, team: str, taskset_id: str, slug: str, version: int | None = None
) -> TaskVersion:
    """Return a task as it is now, or any one version of it, also of one that was put away.

    Raises:
        ApiError: with status 404, when there is none.
    """
    query = select(*_COLUMNS, _POSITION).where(
        _of(_versions, team, taskset_id), _versions.c.slug == slug
    )
    if version is None:
        query = query.join(_tasks, _IS_CURRENT)
    else:
        query = query.outerjoin(_tasks, _IS_OF).where(_versions.c.version == version)
    row = None if "\0" in slug else connection.execute(query).one_or_none()
    if row is None:
        not_found("task" if version is None else f"version {version} of the task", slug)
    return _version(row)


def versions_of(
    connection: Connection,
    team: str,
    taskset_id: str,
    slug: str,
    *,
    limit: int = 20,
    before: int | None = None,
) -> tuple[list[TaskVersion], int]:
    """Return up to `limit` versions of a task, newest first, and how many there are.

    Raises:
        ApiError: with status 404, when there never was such a task.
    """
    mine = and_(_of(_versions, team, taskset_id), _versions.c.slug == slug.replace("\0", "\ufffd"))
    total = connection.execute(select(func.count()).select_from(_versions).where(mine)).scalar_one()
    if not total:
        not_found("task", slug)
    query = select(*_COLUMNS, _POSITION).outerjoin(_tasks, _IS_OF).where(mine)
    if before is not None:
        query = query.where(_versions.c.version < before)
    rows = connection.execute(query.order_by(_versions.c.version.desc()).limit(limit))
    return [_version(row) for row in rows], total


def archive_tasks(
    connection: Connection, team: str, taskset_id: str, slugs: Sequence[str]
) -> list[str]:
    """Take tasks out of a taskset; their versions stay, and an upload brings them back.

    Returns:
        The slugs that were in it.
    """
    here = _of(_tasks, team, taskset_id)
    wanted = [slug for slug in dict.fromkeys(slugs) if "\0" not in slug]
    found: list[str] = []
    for piece in (wanted[at : at + _PIECE] for at in range(0, len(wanted), _PIECE)):
        these = and_(here, _tasks.c.slug.in_(piece))
        found += connection.execute(select(_tasks.c.slug).where(these)).scalars()
        connection.execute(_tasks.delete().where(these))
    return found


def export_parts(database: Database, team: str, taskset: Taskset) -> Iterator[bytes]:
    """Yield the JSON of an export in pieces: what the taskset held when this began.

    No connection is held between two pieces, so a slow reader keeps nothing busy.
    """
    with database.reading() as connection:
        rows = connection.execute(
            select(_tasks.c.slug, _tasks.c.version, func.length(_versions.c.record))
            .join(_versions, _IS_CURRENT)
            .where(_of(_tasks, team, taskset.id))
            .order_by(_tasks.c.position)
        )
        pieces = list(_pieces(rows))
    yield b'{"name":' + json.encode(taskset.name) + b',"tasks":['
    separator = b""
    for piece in pieces:
        with database.reading() as connection:
            records = _records(connection, team, taskset.id, piece)
        yield separator + ",".join(records[task] for task in piece).encode()
        separator = b","
    yield b"]}"


def _pieces(rows: Iterable[Any]) -> Iterator[list[tuple[str, int]]]:
    piece: list[tuple[str, int]] = []
    length = 0
    for slug, version, characters in rows:
        if piece and (len(piece) == _PIECE or length + characters > _PIECE_CHARACTERS):
            yield piece
            piece, length = [], 0
        piece.append((slug, version))
        length += characters
    if piece:
        yield piece


def _records(
    connection: Connection, team: str, taskset_id: str, piece: Sequence[tuple[str, int]]
) -> dict[tuple[str, int], str]:
    by_version: dict[int, list[str]] = {}
    for slug, version in piece:
        by_version.setdefault(version, []).append(slug)
    found: dict[tuple[str, int], str] = {}
    for version, slugs in by_version.items():
        rows = connection.execute(
            select(_versions.c.slug, _versions.c.record).where(
                _of(_versions, team, taskset_id),
                _versions.c.slug.in_(slugs),
                _versions.c.version == version,
            )
        )
        found |= {(slug, version): record for slug, record in rows}
    return found


_COLUMNS = tuple(
    _versions.c[name]
    for name in ("slug", "version", "env", "task_id", "record", "digest", "created_at")
)
_POSITION = func.coalesce(_tasks.c.position, 0).label("position")
_IS_OF = and_(
    _tasks.c.team == _versions.c.team,
    _tasks.c.taskset_id == _versions.c.taskset_id,
    _tasks.c.slug == _versions.c.slug,
)
_IS_CURRENT = and_(_IS_OF, _tasks.c.version == _versions.c.version)


def _current(team: str, taskset_id: str, wanted: Wanted) -> Select[Any]:
    query = (
        select(*_COLUMNS, _POSITION)
        .join(_tasks, _IS_CURRENT)
        .where(_of(_tasks, team, taskset_id))
        .order_by(_tasks.c.position)
    )
    if wanted.search:
        lowered = func.lower(_tasks.c.slug)
        query = query.where(lowered.contains(wanted.search.lower(), autoescape=True))
    if wanted.env is not None:
        query = query.where(_versions.c.env == wanted.env)
    if wanted.task_id is not None:
        query = query.where(_versions.c.task_id == wanted.task_id)
    return query


def _walk(connection: Connection, query: Select[Any]) -> Iterator[TaskVersion]:
    """Yield the tasks of a query, read a piece at a time."""
    for row in connection.execute(query, execution_options={"yield_per": _PIECE}):
        yield _version(row)


def _of(table: Any, team: str, taskset_id: str) -> Any:
    return and_(table.c.team == team, table.c.taskset_id == taskset_id)


def _version(row: Row[Any]) -> TaskVersion:
    return TaskVersion(
        row.slug,
        row.version,
        row.env,
        row.task_id,
        row.record,
        row.digest,
        row.created_at,
        row.position,
    )
