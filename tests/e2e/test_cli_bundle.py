"""`hud view --bundle`, as typed: what it says and refuses, and that nothing half-made stays."""

from __future__ import annotations

import json
from collections.abc import Generator
from pathlib import Path

import pytest

from hud.platform.assets import FOLDER
from hud.store import Store, open_store
from tests.contenders import record_job
from tests.e2e.hud_command import Shell
from tests.needs import missing

STEP = json.dumps({"source": "agent", "content": "the answer"}).encode()
GONE = json.dumps({"source": "agent", "content": {"$blob": "0" * 64, "size_bytes": 9}}).encode()


@pytest.fixture(autouse=True)
def built() -> None:
    if not (FOLDER / "index.html").is_file():
        missing("the web UI (scripts/ui builds it)")


@pytest.fixture
def hud(tmp_path: Path) -> Shell:
    return Shell(tmp_path)


@pytest.fixture
def store(hud: Shell) -> Generator[Store]:
    store = open_store(hud.home)
    yield store
    store.close()


def test_a_job_is_written_to_a_folder_and_said_how_to_look_at_it(hud: Shell, store: Store) -> None:
    job = record_job(store, {"a": [0.5, 1.0]}, steps=[STEP, STEP])
    done = hud("view", "--bundle", "made/for you", job[:8])
    assert (done.code, done.out) == (0, "made/for you\n"), done.err
    assert "2 runs, 4 steps, 0 pictures and long texts" in done.err
    assert "python3 -m http.server -d 'made/for you'" in done.err
    folder = hud.folder / "made" / "for you"
    assert (folder / "index.html").is_file()
    assert len(list((folder / "data" / "traces").glob("*.json"))) == 2
    assert [path.name for path in folder.parent.iterdir()] == ["for you"]


def test_what_was_written_is_told_as_data(hud: Shell, store: Store) -> None:
    job = record_job(store, {"a": [0.5]}, steps=[STEP])
    said = hud("view", "--bundle", "made", job, "--json").data
    assert said.pop("size_bytes") > 100_000
    assert said == {"folder": "made", "job_id": job, "runs": 1, "steps": 1, "media": 0}


def test_a_folder_with_something_in_it_is_left_alone(hud: Shell, store: Store) -> None:
    job = record_job(store, {"a": [0.5]})
    hud.write("notes.txt", "mine")
    for target in (".", "notes.txt"):
        refused = hud("view", "--bundle", target, job)
        assert refused.code == 2 and "already" in refused.err
    assert [path.name for path in hud.folder.iterdir()] == ["notes.txt"]


def test_a_bundle_holds_a_job_that_is_named(hud: Shell, store: Store) -> None:
    job = record_job(store, {"a": [0.5]})
    run = store.runs_of(job)[0].id
    assert "which job" in hud("view", "--bundle", "made").err
    of_run = hud("view", "--bundle", "made", run)
    assert of_run.code == 2 and f"hud view --bundle DIR {job[:8]}" in of_run.err
    assert hud("view", "--bundle", "made", "ffff").code == 2
    assert not list(hud.folder.iterdir())


def test_a_picture_that_is_gone_takes_nothing_with_it(hud: Shell, store: Store) -> None:
    job = record_job(store, {"a": [0.5]}, steps=[STEP, GONE])
    said = hud("view", "--bundle", "made", job, "--json").data
    assert (said["steps"], said["media"]) == (2, 0)
