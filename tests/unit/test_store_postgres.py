"""The store on PostgreSQL: the same contract, several servers at once, and lost connections."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
from collections.abc import Generator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg
import pytest

from hud._core.errors import HudError, InputError, StoreError
from hud._core.ids import new_id
from hud._core.outcome import Outcome
from hud.store import ANYTHING, Change, JobRow, RunEnd, RunStart, StepRow, open_store
from hud.store.blobs import BlobFolder
from hud.store.ddl_sqlite import REVISIONS
from hud.store.postgres_engine import PostgresEngine
from hud.store.writer import Writer
from hud.testing import check_store
from tests.postgres import PASSWORD, PostgresServer

RUN = "0c" * 16


@contextmanager
def connected(url: str) -> Generator[psycopg.Connection[tuple[Any, ...]]]:
    with psycopg.connect(url, autocommit=True) as connection:
        yield connection


@contextmanager
def another_server(url: str, home: Path) -> Generator[Writer]:
    """A writer like that of another process: it shares nothing with the stores of this one."""
    writer = Writer(PostgresEngine(url), BlobFolder(home / "blobs"))
    try:
        yield writer
    finally:
        writer.close()


def span(number: int, seq: int = 0) -> StepRow:
    return StepRow(run_id=RUN, seq=seq, payload=b'{"n": %d}' % number, span_id=f"{number:016x}")


async def test_a_store_on_postgresql_keeps_the_contract_of_stores(
    postgres_url: str, tmp_path: Path
) -> None:
    await check_store(lambda: open_store(tmp_path, database=postgres_url))


def test_servers_that_start_at_once_migrate_once(postgres_url: str, tmp_path: Path) -> None:
    program = (
        "import sys, pathlib\n"
        "from hud.store import JobRow, open_store\n"
        "sys.stdin.readline()\n"
        "store = open_store(pathlib.Path(sys.argv[1]), database=sys.argv[2])\n"
        "store.put(JobRow(id=sys.argv[3], created_at=1))\n"
        "store.close()\n"
    )
    servers = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(tmp_path), postgres_url, f"{number:032x}"],
            stdin=subprocess.PIPE,
            text=True,
        )
        for number in range(3)
    ]
    for server in servers:
        assert server.stdin is not None
        server.stdin.write("go\n")
        server.stdin.flush()
    for server in servers:
        server.communicate(timeout=120)
    assert [server.returncode for server in servers] == [0, 0, 0]
    store = open_store(tmp_path, database=postgres_url)
    assert len(store.list_jobs()) == 3
    store.close()


def test_the_schema_on_postgresql_is_the_schema(postgres_url: str, tmp_path: Path) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext
    from sqlalchemy import create_engine, text

    from hud.store.schema import metadata

    open_store(tmp_path, database=postgres_url).close()
    engine = create_engine(postgres_url.replace("postgresql:", "postgresql+psycopg:"))
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []
        assert context.get_current_revision() == REVISIONS[-1]
        sorted_otherwise = connection.execute(
            text(
                "SELECT table_name, column_name FROM information_schema.columns "
                "WHERE table_schema = current_schema() AND table_name <> 'alembic_version' "
                "AND data_type IN ('text', 'character varying') AND collation_name <> 'C'"
            )
        )
        assert sorted_otherwise.fetchall() == []
    engine.dispose()


def test_a_database_of_a_newer_hud_is_refused(postgres_url: str, tmp_path: Path) -> None:
    open_store(tmp_path, database=postgres_url).close()
    with connected(postgres_url) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(StoreError, match="was written by a newer hud"):
        open_store(tmp_path, database=postgres_url)


def test_a_store_is_made_only_when_asked_for(postgres_url: str, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="is empty"):
        open_store(tmp_path, database=postgres_url, create=False)


def test_spans_of_one_run_that_reach_several_servers_at_once_are_stored_once(
    postgres_url: str, tmp_path: Path
) -> None:
    store = open_store(tmp_path, database=postgres_url)
    numbers = range(400)

    def report(writer: Writer, mine: list[int]) -> None:
        for start in range(0, len(mine), 40):
            for number in mine[start : start + 40]:
                writer.put(span(number, seq=number if number % 2 else 0))
            writer.flush()

    with (
        another_server(postgres_url, tmp_path) as one,
        another_server(postgres_url, tmp_path) as two,
    ):
        threads = [
            threading.Thread(target=report, args=(one, list(numbers))),
            threading.Thread(target=report, args=(two, list(numbers)[::-1])),
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    steps = list(store.read_steps(RUN))
    assert sorted(json.loads(step.payload)["n"] for step in steps) == list(numbers)
    assert [step.seq for step in steps if step.seq < 1000] == [n for n in numbers if n % 2]
    store.close()


def test_runs_that_reach_several_servers_at_once_are_members_of_their_own(
    postgres_url: str, tmp_path: Path
) -> None:
    store = open_store(tmp_path, database=postgres_url)
    store.put(JobRow(id=RUN, created_at=1, heard_at=1))
    store.flush()

    def report(writer: Writer) -> None:
        for _ in range(20):
            run = RunStart(id=new_id(), job_id=RUN, task_slug="t", started_at=1, member=-1)
            writer.put(run)
            writer.flush()

    with (
        another_server(postgres_url, tmp_path) as one,
        another_server(postgres_url, tmp_path) as two,
    ):
        threads = [threading.Thread(target=report, args=(writer,)) for writer in (one, two)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert [run.member for run in store.runs_of(RUN)] == list(range(40))
    store.close()


async def test_what_one_server_takes_another_hears_of(postgres_url: str, tmp_path: Path) -> None:
    store = open_store(tmp_path, database=postgres_url)
    with another_server(postgres_url, tmp_path) as other:
        async with store.watch() as changes, asyncio.timeout(60):
            # The first is that listening began, the second that it reached the server.
            assert [await anext(changes), await anext(changes)] == [ANYTHING, ANYTHING]
            other.put(span(1))
            await other.committed()
            assert await anext(changes) == Change("local", None, RUN)
            with closing(PostgresEngine(postgres_url).connect()) as connection:
                connection.announce([Change("local", None, f"{n:032x}") for n in range(600)])
            assert await anext(changes) == Change("local")
    store.close()


async def test_a_listener_whose_connection_is_lost_hears_that_anything_may_have_changed(
    postgres_url: str, tmp_path: Path
) -> None:
    store = open_store(tmp_path, database=postgres_url)
    async with store.watch() as changes, asyncio.timeout(60):
        assert [await anext(changes), await anext(changes)] == [ANYTHING, ANYTHING]
        _hang_up_on_everybody(postgres_url)
        assert await anext(changes) == ANYTHING
    store.close()


async def test_rows_outlive_a_lost_connection(postgres_url: str, tmp_path: Path) -> None:
    store = open_store(tmp_path, database=postgres_url)
    store.put(span(1))
    await store.committed()
    assert len(list(store.read_steps(RUN))) == 1
    _hang_up_on_everybody(postgres_url)
    store.put(span(2))
    await store.committed()
    assert len(list(store.read_steps(RUN))) == 2
    store.close()


async def test_rows_wait_for_a_server_that_cannot_be_reached(
    postgres_url: str, postgres_server: PostgresServer, tmp_path: Path
) -> None:
    store = open_store(tmp_path, database=postgres_url)
    name = postgres_url.rpartition("/")[2]
    with connected(postgres_server.url("postgres")) as admin:
        admin.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false".encode())
        store.put(span(1))
        for _ in range(2):
            with pytest.raises(StoreError, match="cannot be reached") as failed:
                await store.committed()
            _holds_no_password(failed.value)
        with pytest.raises(StoreError, match="cannot be reached"):
            store.list_jobs()
        admin.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true".encode())
    await store.committed()
    assert len(list(store.read_steps(RUN))) == 1
    store.close()


async def test_one_row_that_cannot_be_stored_takes_no_other_with_it(
    postgres_url: str, tmp_path: Path
) -> None:
    store = open_store(tmp_path, database=postgres_url)
    runs = [RunStart(id=new_id(), job_id=RUN, task_slug="t", started_at=1) for _ in range(2)]
    for run, tokens in zip(runs, (2**70, 1), strict=True):
        store.put(run)
        store.put(
            RunEnd(
                id=run.id,
                job_id=RUN,
                status="completed",
                outcome=Outcome.GRADED,
                reward=1,
                ended_at=2,
                prompt_tokens=tokens,
            )
        )
    with pytest.raises(StoreError, match="a RunEnd cannot be stored and was left out"):
        await store.committed()
    assert [store.find_run(run.id).outcome for run in runs] == [None, Outcome.GRADED]
    store.close()


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://tester:{password}@127.0.0.1:{port}/nowhere",
        "postgresql://nobody:{password}@127.0.0.1:{port}/postgres",
        "postgresql://tester:{password}@127.0.0.1:1/postgres",
        "postgresql://tester:{raw}@127.0.0.1:{port}/postgres",
        "postgresql://tester:{password}@127.0.0.1:{password}/postgres",
        "postgresql://tester@127.0.0.1:{port}/postgres?password={password}&oops={password}",
        "mysql://tester:{password}@127.0.0.1/x",
    ],
)
def test_no_message_tells_the_password(
    url: str, postgres_server: PostgresServer, tmp_path: Path
) -> None:
    quoted = quote(PASSWORD, safe="")
    url = url.format(password=quoted, raw=PASSWORD, port=postgres_server.port)
    with pytest.raises((StoreError, InputError)) as failed:
        open_store(tmp_path, database=url)
    _holds_no_password(failed.value)


def test_a_missing_driver_is_said_in_one_sentence(tmp_path: Path) -> None:
    program = (
        "import sys\n"
        "sys.modules['psycopg'] = None\n"
        "from hud.store import open_store\n"
        "try:\n"
        "    open_store(database='postgresql://u:p@h/d')\n"
        "except Exception as error:\n"
        "    print(type(error).__name__, error, error.hint)\n"
    )
    environ = {**os.environ, "HUD_HOME": str(tmp_path)}
    said = subprocess.run(
        [sys.executable, "-c", program], env=environ, capture_output=True, text=True, timeout=60
    )
    assert said.stdout.startswith("StoreError a store on PostgreSQL needs the package psycopg")
    assert "hud-python[postgres]" in said.stdout


def _hang_up_on_everybody(url: str) -> None:
    with connected(url) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )


def _holds_no_password(error: HudError) -> None:
    said = [str(error), repr(error), str(error.hint)]
    cause = error.__cause__
    while cause is not None:
        said.append(f"{cause} {cause!r}")
        cause = cause.__cause__
    text = "\n".join(said)
    assert PASSWORD not in text
    assert quote(PASSWORD, safe="") not in text
    assert "not/a" not in text and "not%2Fa" not in text
