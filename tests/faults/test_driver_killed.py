"""The eval itself is killed, wherever its rollouts run: no grade is lost, and nothing is left."""

from __future__ import annotations

import os
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.hud_command import Running, Shell, until
from tests.faults import census as counting
from tests.faults.census import Census
from tests.faults.places import ALL, SOURCE, Ground, ground
from tests.faults.table import Record

GROUP = "`hud eval` is killed (`kill -9`)"
ROLLOUTS, AT_ONCE = 5, 4


@pytest.fixture
def shell(tmp_path: Path, census: Census) -> Shell:
    shell = Shell(tmp_path)
    shell.write("tasks.py", SOURCE.read_text())
    shell.env["FAULT_GATE"] = str(shell.folder)
    return shell


def _started(shell: Shell) -> int:
    return len(list(shell.folder.glob("started-*")))


def _run_until_in_the_middle(shell: Shell, running: Running, census: Census) -> None:
    """One rollout is graded, one is being graded, three are with their agents."""
    until(lambda: _started(shell) == AT_ONCE or running.process.poll() is not None)
    assert running.process.poll() is None, running.err
    (shell.folder / "go-0").touch()
    running.says("work-0 #1  reward 1.000")
    until(lambda: _started(shell) == ROLLOUTS)
    (shell.folder / "go-1").touch()
    until(lambda: bool(counting.named("hud-grading")))


def _runs(shell: Shell) -> tuple[str, list[dict[str, Any]]]:
    [job] = shell("jobs", "--json").data["jobs"]
    return job["id"], shell("jobs", job["id"], "--json", "--limit", "0").data["runs"]


@pytest.mark.parametrize("name", ALL)
def test_a_killed_eval_leaves_nothing_and_is_taken_up_again(
    name: str,
    request: pytest.FixtureRequest,
    shell: Shell,
    census: Census,
    tmp_path: Path,
    fault_row: Record,
) -> None:
    with ground(name, request, tmp_path) as place:
        _be_killed(name, place, shell, census, fault_row)


def _be_killed(name: str, place: Ground, shell: Shell, census: Census, fault_row: Record) -> None:
    shell.env |= place.env
    census.counts |= place.counts
    before = census.take()
    words = ("eval", "tasks.py", "oracle", "--all", "--runtime", place.argument)
    with shell.started(*words, "--max-concurrent", str(AT_ONCE), "--json") as running:
        _run_until_in_the_middle(shell, running, census)
        census.remember(running.process.pid)
        during = census.left(before)
        os.kill(running.process.pid, signal.SIGKILL)
        running.process.wait()
    seconds, left = census.wait_until(before, place.alone)
    assert left == {}, "left behind: " + counting.spelled(left)
    job, runs = _runs(shell)
    graded = {run["task"]: run["trace_id"] for run in runs if run["outcome"] == "graded"}
    assert graded.keys() == {"work-0"}, runs
    assert all(run["reward"] in (None, 1.0) for run in runs), "a killed rollout is no zero"

    (shell.folder / "go").touch()
    resumed = shell("eval", "--resume", job, "--json")
    assert resumed.code == 0, resumed.err
    _, left = census.wait_until(before)
    assert left == {}, "left behind: " + counting.spelled(left)

    _, runs = _runs(shell)
    rewards = Counter(run["task"] for run in runs if run["outcome"] == "graded")
    twice = [task for task, times in rewards.items() if times > 1]
    zeros = [run for run in runs if run["reward"] == 0.0]
    assert (len(rewards), twice, zeros) == (ROLLOUTS, [], []), runs
    assert graded.items() <= {run["task"]: run["trace_id"] for run in runs}.items()
    fault_row(
        group=GROUP,
        fault="with one rollout graded, one in the middle of grading, three with their agents",
        where=name,
        rollouts=ROLLOUTS,
        graded=len(rewards),
        before=counting.total(before),
        during=counting.spelled(during),
        reaped_s=None if place.alone == () else seconds,
        by=f"{place.others} by the next command" if place.others else "by a watchdog",
        note=NOTE,
    )


NOTE = (
    "The one that was graded keeps its grade and is not run again; the other four are "
    "*interrupted* until `hud eval --resume` has run them anew, which is when they are counted."
)
