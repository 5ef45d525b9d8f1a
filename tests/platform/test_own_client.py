"""Our own command line against our own platform: the whole way, with nothing in between."""

from __future__ import annotations

import itertools
import signal
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.hud_command import Shell, until
from tests.platform.server import Server, running

TASKS = """
from hud import Environment

env = Environment("letters")


@env.template()
async def count(word: str, letter: str = "r"):
    answer = yield f"How many {letter} are in {word}?"
    if word == "broken":
        raise RuntimeError("the grader fell over")
    yield {"score": float(answer == str(word.count(letter))), "content": answer}


tasks = [count(word=word) for word in ("berry", "mirror", "broken")]
tasks[0].columns = {"level": "easy"}


async def talker(run):
    from hud.agents.types import AgentStep

    run.record(AgentStep(content="counting " + "x" * 100_000))
    return "2" if "berry" in run.prompt_text else "3"


async def sleeper(run):
    import asyncio

    await asyncio.Event().wait()
"""

_teams = itertools.count(1)


@pytest.fixture
def key(server: Server) -> str:
    return server.key(team=f"own-{next(_teams)}")


@pytest.fixture
def shell(tmp_path: Path, server: Server, key: str) -> Shell:
    shell = Shell(tmp_path)
    shell.env |= {"HUD_API_URL": server.url, "HUD_API_KEY": key}
    shell.write("tasks.py", TASKS)
    return shell


def steps_of(client: httpx.Client, run_id: str) -> list[dict[str, Any]]:
    items = client.get(f"/v2/trace/{run_id}/steps", params={"resolve": True}).json()["items"]
    return [item["payload"] for item in items]


def recorded_steps(shell: Shell, run_id: str) -> list[dict[str, Any]]:
    return shell("trace", run_id, "--json").data["steps"]


def test_an_eval_is_on_the_platform_as_it_is_here(shell: Shell, server: Server, key: str) -> None:
    done = shell("eval", "tasks.py", "tasks.py:talker", "--all", "--group", "2", "--json")
    assert done.code == 3, done.err
    job = done.data["job_id"]
    there = shell("jobs", job, "--platform", "--json").data["runs"]
    here = shell("jobs", job, "--json").data["runs"]
    assert {run["id"] for run in there} == {run["trace_id"] for run in here}
    for run in here:
        other = next(one for one in there if one["id"] == run["trace_id"])
        assert (other["outcome"], other["reward"]) == (run["outcome"], run["reward"])
    assert {run["outcome"] for run in there} == {"graded", "grader"}
    with server.client(key) as client:
        for run in here:
            assert steps_of(client, run["trace_id"]) == recorded_steps(shell, run["trace_id"])
        item = client.get(f"/v2/jobs/{job}").json()
    assert (item["status"], item["group_size"], item["agent"]) == ("completed", 2, "talker")
    assert (item["counts"]["graded"], item["counts"]["ungraded"]) == (4, {"grader": 2})
    shown = shell("trace", here[0]["trace_id"], "--platform")
    assert "How many r are in" in shown.out and "counting x" in shown.out


def test_the_flow_of_a_first_day(shell: Shell, server: Server, key: str) -> None:
    del shell.env["HUD_API_KEY"], shell.env["HUD_API_URL"]
    assert shell("set", f"HUD_API_KEY={key}", f"HUD_API_URL={server.url}").code == 0
    synced = shell("sync", "tasks", "my-taskset", "--yes", "--json")
    assert synced.code == 0, synced.err
    assert synced.data["created"] == 3
    again = shell("sync", "tasks", "my-taskset", "--yes", "--json").data
    assert (len(again["unchanged"]), again["to_update"], again["to_create"]) == (3, [], [])
    done = shell("eval", "my-taskset", "tasks.py:talker", "--all", "--json")
    assert done.code == 3, done.err
    listed = shell("jobs", "--platform", "--json").data["jobs"]
    assert [job["id"] for job in listed] == [done.data["job_id"]]
    assert listed[0]["taskset_name"] == "my-taskset"
    assert shell("project", "list").code == 0
    made = shell("project", "create", "second", "--json")
    assert made.code == 0, made.err
    assert shell("project", "--json").data["project"]["name"] == "second"


def test_a_platform_on_the_store_of_the_eval_itself_has_nothing_twice(tmp_path: Path) -> None:
    shell = Shell(tmp_path)
    shell.write("tasks.py", TASKS)
    with running(shell.home) as server:
        key = server.key()
        shell.env |= {"HUD_API_URL": server.url, "HUD_API_KEY": key}
        done = shell("eval", "tasks.py", "tasks.py:talker", "--all", "--json")
        assert done.code == 3, done.err
        assert "hud push" not in done.err
        with server.client(key) as client:
            runs = client.get(f"/v2/jobs/{done.data['job_id']}/traces").json()["items"]
            assert len(runs) == 3
            for run in runs:
                steps = steps_of(client, run["id"])
                assert [step["step_id"] for step in steps] == list(range(1, len(steps) + 1))
            job = client.get(f"/v2/jobs/{done.data['job_id']}").json()
    assert (job["status"], job["is_reported"]) == ("completed", False)


def test_what_a_server_that_was_killed_missed_arrives_later(tmp_path: Path) -> None:
    shell = Shell(tmp_path)
    shell.write("tasks.py", TASKS)
    with running(tmp_path / "server") as server:
        key = server.key()
        shell.env |= {"HUD_API_URL": server.url, "HUD_API_KEY": key}
        server.kill()
        done = shell("eval", "tasks.py", "tasks.py:talker", "--all", "--json")
        assert done.code == 3, done.err
        assert "3 runs" in done.err
        server.start()
        pushed = shell("push", "--json")
        assert pushed.code == 0, pushed.err
        assert pushed.data["jobs"][0]["sent_runs"] == 3
        with server.client(key) as client:
            for run in done.data["runs"]:
                run_id = run["trace_id"]
                assert steps_of(client, run_id) == recorded_steps(shell, run_id)
                state = client.get(f"/v2/trace/{run_id}").json()
                assert (state["outcome"], state["reward"]) == (run["outcome"], run["reward"])


def test_a_job_cancelled_on_the_platform_ends_here(shell: Shell, server: Server) -> None:
    with shell.started(
        *("eval", "tasks.py", "tasks.py:sleeper", "--all", "--runtime", "local", "--json")
    ) as hud:
        until(lambda: bool(shell("jobs", "--platform", "--json").data["jobs"]))
        [job] = shell("jobs", "--platform", "--json").data["jobs"]
        assert job["status"] == "running"
        cancelled = shell("cancel", job["id"], "--platform", "--json")
        assert cancelled.code == 0, cancelled.err
        ended = hud.ended()
    assert ended.code == 130
    assert "cancelled on the platform" in ended.err
    runs = shell("jobs", job["id"], "--platform", "--json").data["runs"]
    assert {run["outcome"] for run in runs} == {"cancelled"}
    assert {run["reward"] for run in runs} == {None}


def test_one_run_is_cancelled_and_the_others_go_on(shell: Shell, server: Server) -> None:
    with shell.started(
        *("eval", "tasks.py", "tasks.py:sleeper", "--all", "--runtime", "local", "--json")
    ) as hud:

        def reported() -> list[dict[str, Any]]:
            jobs = shell("jobs", "--platform", "--json").data["jobs"]
            if not jobs:
                return []
            return shell("jobs", jobs[0]["id"], "--platform", "--json").data["runs"]

        until(lambda: len(reported()) == 3)
        first = reported()[0]["id"]
        assert shell("cancel", "-t", first, "--json").data["runs"][0]["status"] == "accepted"

        def is_over() -> bool:
            return {run["outcome"] for run in reported() if run["id"] == first} == {"cancelled"}

        until(is_over)
        assert hud.process.poll() is None
        hud.process.send_signal(signal.SIGINT)
        hud.says("stopping")
        hud.process.send_signal(signal.SIGINT)
        hud.ended()


def test_a_device_signs_in(shell: Shell, server: Server) -> None:
    del shell.env["HUD_API_KEY"], shell.env["HUD_API_URL"]
    with shell.started("login", "--url", server.url, "--quiet") as hud:
        hud.says("confirm the code")
        code = hud.err.split("confirm the code ")[1].split()[0]
        with server.client() as person:
            person.get(server.sign_in_url)
            confirmed = person.post(
                "/device", data={"code": code, "answer": "allow"}, headers={"Origin": server.url}
            )
            assert confirmed.status_code == 200, confirmed.text
        ended = hud.ended()
    assert ended.code == 0, ended.err
    assert shell("jobs", "--platform").code == 0
