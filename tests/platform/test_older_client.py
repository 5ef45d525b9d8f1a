"""An older published client (0.6.10) works against a platform of ours by its URL variables."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.platform.programs import Published
from tests.platform.server import Server

TASKS = """
from hud import Environment

env = Environment(name="letters")


@env.template()
async def count(word: str = "mirror"):
    answer = yield f"How many r are in {word}?"
    yield 1.0 if answer == str(word.count("r")) else 0.0


@env.template()
async def breaks():
    yield "Say anything."
    raise RuntimeError("the grader broke")


tasks = [count(word="mirror"), count(word="banana"), breaks()]
"""

RUN = """
import asyncio
import json

import tasks
from hud.agents.base import Agent
from hud.agents.types import AgentStep
from hud.eval import LocalRuntime, Taskset
from hud.telemetry.exporter import flush


class Three(Agent):
    async def __call__(self, run):
        run.record(AgentStep(content="3", done=True))
        run.trace.content = "3"


async def main():
    job = await Taskset("letters", tasks.tasks).run(Three(), runtime=LocalRuntime("tasks.py"))
    flush()
    print(json.dumps({"job": job.id, "runs": [run.trace_id for run in job.runs]}))


asyncio.run(main())
"""


class Older(Published):
    """The older client, which says on stderr what it has done."""

    def run(self, *words: str) -> str:
        done = self.attempt(*words)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr


@pytest.fixture
def older(old_peer_python: Path, server: Server, tmp_path: Path) -> Older:
    (tmp_path / "tasks.py").write_text(TASKS, encoding="utf-8")
    (tmp_path / "run.py").write_text(RUN, encoding="utf-8")
    key = server.key(team="older-team", scopes=("read", "write", "inference"))
    return Older(old_peer_python, server, tmp_path, key)


def test_a_taskset_synced_twice_changes_nothing_the_second_time(older: Older) -> None:
    sync = ("-m", "hud", "sync", "tasks", "letters", "tasks.py", "--yes")
    assert "3 created" in older.run(*sync)
    assert "All tasks up to date" in older.run(*sync)


def test_its_job_is_recorded_and_a_broken_grader_is_no_zero(server: Server, older: Older) -> None:
    said = json.loads(
        next(line for line in older.run("run.py").splitlines() if line.startswith("{"))
    )
    with server.client(older.key) as client:
        shown = [client.get(f"/v2/trace/{run}").json() for run in said["runs"]]
    assert sorted((one["status"], one["reward"]) for one in shown if one["reward"] is not None) == [
        ("completed", 0.0),
        ("completed", 1.0),
    ]
    assert [one["status"] for one in shown if one["reward"] is None] == ["error"]
    assert said["job"] in older.run("-m", "hud", "jobs", "--json")
    assert "How many r are in mirror?" in older.run("-m", "hud", "trace", said["runs"][0])
