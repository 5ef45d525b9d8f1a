"""What of a folder is packed."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from hud._core.errors import InputError
from hud.packaging.context import Limits, read_context


def lay(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def names(root: Path) -> list[str]:
    return read_context(root).names()


def test_git_ignores_first_then_docker_which_may_take_back(tmp_path: Path) -> None:
    lay(
        tmp_path,
        {
            ".gitignore": "*.log\n/data/\n",
            ".dockerignore": "notes\n!data/keep.txt\n**/big.bin\n",
            "tasks.py": "",
            "run.log": "",
            "deep/run.log": "",
            "data/keep.txt": "",
            "data/other.txt": "",
            "notes/a.md": "",
            "deep/notes/b.md": "",
            "deep/big.bin": "",
        },
    )
    assert names(tmp_path) == [
        ".dockerignore",
        ".gitignore",
        "data/keep.txt",
        "deep/notes/b.md",
        "tasks.py",
    ]


def test_an_ignore_file_further_down_counts_there_alone(tmp_path: Path) -> None:
    lay(
        tmp_path,
        {"a/.gitignore": "x\n/y\n", "a/x": "", "a/b/x": "", "a/b/y": "", "a/y": "", "x": ""},
    )
    assert names(tmp_path) == ["a/.gitignore", "a/b/y", "x"]


@pytest.mark.parametrize(
    "name",
    [
        ".env",
        ".env.local",
        "prod.env",
        "a/.env",
        ".netrc",
        ".ssh/config",
        ".hud/hud.db",
        "b/id_rsa",
    ],
)
def test_secrets_stay_at_home_whatever_the_ignore_files_say(tmp_path: Path, name: str) -> None:
    lay(tmp_path, {name: "KEY=1", ".dockerignore": f"!{name}\n!**\n", "tasks.py": ""})
    assert names(tmp_path) == [".dockerignore", "tasks.py"]


def test_what_tools_make_is_left_out(tmp_path: Path) -> None:
    lay(
        tmp_path,
        {
            ".git/config": "",
            "a/__pycache__/m.cpython-311.pyc": "",
            ".venv/bin/python": "",
            "node_modules/x/index.js": "",
            "dist/x.whl": "",
            "x.egg-info/PKG-INFO": "",
            "src/build/kept.py": "",
        },
    )
    assert names(tmp_path) == ["src/build/kept.py"]


def test_empty_folders_and_the_right_to_execute_are_kept(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    lay(tmp_path, {"run.sh": ""})
    (tmp_path / "run.sh").chmod(0o755)
    found = {entry.name: entry for entry in read_context(tmp_path).entries}
    assert found["empty"].kind == "folder"
    assert found["run.sh"].is_executable


def test_a_link_inside_stays_a_link_and_one_that_leads_out_is_refused(tmp_path: Path) -> None:
    lay(tmp_path, {"a/real.txt": "x"})
    (tmp_path / "a/link").symlink_to("real.txt")
    found = {entry.name: entry for entry in read_context(tmp_path).entries}
    assert found["a/link"].kind == "link" and found["a/link"].target == "real.txt"
    (tmp_path / "out").symlink_to("../secret")
    with pytest.raises(InputError, match="the link out leads out of the folder"):
        read_context(tmp_path)


@pytest.mark.parametrize("kind", ["pipe", "socket"])
def test_what_is_no_file_is_refused(tmp_path: Path, kind: str) -> None:
    if kind == "pipe":
        os.mkfifo(tmp_path / "odd")
    else:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(tmp_path / "odd"))
    with pytest.raises(InputError, match="odd is no file, folder or link"):
        read_context(tmp_path)


def test_a_folder_that_is_too_large_is_refused(tmp_path: Path) -> None:
    lay(tmp_path, {f"{number}.txt": "12345" for number in range(5)})
    for limits in (Limits(files=4), Limits(total_bytes=20)):
        with pytest.raises(InputError, match="holds more than"):
            read_context(tmp_path, limits)
    with pytest.raises(InputError, match="is no folder"):
        read_context(tmp_path / "0.txt")
