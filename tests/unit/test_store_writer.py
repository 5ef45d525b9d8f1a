"""The writer: group commits, waiters, failures that lose nothing, forks."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from hud._core.errors import StoreError
from hud._core.ids import new_id
from hud._core.outcome import Outcome
from hud.store import JobRow, RunEnd, RunStart, StepRow, Store, open_store
from hud.store.blobs import BlobFolder
from hud.store.database import prepare
from hud.store.sqlite_connection import SqliteConnection
from hud.store.sqlite_engine import SqliteEngine
from hud.store.writer import Writer

JOB = "0c" * 16


class Traced(SqliteEngine):
    """A database whose commits are counted, and announced."""

    def __init__(self, home: Path) -> None:
        super().__init__(prepare(home, create=True))
        self.blobs = BlobFolder(home / "blobs")
        self.commits = 0
        self.committed = threading.Event()
        self.timeout_ms = 30_000

    def connect(self) -> SqliteConnection:
        connection = super().connect()
        connection.raw.execute(f"PRAGMA busy_timeout = {self.timeout_ms}")
        connection.raw.set_trace_callback(self._trace)
        return connection

    def _trace(self, statement: str) -> None:
        if statement == "COMMIT":
            self.commits += 1
            self.committed.set()

    def count(self, table: str) -> int:
        with closing(sqlite3.connect(self.path)) as connection:
            [(count,)] = connection.execute(f"SELECT count(*) FROM {table}")
            return count


@pytest.fixture
def traced(tmp_path: Path) -> Traced:
    return Traced(tmp_path)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = open_store(tmp_path)
    store.put(JobRow(id=JOB, created_at=1))
    yield store
    store.close()


def start(**more: Any) -> RunStart:
    row: dict[str, Any] = {"id": new_id(), "job_id": JOB, "task_slug": "t", "started_at": 1}
    return RunStart(**{**row, **more})


def graded(run: RunStart, **more: Any) -> RunEnd:
    row: dict[str, Any] = {"id": run.id, "job_id": JOB, "status": "completed", "ended_at": 2}
    row |= {"outcome": Outcome.GRADED, "reward": 1.0}
    return RunEnd(**{**row, **more})


async def test_a_thousand_waiters_share_a_few_commits_and_wake_ups(
    traced: Traced, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = Writer(traced, traced.blobs)
    loop = asyncio.get_running_loop()
    woken: list[object] = []
    wake = loop.call_soon_threadsafe

    def counted(callback: Any, *args: Any, context: Any = None) -> Any:
        woken.append(callback)
        return wake(callback, *args, context=context)

    monkeypatch.setattr(loop, "call_soon_threadsafe", counted)

    async def one() -> None:
        run = start()
        writer.put(run)
        writer.put(graded(run))
        await writer.committed()

    await asyncio.gather(*[one() for _ in range(1000)])
    assert traced.count("runs") == 1000
    assert traced.commits <= 10
    assert len(woken) <= 10
    writer.close()


def test_rows_that_nobody_waits_for_are_committed_all_the_same(traced: Traced) -> None:
    writer = Writer(traced, traced.blobs)
    writer.put(start())
    assert traced.committed.wait(30)
    writer.close()


async def test_a_wait_that_is_cancelled_loses_no_row(traced: Traced) -> None:
    writer = Writer(traced, traced.blobs)
    writer.put(start())
    waiting = asyncio.create_task(writer.committed())
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    writer.flush()
    assert traced.count("runs") == 1
    writer.close()


async def test_a_store_that_stays_locked_fails_the_waiter_and_keeps_the_rows(
    traced: Traced,
) -> None:
    traced.timeout_ms = 1
    writer = Writer(traced, traced.blobs)
    with closing(sqlite3.connect(traced.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        writer.put(start())
        with pytest.raises(StoreError, match="stayed locked by another process"):
            await writer.committed()
        writer.put(start())
        with pytest.raises(StoreError, match="stayed locked by another process"):
            writer.flush()
        other.execute("ROLLBACK")
    await writer.committed()
    assert traced.count("runs") == 2
    writer.close()


def test_a_flush_that_takes_too_long_says_so_and_keeps_the_rows(traced: Traced) -> None:
    writer = Writer(traced, traced.blobs)
    with closing(sqlite3.connect(traced.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        writer.put(start())
        with pytest.raises(StoreError, match=r"did not commit within 0\.01 s"):
            writer.flush(timeout=0.01)
        other.execute("ROLLBACK")
    writer.flush()
    assert traced.count("runs") == 1
    writer.close()


def test_a_writer_that_cannot_write_takes_no_more_than_its_budget(traced: Traced) -> None:
    traced.timeout_ms = 1
    writer = Writer(traced, traced.blobs, budget_bytes=10_000)
    step = StepRow(run_id=JOB, seq=1, payload=b'"%s"' % (b"x" * 3000))
    with closing(sqlite3.connect(traced.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")

        def fill() -> None:
            for _ in range(100):
                writer.put(step)

        with pytest.raises(StoreError, match="stayed locked"):
            fill()
        other.execute("ROLLBACK")
    writer.close()
    assert traced.count("steps") == 1


def test_a_budget_that_is_used_up_makes_room_by_writing(traced: Traced) -> None:
    writer = Writer(traced, traced.blobs, budget_bytes=10_000)
    for seq in range(1, 101):
        writer.put(StepRow(run_id=JOB, seq=seq, payload=b'"%s"' % (b"x" * 3000)))
    writer.close()
    assert traced.count("steps") == 100


async def test_one_row_that_cannot_be_stored_takes_no_other_with_it(store: Store) -> None:
    bad, good = start(), start()
    for row in (bad, good, graded(bad, prompt_tokens=2**70), graded(good)):
        store.put(row)
    with pytest.raises(StoreError, match="a RunEnd cannot be stored and was left out"):
        await store.committed()
    assert store.find_run(good.id).outcome is Outcome.GRADED
    assert store.find_run(bad.id).outcome is None


async def test_half_a_character_in_a_message_is_replaced(store: Store) -> None:
    run = start()
    store.put(run)
    store.put(graded(run, error="broken \ud800 text"))
    await store.committed()
    assert store.find_run(run.id).error == "broken ? text"


async def test_what_is_changed_after_it_was_put_is_stored_as_it_was(store: Store) -> None:
    run = start()
    evaluation = {"notes": ["one"]}
    store.put(run)
    store.put(graded(run, evaluation=evaluation))
    evaluation["notes"].append("two")
    await store.committed()
    assert store.find_run(run.id).evaluation == {"notes": ["one"]}


def test_a_document_without_a_json_form_is_refused_where_it_is_put(store: Store) -> None:
    with pytest.raises(TypeError, match="has no JSON form"):
        store.put(start(extra={"thing": object()}))


@pytest.mark.parametrize(
    ("outcome", "reward"),
    [(Outcome.GRADED, None), (Outcome.GRADED, float("nan")), (Outcome.MODEL, 0.0)],
)
def test_a_reward_that_contradicts_the_outcome_is_refused(
    outcome: Outcome, reward: float | None
) -> None:
    with pytest.raises(ValueError, match="a graded run has a number as its reward"):
        graded(start(), outcome=outcome, reward=reward)


async def test_the_nan_of_an_ungraded_run_is_stored_as_nothing(store: Store) -> None:
    run = start()
    store.put(run)
    store.put(graded(run, outcome=Outcome.MODEL, reward=float("nan"), status="error"))
    await store.committed()
    assert store.find_run(run.id).reward is None


def test_stores_of_one_process_share_one_thread_until_the_last_is_closed(tmp_path: Path) -> None:
    stores = [open_store(tmp_path) for _ in range(3)]
    for each in stores:
        each.put(JobRow(id=new_id(), created_at=1))
    assert _threads() == 1
    for each in stores[:2]:
        each.close()
    assert _threads() == 1
    assert len(stores[2].list_jobs()) == 3
    stores[2].close()
    assert _threads() == 0


def test_a_closed_store_refuses_rows(traced: Traced) -> None:
    writer = Writer(traced, traced.blobs)
    writer.put(start())
    writer.close()
    writer.close()
    with pytest.raises(StoreError, match="is closed"):
        writer.put(start())
    assert traced.count("runs") == 1


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_must_open_the_store_again_and_disturbs_nobody(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    store.put(JobRow(id=JOB, created_at=1))
    store.flush()
    assert len(store.list_jobs()) == 1
    child = os.fork()
    if child == 0:
        code = 1
        try:
            with pytest.raises(StoreError, match="was opened before this process was forked"):
                store.put(JobRow(id=new_id(), created_at=2))
            assert len(store.list_jobs()) == 1
            again = open_store(tmp_path)
            again.put(JobRow(id=new_id(), created_at=3))
            again.close()
            code = 0
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    store.put(JobRow(id=new_id(), created_at=4))
    store.flush()
    assert [each.job.created_at for each in store.list_jobs()] == [4, 3, 1]
    store.close()


def _threads() -> int:
    return sum(thread.name == "hud-store-writer" for thread in threading.enumerate())
