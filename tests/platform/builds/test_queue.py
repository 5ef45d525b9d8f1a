"""Whose turn it is to be built: fair between teams, in order within one, once per environment."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Connection, insert, update

from hud._core.ids import new_id
from hud.platform.builds import queue
from hud.platform.builds.builder import Built
from hud.platform.builds.identity import is_known_gone, this_worker
from hud.platform.builds.records import BuildRecord, BuildStatus
from hud.platform.database import Database, now_us
from hud.platform.registry import tables
from hud.platform.secrets import SecretBox
from tests.platform.server import prepare

WORKER = "somewhere/1:1"


@pytest.fixture
def connection(home: Path) -> Iterator[Connection]:
    prepare(home)
    with (
        contextlib.closing(Database(home)) as database,
        database.writing() as connection,
    ):
        yield connection


_order = iter(range(1, 1_000_000))


def waiting(connection: Connection, team: str, environment: str | None = None) -> str:
    """Put a build into the queue, after all before it, and return its id."""
    build_id, now = new_id(), next(_order)
    connection.execute(
        insert(tables.builds).values(
            team=team,
            id=build_id,
            environment_id=environment or new_id(),
            status=BuildStatus.QUEUED.value,
            created_at=now,
            triggered_at=now,
        )
    )
    return build_id


def claimed(connection: Connection) -> BuildRecord | None:
    return queue.claim(connection, WORKER)


def ids(connection: Connection, count: int) -> list[str]:
    found = (claimed(connection) for _ in range(count))
    return [each.id for each in found if each is not None]


def test_a_team_with_many_builds_does_not_keep_another_waiting(connection: Connection) -> None:
    many = [waiting(connection, "many") for _ in range(5)]
    one = waiting(connection, "one")
    assert ids(connection, 3) == [many[0], one, many[1]]


def test_within_a_team_the_first_asked_for_comes_first(connection: Connection) -> None:
    builds = [waiting(connection, "team") for _ in range(4)]
    assert ids(connection, 4) == builds
    assert claimed(connection) is None


def test_an_environment_is_built_once_at_a_time(connection: Connection) -> None:
    environment = new_id()
    first, second = (waiting(connection, "team", environment) for _ in range(2))
    held = claimed(connection)
    assert held is not None
    assert held.id == first
    assert claimed(connection) is None
    queue.end(connection, held, BuildStatus.FAILED, "it failed")
    assert ids(connection, 1) == [second]


def test_a_build_that_was_given_to_another_server_is_not_ended_by_the_first(
    connection: Connection, home: Path
) -> None:
    waiting(connection, "team")
    held = claimed(connection)
    assert held is not None
    connection.execute(update(tables.builds).values(worker="elsewhere/2:2"))
    assert queue.end(connection, held, BuildStatus.FAILED, "late") is None
    built = Built("bundle:x", {}, {})
    assert queue.succeed(connection, SecretBox(home), held, built, {}) is None
    queue.put_back(connection, held)
    assert queue.heartbeat(connection, "elsewhere/2:2", [held.id]) == {
        held.id: BuildStatus.IN_PROGRESS
    }


def test_a_build_whose_server_is_silent_waits_again(connection: Connection) -> None:
    build_id = waiting(connection, "team")
    assert claimed(connection) is not None
    assert queue.recover(connection) == []
    long_ago = now_us() - int(10 * queue.SILENT_S * 1e6)
    connection.execute(update(tables.builds).values(heard_at=long_ago))
    [(record, said)] = queue.recover(connection)
    assert (record.id, record.status) == (build_id, BuildStatus.QUEUED)
    assert "again" in said


def test_only_a_process_of_this_machine_that_ended_is_known_to_be_gone() -> None:
    here = this_worker()
    assert not is_known_gone(here)
    assert not is_known_gone("elsewhere/1:1")
    assert not is_known_gone("")
    machine = here.partition("/")[0]
    assert is_known_gone(f"{machine}/{2**22 + 1}:1")
