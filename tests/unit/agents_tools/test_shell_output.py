"""How a command's result reads."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hud.agents.tools.shell import outcome, readable, shortened, within
from hud.capabilities.ssh import CommandResult

IN_THE_BACKGROUND = "start what takes long with & and send its output to a file"


def result(**given: Any) -> CommandResult:
    fields: dict[str, Any] = {
        "exit_status": 0, "exit_signal": None, "stdout": "", "stderr": "",
        "stdout_truncated": False, "stderr_truncated": False, "stdout_bytes": 0,
        "stderr_bytes": 0, "timed_out": False, "left_running": False,
    }  # fmt: skip
    return CommandResult(**{**fields, **given})


@pytest.mark.parametrize(
    ("given_", "says", "ended"),
    [
        ({}, "[no output]", {"type": "exit", "exit_code": 0}),
        ({"stdout": "a\n\n"}, "a", {"type": "exit", "exit_code": 0}),
        ({"stderr": "e\n"}, "[stderr]\ne", {"type": "exit", "exit_code": 0}),
        ({"exit_status": 2}, "[exit code 2]", {"type": "exit", "exit_code": 2}),
        (
            {"exit_status": None, "exit_signal": "SEGV"},
            "[killed by SIGSEGV]",
            {"type": "exit", "exit_code": 139},
        ),
        (
            {"exit_status": None},
            "[ended without an exit code: something killed its session]",
            {"type": "exit", "exit_code": 255},
        ),
        (
            {"stdout": "a\n", "left_running": True},
            "a\n[something it started is still running; its further output is lost]",
            {"type": "exit", "exit_code": 0},
        ),
        (
            {"exit_status": None, "timed_out": True, "stdout": "a"},
            f"a\n[timed out: killed after 5 s; {IN_THE_BACKGROUND}]",
            {"type": "timeout"},
        ),
    ],
)
def test_a_result_says_how_the_command_ended(
    given_: dict[str, Any], says: str, ended: dict[str, Any]
) -> None:
    assert readable(result(**given_), 5) == says
    assert outcome(result(**given_)) == ended


@given(st.text(max_size=300), st.text(max_size=300), st.integers(0, 300))
def test_two_outputs_stay_within_a_limit(stdout: str, stderr: str, chars: int) -> None:
    short = within(stdout, stderr, chars)
    assert len(short[0]) + len(short[1]) <= chars
    if len(stdout) + len(stderr) <= chars:
        assert short == (stdout, stderr)


def test_the_middle_is_left_out_and_said() -> None:
    said = shortened("a" * 500 + "z" * 500, 60)
    assert len(said) == 60
    assert said.strip("az") == "\n[1000 characters, the middle left out]\n"
