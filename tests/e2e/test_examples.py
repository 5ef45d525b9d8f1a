"""Every example runs as its docstring says, and its own asserts hold."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted(path for path in (ROOT / "examples").iterdir() if path.is_dir())
RUNNABLE = [folder / "run.py" for folder in EXAMPLES if folder.name != "__pycache__"]


def _run(arguments: list[str], home: Path) -> subprocess.CompletedProcess[str]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        arguments,
        cwd=ROOT,
        env={"HOME": str(home), "HUD_HOME": str(home / "hud"), "PATH": path, "LANG": "C.UTF-8"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.mark.parametrize("path", RUNNABLE, ids=lambda path: path.parent.name)
def test_an_example_asserts_its_own_result(path: Path, tmp_path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert f"python examples/{path.parent.name}/run.py" in text, "it does not say how to run it"
    assert re.search(r"^ +assert ", text, re.MULTILINE), "it asserts nothing"
    done = _run([sys.executable, str(path)], tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout, "an example shows what it found"


def test_the_quickstart_tasks_are_fit_to_evaluate_with(tmp_path: Path) -> None:
    done = _run(["hud", "check", "examples/quickstart/tasks.py"], tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_example_folder_can_be_run() -> None:
    assert len(RUNNABLE) >= 5
    assert all(path.is_file() for path in RUNNABLE)
