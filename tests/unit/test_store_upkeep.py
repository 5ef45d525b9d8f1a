"""Looking after a store: collecting blobs, backups, migrations, and what it holds."""

from __future__ import annotations

import base64
import hashlib
import os
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from hud._core import json
from hud._core.errors import InputError, StoreError
from hud.store import BlobRow, DebugSpanRow, JobRow, RunStart, StepRow, Store, open_store
from hud.store.ddl_sqlite import REVISIONS
from hud.store.upkeep import back_up, collect_garbage, migrate, read_state, restore

JOB = "0c" * 16
OLD_S = 48 * 3600.0


@pytest.fixture(params=["embedded", "team"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param == "embedded":
        return open_store(tmp_path / "home")
    url, blobs = request.getfixturevalue("postgres_url"), request.getfixturevalue("s3_url")
    return open_store(tmp_path / "home", database=url, blobs=blobs)


def image(number: int) -> bytes:
    return bytes([number]) * 5_000


def step(number: int, run_id: str = JOB) -> StepRow:
    data = base64.b64encode(image(number)).decode()
    payload = {
        "type": "image",
        "mimeType": "image/png",
        "data": data,
        "note": '"$blob":"' + "0" * 64,
    }
    return StepRow(run_id=run_id, seq=number, payload=json.encode(payload))


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Return what makes the collecting of garbage think that two days have passed."""
    real = time.time

    def pass_time() -> None:
        monkeypatch.setattr("hud.store.upkeep.garbage._now", lambda: real() + OLD_S)

    return pass_time


async def test_only_blobs_that_nobody_refers_to_are_collected(
    store: Store, later: Callable[[], None]
) -> None:
    store.put(step(1))
    store.put(BlobRow(content=b"nobody's"))
    store.put(BlobRow(content=image(1), team="other"))
    long = json.encode({"text": "x" * 100_000})
    store.put(DebugSpanRow(run_id=JOB, span_id="1" * 16, name="n", payload=long))
    await store.committed()
    assert collect_garbage(store).rows == 0  # they are young
    later()
    told: list[tuple[int, int]] = []
    tried = collect_garbage(store, dry_run=True)
    found = collect_garbage(store, progress=lambda done, of: told.append((done, of)))
    assert tried == found
    assert (found.files, found.size_bytes, found.rows) == (1, 8, 2)
    assert told[-1][0] == told[-1][1] == 3
    assert json.decode(next(iter(store.read_steps(JOB))).payload)["data"]
    assert store.read_debug_spans(JOB)[0].payload == long
    with pytest.raises(InputError, match="there is no blob"):
        store.read_blob(sha256(b"nobody's"))
    with pytest.raises(InputError, match="there is no blob"):
        store.read_blob(sha256(image(1)), team="other")
    store.put(BlobRow(content=b"nobody's"))
    await store.committed()
    assert store.read_blob(sha256(b"nobody's")) == b"nobody's"
    store.close()


async def test_a_blob_that_is_stored_again_is_young_again(
    tmp_path: Path, later: Callable[[], None]
) -> None:
    store = open_store(tmp_path)
    for content in (b"again", b"never"):
        store.put(BlobRow(content=content))
    await store.committed()
    with closing(sqlite3.connect(tmp_path / "hud.db")) as connection:
        connection.execute("UPDATE blobs SET created_at = 1")
        connection.commit()
    for path in (tmp_path / "blobs").glob("*/*"):
        os.utime(path, (1, 1))
    store.put(BlobRow(content=b"again"))
    await store.committed()
    assert collect_garbage(store).files == 1
    assert store.read_blob(sha256(b"again")) == b"again"
    store.close()


async def test_nothing_that_is_being_recorded_is_collected(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    stop = threading.Event()

    def collect() -> None:
        while not stop.is_set():
            collect_garbage(store, grace_s=3600)

    thread = threading.Thread(target=collect)
    thread.start()
    try:
        for number in range(1, 120):
            store.put(step(number))
            if number % 20 == 0:
                await store.committed()
        await store.committed()
    finally:
        stop.set()
        thread.join()
    assert len([json.decode(one.payload)["data"] for one in store.read_steps(JOB)]) == 119
    store.close()


def test_a_grace_that_is_too_short_is_refused(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    with pytest.raises(InputError, match="not after 5 s"):
        collect_garbage(store, grace_s=5)
    store.close()


def test_what_a_killed_process_left_half_done_is_undone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(tmp_path)
    store.put(BlobRow(content=b"aside"))
    store.flush()
    [path] = (tmp_path / "blobs").glob("*/*")
    path.rename(path.with_name(f".old-{path.name}"))
    path.with_name(".new-1234").write_bytes(b"half")
    monkeypatch.setattr("hud.store.blobs._HALF_DONE_S", -1.0)
    collect_garbage(store)
    assert [one.name for one in path.parent.iterdir()] == [path.name]
    assert store.read_blob(sha256(b"aside")) == b"aside"
    store.close()


def test_a_backup_restored_elsewhere_is_the_store_it_was_made_of(tmp_path: Path) -> None:
    store = open_store(tmp_path / "home")
    (tmp_path / "home" / "secret.key").write_text("the key of the secrets")
    store.put(JobRow(id=JOB, created_at=1, name="job"))
    store.put(step(1))
    store.flush()
    told: list[tuple[int, int]] = []
    made = back_up(store, tmp_path / "copy", progress=lambda done, of: told.append((done, of)))
    assert (made.blobs, made.copied, made.damaged) == (1, 1, ())
    assert told == [(1, 1)]
    store.put(step(2))
    store.flush()
    again = back_up(store, tmp_path / "copy")
    assert (again.blobs, again.copied) == (2, 1)
    store.put(step(3))  # after the backup
    store.close()
    kept = [path for path in (tmp_path / "copy").rglob("*") if path.is_file()]
    assert not any(b"the key of the secrets" in path.read_bytes() for path in kept)
    assert all(path.stat().st_mode & 0o077 == 0 for path in (tmp_path / "copy").rglob("*"))
    restored = restore(tmp_path / "copy", tmp_path / "again")
    assert (restored.blobs, restored.copied, restored.damaged) == (2, 2, ())
    other = open_store(tmp_path / "again")
    assert other.find_job(JOB).name == "job"
    assert [one.seq for one in other.read_steps(JOB)] == [1, 2]
    other.put(step(3))
    other.flush()
    other.close()
    with pytest.raises(InputError, match="there is a store in"):
        restore(tmp_path / "copy", tmp_path / "again")


async def test_a_backup_made_while_others_record_is_whole(tmp_path: Path) -> None:
    store = open_store(tmp_path / "home")
    stop = threading.Event()

    def record() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            run = RunStart(id=f"{number:032x}", job_id=JOB, task_slug="t", started_at=number)
            store.put(run)
            store.put(step(1 + number % 200, run.id))
            store.flush()

    thread = threading.Thread(target=record)
    thread.start()
    try:
        while not store.list_runs():
            pass
        made = [back_up(store, tmp_path / "copy") for _ in range(5)][-1]
    finally:
        stop.set()
        thread.join()
    assert made.damaged == ()
    restore(tmp_path / "copy", tmp_path / "again")
    other = open_store(tmp_path / "again")
    runs = other.list_runs(limit=100_000)
    assert runs
    for run in runs:
        assert len(list(other.read_steps(run.id))) == 1
    other.close()
    store.close()


def test_damaged_blobs_are_named_and_the_rest_is_kept(tmp_path: Path) -> None:
    store = open_store(tmp_path / "home")
    for content in (b"good", b"bad", b"gone"):
        store.put(BlobRow(content=content))
    store.flush()
    folder = tmp_path / "home" / "blobs"
    bad, gone = sha256(b"bad"), sha256(b"gone")
    (folder / bad[:2] / bad[2:]).write_bytes(b"dab")
    (folder / gone[:2] / gone[2:]).unlink()
    made = back_up(store, tmp_path / "copy")
    assert (made.copied, set(made.damaged)) == (1, {bad, gone})
    store.close()


def test_a_backup_that_is_damaged_is_not_restored(tmp_path: Path) -> None:
    store = open_store(tmp_path / "home")
    for number in range(2_000):
        store.put(RunStart(id=f"{number:032x}", job_id=JOB, task_slug="t" * 50, started_at=number))
    store.flush()
    back_up(store, tmp_path / "copy")
    store.close()
    with (tmp_path / "copy" / "hud.db").open("r+b") as file:
        file.seek(200_000)
        file.write(b"\xff" * 50_000)
    with pytest.raises(StoreError, match="is damaged"):
        restore(tmp_path / "copy", tmp_path / "again")
    assert not (tmp_path / "again" / "hud.db").exists()
    with pytest.raises(InputError, match="there is no backup in"):
        restore(tmp_path / "nothing", tmp_path / "again")


def test_a_store_is_not_backed_up_into_itself(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    with pytest.raises(InputError, match="is the store itself"):
        back_up(store, tmp_path)
    store.close()


def test_a_store_on_postgresql_says_what_backs_it_up(postgres_url: str, tmp_path: Path) -> None:
    store = open_store(tmp_path, database=postgres_url)
    with pytest.raises(InputError, match="is backed up with the tools of PostgreSQL") as refused:
        back_up(store, tmp_path / "copy")
    assert "pg_dump" in str(refused.value.hint)
    store.close()


async def test_the_state_of_a_store_says_what_it_holds_and_where(store: Store) -> None:
    store.put(JobRow(id=JOB, created_at=1))
    store.put(step(1))
    store.put(step(2))
    await store.committed()
    state = read_state(store)
    assert state.revision == REVISIONS[-1]
    assert (state.rows["jobs"], state.rows["runs"], state.rows["steps"]) == (1, 0, 2)
    assert (state.blobs, state.blob_bytes) == (2, 10_000)
    assert state.size_bytes > 0
    assert "hud.db" in state.database or state.database.startswith("postgresql://127.0.0.1:")
    store.close()


def test_migrating_says_from_where_to_where(tmp_path: Path, postgres_url: str) -> None:
    from hud.store.migrations import upgrade

    (tmp_path / "old").mkdir()
    upgrade(tmp_path / "old" / "hud.db", "0002")
    assert migrate(tmp_path / "old") == ("0002", REVISIONS[-1])
    assert migrate(tmp_path / "old") == (REVISIONS[-1], REVISIONS[-1])
    assert migrate(tmp_path / "new") == (None, REVISIONS[-1])
    assert migrate(database=postgres_url) == (None, REVISIONS[-1])
    assert migrate(database=postgres_url) == (REVISIONS[-1], REVISIONS[-1])


def test_a_backup_whose_process_is_killed_leaves_the_one_before(tmp_path: Path) -> None:
    store = open_store(tmp_path / "home")
    store.put(JobRow(id=JOB, created_at=1, name="first"))
    store.flush()
    back_up(store, tmp_path / "copy")
    store.put(step(1))
    store.close()
    program = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from hud.store import open_store\n"
        "from hud.store.upkeep import back_up\n"
        "store = open_store(Path(sys.argv[1]))\n"
        "def die(*_):\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "back_up(store, Path(sys.argv[2]), progress=die)\n"
    )
    words = [sys.executable, "-c", program, str(tmp_path / "home"), str(tmp_path / "copy")]
    assert subprocess.run(words, timeout=60).returncode == -9
    assert restore(tmp_path / "copy", tmp_path / "again").blobs == 0
    other = open_store(tmp_path / "again")
    assert other.find_job(JOB).name == "first"
    other.close()
