"""`hud check` finds tasks that cannot be solved, pay for nothing, or are not repeatable."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.e2e.hud_command import Shell

SOURCE = """
import itertools, random, uuid
from hud import Environment
env = Environment(name="mixed")

async def right(run, **args):
    return "right"

def template(fn):
    return env.template(solution=right)(fn)

@template
async def fit():
    yield 1.0 if (yield "p") == "right" else 0.0

@template
async def unsolvable():
    yield "p"
    yield 0.5

@template
async def generous():
    yield 1.0 if (yield "p") == "right" else 0.2

@template
async def another_prompt():
    yield 1.0 if (yield str(uuid.uuid4())) == "right" else 0.0

@template
async def another_grade():
    answer = yield "p"
    yield 1.0 if answer == "right" else uuid.uuid4().int % 10**9 / 10**12

@template
async def breaks_on_nothing():
    answer = yield "p"
    yield 1.0 if answer.strip() == "right" else 0.0

@env.template()
async def without_solution():
    yield "p"
    yield 1.0

tasks = [fit(), unsolvable(), generous(), another_prompt(), another_grade(), breaks_on_nothing(),
         without_solution()]
"""


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    shell = Shell(tmp_path)
    shell.write("tasks.py", SOURCE)
    return shell


def _problems(data: dict[str, Any]) -> dict[str, str]:
    return {task["slug"]: "; ".join(task["problems"]) for task in data["tasks"]}


@pytest.mark.parametrize("runtime", ["local", "subprocess"])
def test_every_kind_of_unfit_task_is_found_and_ends_with_1(shell: Shell, runtime: str) -> None:
    checked = shell("check", "tasks.py", "--runtime", runtime, "--json")
    assert checked.code == 1
    assert checked.data["fit"] is False
    problems = _problems(checked.data)
    assert problems["fit"] == ""
    assert "scores 0.5, not 1" in problems["unsolvable"]
    assert "doing nothing scores 0.2, above the floor 0" in problems["generous"]
    assert "different prompts" in problems["another_prompt"]
    assert "another time" in problems["another_grade"]
    assert "doing nothing ends ungraded (grader)" in problems["breaks_on_nothing"]
    assert "no reference solution" in problems["without_solution"]


def test_the_floor_and_the_tasks_can_be_chosen(shell: Shell) -> None:
    chosen = ["check", "--task-ids", "fit,generous", "--runtime", "local"]
    assert shell(*chosen).code == 1
    passed = shell(*chosen, "--floor", "0.2")
    assert passed.code == 0, passed.out
    assert "2 tasks checked, all fit" in passed.err


def test_the_table_names_every_problem(shell: Shell) -> None:
    shown = shell("check", "--runtime", "local")
    assert shown.code == 1
    lines = {line.split()[0]: line for line in shown.out.splitlines() if line[:1].isalpha()}
    assert " ok" in lines["fit"]
    assert "FAIL" in lines["generous"]
    assert "6 of 7 tasks not fit" in shown.err
