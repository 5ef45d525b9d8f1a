"""The store under what happens to stores: crowds, kill -9, full disks, damage, wrong versions."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path

import pytest

from hud._core.errors import InputError, StoreError
from hud._core.ids import new_id
from hud._core.outcome import Outcome
from hud.store import (
    JobRow,
    RunEnd,
    RunStart,
    StepRow,
    every_run,
    job_holder,
    lock_job,
    open_store,
)

JOB = "7e" * 16

# Records runs, and says each id once its commit returned. Arguments: job, number of runs.
RECORDER = """
import asyncio, sys
from hud._core.ids import new_id
from hud._core.outcome import Outcome
from hud.store import JobRow, RunEnd, RunStart, StepRow, open_store

job, runs = sys.argv[1], iter(range(int(sys.argv[2])))
store = open_store()

async def record():
    for number in runs:
        run = new_id()
        store.put(RunStart(id=run, job_id=job, task_slug="t", member=number, started_at=number))
        for seq in range(1, 5):
            store.put(StepRow(run_id=run, seq=seq, payload=b'{"text": "%s"}' % (b"x" * 200)))
        store.put(RunEnd(id=run, job_id=job, status="completed", outcome=Outcome.GRADED,
                         reward=0.5, ended_at=number))
        await store.committed()
        print(run, flush=True)

async def main():
    store.put(JobRow(id=job, created_at=1))
    with store.lock_job(job):
        await asyncio.gather(*[record() for _ in range(20)])

asyncio.run(main())
store.close()
"""


def record(home: Path, job: str, runs: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", RECORDER, job, str(runs)],
        env={**os.environ, "HUD_HOME": str(home)},
        stdout=subprocess.PIPE,
        text=True,
    )


def fill(home: Path) -> None:
    store = open_store(home)
    store.put(JobRow(id=JOB, created_at=1))
    for number in range(500):
        run = RunStart(id=new_id(), job_id=JOB, task_slug="t", member=number, started_at=1)
        store.put(run)
        store.put(StepRow(run_id=run.id, seq=1, payload=b'"%s"' % (b"x" * 500)))
    store.close()


def test_four_processes_that_record_at_once_lose_nothing(tmp_path: Path) -> None:
    jobs = [new_id() for _ in range(4)]
    processes = [record(tmp_path, job, 2000) for job in jobs]
    said = [process.communicate(timeout=300)[0].split() for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0, 0]
    store = open_store(tmp_path, create=False)
    for job, runs in zip(jobs, said, strict=True):
        recorded = list(every_run(store, job))
        assert {run.id for run in recorded} == set(runs)
        assert len(runs) == 2000
        assert all(run.reward == 0.5 for run in recorded)
    counts = {listed.job.id: listed.counts for listed in store.list_jobs()}
    assert [counts[job].graded for job in jobs] == [2000] * 4
    store.close()


@pytest.mark.parametrize("round_count", [5, pytest.param(100, marks=pytest.mark.soak, id="soak")])
def test_kill_at_any_moment_loses_nothing_that_was_said_to_be_committed(
    tmp_path: Path, round_count: int
) -> None:
    chance = random.Random(5)
    for _ in range(round_count):
        job = new_id()
        process = record(tmp_path, job, 1_000_000)
        assert process.stdout is not None
        said = [process.stdout.readline().strip() for _ in range(chance.randrange(1, 400))]
        process.send_signal(signal.SIGKILL)
        rest = process.stdout.read()
        said += rest[: rest.rfind("\n") + 1].split()
        process.wait()
        process.stdout.close()
        store = open_store(tmp_path, create=False)
        recorded = {run.id: run for run in every_run(store, job)}
        for run_id in said:
            assert recorded[run_id].outcome is Outcome.GRADED
        for run in recorded.values():
            if run.outcome is not None:
                assert [step.seq for step in store.read_steps(run.id)] == [1, 2, 3, 4]
            else:
                assert run.is_interrupted
        assert store.find_job(job).status == "interrupted"
        with store.lock_job(job):  # the dead hold nothing
            pass
        store.close()


def test_a_job_held_by_another_process_is_refused_by_name_until_that_dies(
    tmp_path: Path,
) -> None:
    process = record(tmp_path, JOB, 1_000_000)
    assert process.stdout is not None
    process.stdout.readline()
    assert job_holder(tmp_path, JOB) == process.pid
    assert open_store(tmp_path).find_job(JOB).status == "running"
    with (
        pytest.raises(InputError, match=f"is being worked on by process {process.pid}"),
        lock_job(tmp_path, JOB),
    ):
        pass
    with lock_job(tmp_path, "11" * 16):  # another job is free
        pass
    process.kill()
    process.communicate()
    assert job_holder(tmp_path, JOB) is None
    with lock_job(tmp_path, JOB):
        assert job_holder(tmp_path, JOB) == os.getpid()


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_holds_none_of_its_parents_jobs(tmp_path: Path) -> None:
    with lock_job(tmp_path, JOB):
        child = os.fork()
        if child == 0:
            code = 1
            with contextlib.suppress(BaseException):
                assert job_holder(tmp_path, JOB) == os.getppid()
                code = 0
            os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert job_holder(tmp_path, JOB) == os.getpid()
    assert job_holder(tmp_path, JOB) is None


def test_a_home_that_is_a_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "file"
    home.write_text("x")
    monkeypatch.setenv("HUD_HOME", str(home))
    for create in (True, False):
        with pytest.raises(StoreError, match=r"/file is not a folder") as caught:
            open_store(create=create)
        assert caught.value.hint is not None
    monkeypatch.setenv("HUD_HOME", str(home / "below"))
    with pytest.raises(StoreError, match="is not a folder"):
        open_store()


def test_a_file_that_is_no_database_is_named_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "hud.db").write_text("dear diary, " * 1000)
    with pytest.raises(StoreError, match="is not a SQLite database"):
        open_store(tmp_path)
    assert (tmp_path / "hud.db").read_text() == "dear diary, " * 1000


def test_a_database_of_something_else_is_named_and_left_alone(tmp_path: Path) -> None:
    with contextlib.closing(sqlite3.connect(tmp_path / "hud.db")) as other:
        other.execute("CREATE TABLE recipes (name TEXT)")
    with pytest.raises(StoreError, match="is something else's"):
        open_store(tmp_path)


def test_a_folder_in_the_place_of_the_database_is_named(tmp_path: Path) -> None:
    (tmp_path / "hud.db").mkdir()
    with pytest.raises(StoreError, match="cannot be opened"):
        open_store(tmp_path)


def test_a_store_of_a_newer_hud_is_refused_with_its_revision(tmp_path: Path) -> None:
    open_store(tmp_path).close()
    with contextlib.closing(sqlite3.connect(tmp_path / "hud.db")) as other:
        other.execute("UPDATE alembic_version SET version_num = '0999'")
        other.commit()
    with pytest.raises(StoreError, match=r"written by a newer hud \(revision 0999\)") as caught:
        open_store(tmp_path)
    assert caught.value.hint == "upgrade hud or set HUD_HOME to another folder"


def test_a_store_that_is_damaged_all_over_is_refused(tmp_path: Path) -> None:
    fill(tmp_path)
    path = tmp_path / "hud.db"
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(os.urandom(size - 4096))
    with pytest.raises(StoreError, match="is damaged"):
        open_store(tmp_path)


def test_a_store_that_is_damaged_in_one_place_says_so_where_it_hurts(tmp_path: Path) -> None:
    fill(tmp_path)
    path = tmp_path / "hud.db"
    with contextlib.closing(sqlite3.connect(path)) as other:
        pages = other.execute("SELECT rootpage FROM sqlite_master WHERE tbl_name = 'runs'")
        damaged = [page for (page,) in pages]
    with path.open("r+b") as file:
        for page in damaged:
            file.seek((page - 1) * 4096)
            file.write(os.urandom(4096))
    store = open_store(tmp_path)
    assert store.find_job(JOB).created_at == 1
    with pytest.raises(StoreError, match="is damaged"):
        store.runs_of(JOB)
    store.put(RunStart(id=new_id(), job_id=JOB, task_slug="t", started_at=1))
    with pytest.raises(StoreError, match="is damaged"):
        store.flush()
    with pytest.raises(StoreError, match="is damaged"):
        store.close()


def test_a_store_on_a_full_disk_says_so_and_goes_on_when_there_is_room(tmp_path: Path) -> None:
    with mounted(tmp_path / "disk", "size=2m") as home:
        store = open_store(home)
        store.put(JobRow(id=JOB, created_at=1))
        store.flush()
        ballast = home / "ballast"
        with contextlib.suppress(OSError), ballast.open("wb") as file:
            while True:
                file.write(b"x" * 4096)
                file.flush()
        run = RunStart(id=new_id(), job_id=JOB, task_slug="t", started_at=1)
        store.put(run)
        for seq in range(1, 21):
            store.put(StepRow(run_id=run.id, seq=seq, payload=b'"%s"' % (b"x" * 10_000)))
        store.put(StepRow(run_id=run.id, seq=21, payload=b'"%s"' % (b"x" * 100_000)))
        for _ in range(2):
            with pytest.raises(StoreError, match=r"is full; what is not yet written is kept"):
                store.flush()
        assert len(store.list_jobs()) == 1  # reading goes on
        ballast.unlink()
        store.put(
            RunEnd(
                id=run.id,
                job_id=JOB,
                status="completed",
                outcome=Outcome.GRADED,
                reward=1.0,
                ended_at=2,
            )
        )
        store.flush()
        assert store.find_run(run.id).reward == 1.0
        assert [len(step.payload) for step in store.read_steps(run.id)] == [10_002] * 20 + [100_002]
        store.close()


def test_a_read_only_store_says_so(tmp_path: Path) -> None:
    with mounted(tmp_path / "disk", "size=8m") as home:
        fill(home)
        _mount("-o", "remount,ro", str(home))
        with pytest.raises(StoreError, match="is read-only"):
            open_store(home)
        with pytest.raises(StoreError, match=r"cannot be opened|is read-only"):
            open_store(home, create=False).list_jobs()
        with pytest.raises(StoreError, match="cannot be made"):
            open_store(home / "below")


@contextlib.contextmanager
def mounted(folder: Path, options: str) -> Generator[Path]:
    if os.geteuid() != 0 or sys.platform != "linux":
        pytest.skip("a small disk of its own can be mounted only by root, on Linux")
    folder.mkdir()
    if _mount("-t", "tmpfs", "-o", options, "tmpfs", str(folder)):
        pytest.skip("mounting a small disk is not allowed here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def _mount(*arguments: str) -> int:
    return subprocess.run(["mount", *arguments], capture_output=True).returncode
