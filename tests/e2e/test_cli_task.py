"""Single tasks by hand, in a served environment and without one."""

from __future__ import annotations

import re
import signal
from collections.abc import Generator
from pathlib import Path

import pytest

from tests.e2e.hud_command import Shell, until

SOURCE = """
from hud import Environment
env = Environment(name="sums")

@env.template()
async def add(a: int, b: int = 2):
    "Add two numbers."
    answer = yield f"What is {a} + {b}?"
    yield 1.0 if answer == str(a + b) else 0.25

tasks = [add(a=1), add(a=5, b=5)]
tasks[0].slug = "one-and-two"
"""


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    shell = Shell(tmp_path)
    shell.write("env.py", SOURCE)
    return shell


@pytest.fixture
def url(shell: Shell) -> Generator[str]:
    """Serve the environment with `hud serve` and yield its address."""
    with shell.started("serve", "--port", "0") as running:
        until(lambda: "\n" in running.out)
        [port] = re.findall(r"\AHUD_SERVE_PORT=(\d+)\n\Z", running.out)
        yield f"tcp://127.0.0.1:{port}"
        running.process.send_signal(signal.SIGTERM)
        assert running.process.wait(60) == 0


def test_without_a_server_tasks_are_started_and_graded_here(shell: Shell) -> None:
    listed = shell("task", "list", "-s", ".", "--json").data["tasks"]
    assert listed[0] == {"slug": "one-and-two", "env": "sums", "id": "add", "args": {"a": 1}}
    started = shell("task", "start", "one-and-two", "--source", "env.py")
    assert started.out == "What is 1 + 2?\n"
    assert "not kept waiting" in started.err
    right = shell("task", "grade", "one-and-two", "-s", ".", "--answer", "3")
    assert (right.code, right.out) == (0, "1.0\n")
    wrong = shell("task", "grade", "add", "-s", ".", "--args", '{"a": 2}', "--answer", "3")
    assert wrong.out == "0.25\n"


def test_a_served_environment_keeps_a_task_waiting_for_its_grade(shell: Shell, url: str) -> None:
    [entry] = shell("task", "list", "--url", url, "--json").data["tasks"]
    assert (entry["id"], entry["description"]) == ("add", "Add two numbers.")
    started = shell("task", "start", "add", "-a", '{"a": 4}', "--url", url)
    assert started.out == "What is 4 + 2?\n"
    shell.write("answer.txt", "6")
    graded = shell("task", "grade", "add", "--answer-file", "answer.txt", "--url", url)
    assert (graded.code, graded.out) == (0, "1.0\n")
    none_left = shell("task", "grade", "add", "--answer", "6", "--url", url)
    assert none_left.code == 1
    assert "no task in progress" in none_left.err


def test_several_waiting_tasks_are_told_apart_by_their_session(shell: Shell, url: str) -> None:
    sessions = [
        shell("task", "start", "add", "-a", f'{{"a": {a}}}', "-u", url, "--json").data["session_id"]
        for a in (1, 2)
    ]
    unclear = shell("task", "grade", "add", "--answer", "4", "-u", url)
    assert unclear.code == 1
    assert all(session in unclear.err for session in sessions)
    graded = shell("task", "grade", "add", "--answer", "4", "-u", url, "--session", sessions[1])
    assert graded.out == "1.0\n"


def test_the_answer_may_come_from_standard_input_and_the_frame_go_to_a_file(shell: Shell) -> None:
    args = ["task", "grade", "one-and-two", "-s", ".", "--answer-file", "-", "--out", "frame.json"]
    assert shell(*args, stdin="3").out == "1.0\n"
    assert '"score":1.0' in (shell.folder / "frame.json").read_text()


def test_a_served_environment_takes_a_whole_eval(shell: Shell, url: str) -> None:
    ran = shell("eval", "env.py", "noop", "--all", "--group", "3", "--runtime", url, "--json")
    assert ran.code == 0, ran.err
    assert (ran.data["graded"], ran.data["mean"]) == (6, 0.25)


def test_serve_passes_arguments_to_the_function_that_makes_the_environment(shell: Shell) -> None:
    shell.write(
        "made.py",
        "from hud import Environment\ndef make(name='x'):\n    return Environment(name=name)\n",
    )
    with shell.started("serve", "made.py:make", "--arg", "name=given", "--port", "0") as running:
        running.says("serving 'given'")
