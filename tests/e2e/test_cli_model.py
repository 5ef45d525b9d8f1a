"""A model behind an endpoint is evaluated, and one that dies half way costs no grade."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e.hud_command import Result, Shell

# As published in the readme of the SDK this project is compatible with.
LETTERS = """
from hud import Environment

env = Environment(name="letter-count")

@env.template()
async def count_letter(word: str = "strawberry", letter: str = "r"):
    answer = yield f"How many '{letter}'s are in '{word}'? Reply with just the number."
    yield 1.0 if answer and str(word.count(letter)) in answer else 0.0

tasks = [count_letter(word=w) for w in ("strawberry", "raspberry", "blueberry")]
"""
KEY = "sk-this-key-must-stay-secret-0123456789"


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    shell = Shell(tmp_path)
    shell.write("tasks.py", LETTERS)
    shell.env |= {"OPENAI_API_KEY": KEY, "NO_PROXY": "127.0.0.1"}
    return shell


@contextmanager
def chat_server(*, port: int = 0, dies_after: int | None = None) -> Generator[int]:
    """Run a server that speaks Chat Completions and yield its port."""
    command = [sys.executable, "-m", "hud.testing.chat_server", "--port", str(port)]
    if dies_after is not None:
        command += ["--dies-after", str(dies_after)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield int(process.stdout.readline().rpartition("=")[2])
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def _evaluate(shell: Shell, port: int, *more: str) -> Result:
    url = f"base_url=http://127.0.0.1:{port}/v1"
    args = ["eval", "tasks.py", "openai_compatible", "--model", "small", "--config", url]
    return shell(*args, "--all", "--group", "3", *more)


def test_the_published_example_runs_against_an_endpoint(shell: Shell) -> None:
    with chat_server() as port:
        ran = _evaluate(shell, port, "--json")
    assert ran.code == 0, ran.err
    assert (ran.data["graded"], ran.data["mean"], ran.data["llm_calls"]) == (9, 1.0, 9)
    assert ran.data["prompt_tokens"] > 0
    assert ran.data["model"] == "small"


def test_an_endpoint_that_dies_half_way_leaves_runs_ungraded_and_a_resume_completes(
    shell: Shell,
) -> None:
    with chat_server(dies_after=4) as port:
        broken = _evaluate(shell, port, "--json", "--retries", "0", "--max-concurrent", "1")
    assert broken.code == 3, broken.err
    assert broken.data["ungraded"] == {"model": 5}
    assert (broken.data["graded"], broken.data["mean"]) == (4, 1.0)
    assert (broken.data["lower_bound"], broken.data["upper_bound"]) == (4 / 9, 1.0)
    assert "5 × model: " in broken.err

    job = broken.data["job_id"]
    with chat_server(port=port) as same_port:
        assert same_port == port
        resumed = shell("eval", "--resume", job, "--json")
        other = shell("eval", "--resume", job, "--model", "large")
    assert resumed.code == 0, resumed.err
    assert (resumed.data["graded"], resumed.data["attempts"]) == (9, 14)
    kept = {run["trace_id"] for run in broken.data["runs"] if run["outcome"] == "graded"}
    assert len(kept & {run["trace_id"] for run in resumed.data["runs"]}) == 4
    assert other.code == 2
    assert "model was small and is now large" in other.err


def test_no_key_is_kept_or_shown(shell: Shell) -> None:
    with chat_server() as port:
        ran = _evaluate(shell, port, "--json", "--config", f"api_key={KEY}", "-vv")
        job = shell("jobs", ran.data["job_id"], "--json")
        trace = shell("trace", ran.data["runs"][0]["trace_id"], "--json")
    assert ran.code == 0, ran.err
    for text in (ran.out, ran.err, job.out, trace.out):
        assert KEY not in text
    for file in shell.home.rglob("*"):
        assert file.is_dir() or KEY.encode() not in file.read_bytes(), file


def test_without_an_endpoint_nothing_is_run(shell: Shell) -> None:
    del shell.env["OPENAI_API_KEY"]
    refused = shell("eval", "tasks.py", "openai_compatible")
    assert refused.code == 2
    assert "OPENAI" in refused.err
    assert not shell.home.exists()
