"""The embedded store: the contract, how it is opened, and its schema in three spellings."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from hud._core.errors import StoreError
from hud._core.paths import hud_home
from hud.store import JobRow, open_store
from hud.store.ddl_sqlite import REVISIONS, STATEMENTS
from hud.testing import check_store

JOB = "1f" * 16


async def test_the_embedded_store_keeps_the_contract_of_stores(tmp_path: Path) -> None:
    await check_store(lambda: open_store(tmp_path))


def test_the_home_is_read_from_the_environment_at_every_call_and_made_private(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HUD_HOME", str(tmp_path / "one"))
    assert hud_home() == tmp_path / "one"
    assert (tmp_path / "one").stat().st_mode & 0o777 == 0o700
    monkeypatch.setenv("HUD_HOME", str(tmp_path / "two"))
    assert hud_home(create=False) == tmp_path / "two"
    assert not (tmp_path / "two").exists()
    monkeypatch.delenv("HUD_HOME")
    assert hud_home(create=False) == Path.home() / ".hud"


def test_nothing_in_the_store_is_readable_by_others(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    store.put(JobRow(id=JOB, created_at=1, spec={"text": "x"}))
    store.flush()
    store.close()
    for path in tmp_path.rglob("*"):
        assert path.stat().st_mode & 0o077 == 0, path


def test_opening_recording_and_listing_import_neither_sqlalchemy_nor_alembic(
    tmp_path: Path,
) -> None:
    program = (
        "import sys\n"
        "from hud.store import JobRow, open_store\n"
        "assert not {'sqlalchemy', 'alembic'} & set(sys.modules)\n"
        "store = open_store()\n"
        f"store.put(JobRow(id='{JOB}', created_at=1))\n"
        "store.flush()\n"
        "assert len(store.list_jobs()) == 1\n"
        "store.close()\n"
        "assert not {'sqlalchemy', 'alembic'} & set(sys.modules)\n"
    )
    _run(program, tmp_path / "home")


def test_rows_that_nobody_waited_for_are_written_when_the_process_ends(tmp_path: Path) -> None:
    program = (
        "from hud.store import JobRow, open_store\n"
        f"open_store().put(JobRow(id='{JOB}', created_at=1))\n"
    )
    _run(program, tmp_path)
    assert open_store(tmp_path, create=False).find_job(JOB).created_at == 1


def test_a_store_that_is_not_there_is_made_only_when_asked_for(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="there is no store in"):
        open_store(tmp_path / "none", create=False)
    assert not (tmp_path / "none").exists()


def test_the_statements_that_create_a_store_are_those_of_the_schema() -> None:
    from hud.store.schema import sqlite_ddl

    assert list(STATEMENTS) == sqlite_ddl()


def test_migrating_an_empty_database_gives_the_schema_of_a_new_one(tmp_path: Path) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext
    from sqlalchemy import create_engine

    from hud.store.migrations import upgrade
    from hud.store.schema import metadata

    open_store(tmp_path / "new").close()
    migrated = tmp_path / "migrated.db"
    upgrade(migrated)
    assert _schema(migrated) == _schema(tmp_path / "new" / "hud.db")
    engine = create_engine(f"sqlite:///{migrated}")
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []
        assert context.get_current_revision() == REVISIONS[-1]
    engine.dispose()


def test_the_known_revisions_are_those_of_the_migrations() -> None:
    from alembic.script import ScriptDirectory

    from hud.store.migrations import config

    scripts = ScriptDirectory.from_config(config(Path("unused")))
    assert [script.revision for script in scripts.walk_revisions()][::-1] == list(REVISIONS)


def test_every_table_can_be_made_on_postgresql() -> None:
    from sqlalchemy.dialects import postgresql
    from sqlalchemy.schema import CreateTable

    from hud.store.schema import metadata

    made = [
        str(CreateTable(t).compile(dialect=postgresql.dialect())) for t in metadata.tables.values()
    ]
    assert len(made) == len(metadata.tables)
    assert "DOUBLE PRECISION" in "".join(made)


def test_an_older_store_is_migrated_when_it_is_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hud.store import database

    store = open_store(tmp_path)
    store.put(JobRow(id=JOB, created_at=1))
    store.close()
    upgraded: list[Path] = []
    # A revision that does not exist yet, so the step itself is watched, not taken.
    monkeypatch.setattr(database, "REVISIONS", (*REVISIONS, "9999"))
    monkeypatch.setattr("hud.store.migrations.upgrade", upgraded.append)
    assert open_store(tmp_path).find_job(JOB).created_at == 1
    assert upgraded == [tmp_path / "hud.db"]


def test_runs_recorded_before_turns_were_counted_keep_their_calls_and_cost(
    tmp_path: Path,
) -> None:
    from hud.store.migrations import upgrade

    path = tmp_path / "hud.db"
    upgrade(path, "0001")
    with closing(sqlite3.connect(path)) as connection:
        for number, cost in (("1", 0.5), ("2", None)):
            connection.execute(
                "INSERT INTO runs (team, id, job_id, task_slug, member, attempt, status, "
                "started_at, ended_at, llm_calls, cost_usd) "
                "VALUES ('local', ?, ?, 'task', 0, 1, 'error', 1, 2, 3, ?)",
                (number * 32, JOB, cost),
            )
        connection.commit()
    priced, unpriced = open_store(tmp_path).runs_of(JOB)
    assert (priced.turns, priced.unpriced_turns, priced.known_cost_usd) == (3, 0, 0.5)
    assert (unpriced.turns, unpriced.unpriced_turns, unpriced.known_cost_usd) == (3, 3, None)


def _run(program: str, home: Path) -> None:
    environ = {**os.environ, "HUD_HOME": str(home)}
    subprocess.run([sys.executable, "-c", program], env=environ, timeout=60, check=True)


def _schema(path: Path) -> set[tuple[str, str, str]]:
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute("SELECT type, name, sql FROM sqlite_master WHERE sql IS NOT NULL")
        return {(kind, name, "".join(sql.split())) for kind, name, sql in rows}
