"""`hud platform backup|restore|migrate|gc`: what is kept comes back whole, nothing else goes."""

from __future__ import annotations

import json
from pathlib import Path

from hud._core.ids import new_id
from hud.platform.secrets import KEY_FILE, SecretBox
from hud.store import BlobRow, JobRow, RunStart, StepRow, open_store
from tests.e2e.hud_command import Shell

LONG = "a long text " * 20_000


def _recorded(home: Path) -> str:
    store = open_store(home)
    job, run = new_id(), new_id()
    store.put(JobRow(id=job, created_at=1, name="kept"))
    store.put(RunStart(id=run, job_id=job, task_slug="t", started_at=1))
    payload = json.dumps({"source": "user", "content": LONG}).encode()
    store.put(StepRow(run_id=run, seq=1, payload=payload, source="user"))
    store.put(BlobRow(content=b"nobody refers to this"))
    store.flush()
    store.close()
    SecretBox(home).encrypt("x")
    return run


def test_a_backup_comes_back_whole_and_without_the_key_of_secrets(tmp_path: Path) -> None:
    hud = Shell(tmp_path)
    home, copy, again = tmp_path / "home", tmp_path / "copy", tmp_path / "again"
    run = _recorded(home)
    made = hud("platform", "backup", str(copy), "--json", "--home", str(home))
    assert made.code == 0, made.err
    assert made.data["damaged"] == []
    assert not list(copy.rglob(KEY_FILE))
    restored = hud("platform", "restore", str(copy), "--home", str(again))
    assert restored.code == 0, restored.err
    store = open_store(again, create=False)
    [step] = store.read_steps(run)
    assert json.loads(step.payload)["content"] == LONG
    store.close()
    refused = hud("platform", "restore", str(copy), "--home", str(again))
    assert refused.code == 2
    assert "there is a store in" in refused.err


def test_only_what_nothing_refers_to_is_collected(tmp_path: Path) -> None:
    hud, home = Shell(tmp_path), tmp_path / "home"
    run = _recorded(home)
    young = hud("platform", "gc", "--dry-run", "--json", "--home", str(home))
    assert young.data["blobs"] == 0, "what was stored just now stays"
    assert (young.data["bundles"], young.data["images"]) == (0, 0)
    for option in ("--grace-hours", "--keep-days"):
        assert hud("platform", "gc", option, "0.1", "--home", str(home)).code == 2
    store = open_store(home, create=False)
    assert len(list(store.read_steps(run))) == 1
    store.close()


def test_migrating_a_store_that_is_up_to_date_changes_nothing(tmp_path: Path) -> None:
    hud = Shell(tmp_path)
    _recorded(hud.home)
    done = hud("platform", "migrate", "--json")
    told = done.data
    assert done.code == 0
    assert told["before"] == told["now"]


def test_no_backup_is_made_of_nothing(tmp_path: Path) -> None:
    hud = Shell(tmp_path)
    done = hud("platform", "backup", str(tmp_path / "copy"), "--home", str(tmp_path / "none"))
    assert done.code != 0
    assert "there is no store" in done.err
