"""Temporary folders of killed owners are removed; everybody else's stay."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from hud.sandbox import folders

MAKE = "from hud.sandbox import folders; print(folders.make('workspace'), flush=True)"


@pytest.fixture(autouse=True)
def _own_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def test_folders_of_the_dead_go_and_those_of_the_living_stay(tmp_path: Path) -> None:
    own = folders.make("workspace")
    with subprocess.Popen(
        [sys.executable, "-c", f"{MAKE}; input()"],
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as other:
        assert other.stdout is not None
        theirs = Path(other.stdout.readline().strip())
        (theirs / "folder").mkdir()
        (theirs / "folder" / "file").write_text("x")
        assert theirs.parent == tmp_path
        assert folders.sweep() == 0
        assert theirs.exists()
        other.kill()
        other.wait()
    assert folders.sweep() == 1
    assert not theirs.exists()
    assert own.exists()


def test_what_is_not_named_so_is_left_alone(tmp_path: Path) -> None:
    gone = folders.prefix_of("workspace").split("-")[2].split(".")
    dead = f"{gone[0]}.zzzzz.1"  # more than there can be
    elsewhere = f"{gone[0]}0.zzzzz.1"
    victim = tmp_path / "victim"
    victim.mkdir()
    (tmp_path / f"hud-workspace-{dead}-link").symlink_to(victim)
    (tmp_path / f"hud-workspace-{dead}-file").write_text("x")
    for name in (f"hud-workspace-{elsewhere}-other", "hud-workspace-old", f"my-{dead}-x"):
        (tmp_path / name).mkdir()
    before = sorted(tmp_path.iterdir())
    assert folders.sweep() == 0
    assert sorted(tmp_path.iterdir()) == before
    (tmp_path / f"hud-workspace-{dead}-folder").mkdir()
    assert folders.sweep() == 1


def test_folders_of_another_machine_with_the_same_place_are_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The first process namespaces of all machines have one number, and a pid there is none here.
    other = tmp_path / "boot_id"
    other.write_text("another boot\n")
    with monkeypatch.context() as patched:
        patched.setattr(folders, "_BOOT", other)
        name = folders.prefix_of("workspace").split(".")[0] + ".zzzzz.1-x"
    (tmp_path / name).mkdir()
    assert folders.sweep() == 0 and (tmp_path / name).is_dir()


def test_another_users_folder_is_left_to_that_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dead = tmp_path / (folders.prefix_of("workspace").split(".")[0] + ".zzzzz.1-x")
    dead.mkdir()
    monkeypatch.setattr(os, "geteuid", lambda: dead.stat().st_uid + 1)
    assert folders.sweep() == 0 and dead.is_dir()
