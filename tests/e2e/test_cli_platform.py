"""The commands that speak with a platform: what they send, show, keep and refuse."""

from __future__ import annotations

import json
import signal
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.hud_command import Shell, until
from tests.platform_server import FakePlatform, running_platform

TASKS = """
from hud import Environment

env = Environment("letters")


@env.template()
async def count(word: str, letter: str = "r"):
    answer = yield f"How many {letter} are in {word}?"
    yield float(answer == str(word.count(letter)))


tasks = [count(word=word) for word in ("berry", "mirror")]
tasks[0].columns = {"level": "easy"}
tasks[1].agent_config = {"system_prompt": None, "max_steps": 3}
"""
SLOW = """
from hud import Environment

env = Environment("slow")


@env.template()
async def wait(number: int):
    yield "wait"
    yield 1.0


tasks = [wait(number=number) for number in range(3)]


async def sleeper(run):
    import asyncio
    from pathlib import Path

    Path("started").touch()
    await asyncio.Event().wait()
"""


@pytest.fixture
def platform() -> Generator[FakePlatform]:
    with running_platform() as platform:
        yield platform


@pytest.fixture
def shell(tmp_path: Path, platform: FakePlatform) -> Shell:
    shell = Shell(tmp_path)
    shell.env |= platform.env
    shell.write("tasks.py", TASKS)
    return shell


def without_platform(shell: Shell) -> dict[str, str]:
    return {"HUD_API_URL": "", "HUD_API_KEY": ""}


# -- eval and push ------------------------------------------------------------------------------


def test_an_eval_appears_on_the_platform(shell: Shell, platform: FakePlatform) -> None:
    done = shell("eval", "tasks.py", "noop", "--all", "--json")
    assert done.code == 0, done.err
    assert set(platform.runs) == {run["trace_id"] for run in done.data["runs"]}
    assert all(told.exits[0]["reward"] == 0.0 for told in platform.runs.values())
    assert platform.key not in done.out + done.err


def test_what_was_recorded_without_a_platform_is_pushed_once(
    shell: Shell, platform: FakePlatform
) -> None:
    recorded = shell("eval", "tasks.py", "noop", "--all", "--json", env=without_platform(shell))
    assert platform.requests == []
    job = recorded.data["job_id"]
    assert shell("push", "--json").data["jobs"] == [], "nobody said that it is to be reported"
    plan = shell("push", job[:8], "--dry-run", "--json").data
    assert plan["jobs"] == [{"id": job, "name": recorded.data["name"], "runs": 2}]
    assert platform.requests == []
    pushed = shell("push", job[:8], "--json").data["jobs"][0]
    assert (pushed["id"], pushed["runs"], pushed["sent_runs"]) == (job, 2, 2)
    assert pushed["steps"] == sum(len(told.steps) for told in platform.runs.values()) > 0
    assert pushed["link"] == f"{platform.url}/jobs/{job}"
    asked = len(platform.requests)
    again = shell("push", "--all", "--json").data["jobs"][0]
    assert (again["sent_runs"], again["steps"]) == (0, 0)
    assert len(platform.requests) == asked + 1, "only that the job goes on"
    forced = shell("push", job, "--force", "--json").data["jobs"][0]
    assert (forced["sent_runs"], forced["steps"]) == (2, pushed["steps"])
    assert {len(told.enters) for told in platform.runs.values()} == {2}


def test_an_eval_whose_platform_is_down_is_graded_and_pushed_later(
    shell: Shell, platform: FakePlatform
) -> None:
    platform.stop()
    done = shell("eval", "tasks.py", "noop", "--all", "--json")
    assert done.code == 0, done.err
    assert "2 runs" in done.err and "hud push" in done.err
    refused = shell("push")
    assert refused.code == 1
    assert "cannot be reached" in refused.err
    platform.start()
    pushed = shell("push")
    assert pushed.code == 0, pushed.err
    assert done.data["job_id"] in pushed.out
    assert len(platform.runs) == 2
    assert "has arrived" in shell("push").err


def test_an_eval_that_was_killed_is_pushed_as_far_as_it_came(
    shell: Shell, platform: FakePlatform
) -> None:
    platform.stop()
    shell.write("slow.py", SLOW)
    with shell.started("eval", "slow.py", "slow.py:sleeper", "--all", "--runtime", "local") as hud:
        until(lambda: [job["running"] for job in shell("jobs", "--json").data["jobs"]] == [3])
        hud.process.send_signal(signal.SIGKILL)
        hud.process.wait()
    platform.start()
    pushed = shell("push", "--json")
    assert pushed.code == 0, pushed.err
    assert pushed.data["jobs"][0]["sent_runs"] == 3
    assert [told.exits for told in platform.runs.values()] == [[], [], []]
    assert all(told.steps for told in platform.runs.values())


def test_another_platform_can_be_pushed_to(shell: Shell, platform: FakePlatform) -> None:
    shell("eval", "tasks.py", "noop", "--all")
    with running_platform() as other:
        pushed = shell("push", "--all", "--to", other.url, "--json")
        assert pushed.code == 0, pushed.err
        assert set(other.runs) == set(platform.runs)
    assert shell("push", "--all", "job").code == 2
    assert shell("push", "--to", "nowhere").code == 2


# -- tasksets -----------------------------------------------------------------------------------


def test_a_taskset_synced_twice_has_no_change_the_second_time(
    shell: Shell, platform: FakePlatform
) -> None:
    plan = shell("sync", "tasks", "letters", "--dry-run", "--json").data
    assert len(plan["to_create"]) == 2
    assert platform.paths("POST") == []
    first = shell("sync", "tasks", "letters", "--yes", "--json")
    assert first.code == 0, first.err
    assert (first.data["created"], first.data["updated"]) == (2, 0)
    [(_, _, body)] = [row for row in platform.requests if row[1] == "/v2/tasks/upload"]
    easy = next(item for item in body["tasks"] if item["args"] == {"word": "berry"})
    assert easy == {
        "name": easy["name"],
        "env": {"name": "letters"},
        "task_id": "count",
        "args": {"word": "berry"},
        "columns": {"level": "easy"},
    }
    second = shell("sync", "tasks", "letters", "--yes", "--json")
    assert (second.data["to_create"], second.data["to_update"]) == ([], [])
    assert len(second.data["unchanged"]) == 2
    assert platform.paths("POST") == ["/v2/tasks/upload"]
    # The folder is linked now, so nothing has to be named.
    assert "2 unchanged" in shell("sync").err


def test_a_change_is_an_update_and_what_is_only_there_stays(
    shell: Shell, platform: FakePlatform
) -> None:
    shell("sync", "tasks", "letters", "--yes")
    shell.write("tasks.py", TASKS.replace('"easy"', '"hard"').replace('"mirror"', '"terror"'))
    done = shell("sync", "tasks", "letters", "--json")
    assert [len(done.data[name]) for name in ("to_create", "to_update", "remote_only")] == [1] * 3
    [held] = platform.tasksets.values()
    assert len(held["tasks"]) == 3
    forced = shell("sync", "tasks", "letters", "--force", "--json")
    assert forced.data["updated"] == 2
    one = shell("sync", "tasks", "letters", "--task", done.data["to_create"][0], "--json")
    assert len(one.data["unchanged"]) == 1
    assert one.data["remote_only"] == []


def test_a_folder_that_is_linked_to_another_platform_is_refused(
    shell: Shell, platform: FakePlatform
) -> None:
    shell("sync", "tasks", "letters", "--yes")
    held = json.loads((shell.folder / ".hud" / "config.json").read_text())
    assert held["tasksetId"] in platform.tasksets
    with running_platform() as other:
        refused = shell("sync", "tasks", "letters", env=other.env)
        assert refused.code == 2
        assert "another platform" in refused.err
        assert shell("sync", "tasks", "letters", "--link", env=other.env).code == 0
    assert shell("sync", env=without_platform(shell)).code == 2


def test_a_taskset_is_exported_as_it_is_there(shell: Shell, platform: FakePlatform) -> None:
    shell("sync", "tasks", "letters", "--yes")
    rows = shell("sync", "tasks", "letters", "--export", "json").data["tasks"]
    assert {row["args"]["word"] for row in rows} == {"berry", "mirror"}
    assert rows[1]["agent_config"] == {"system_prompt": None, "max_steps": 3}
    lines = shell("sync", "tasks", "letters", "--export", "jsonl").out.splitlines()
    assert [json.loads(line) for line in lines] == rows
    table = shell("sync", "tasks", "letters", "--export", "csv").out.splitlines()
    assert table[0].startswith("slug,env,id,args,")
    assert len(table) == 3
    assert shell("sync", "tasks", "nothing", "--export", "json").code == 2
    assert shell("sync", "tasks", "letters", "--export", "xml").code == 2


def test_a_refusal_of_many_lines_is_shown_line_by_line(
    shell: Shell, platform: FakePlatform
) -> None:
    def refuse(method: str, path: str, body: Any) -> tuple[int, Any] | None:
        if path == "/v2/tasks/upload":
            return 400, {"detail": "2 tasks are bad\ncount-1: no such task\ncount-2: bad args"}
        return None

    platform.refuse = refuse
    done = shell("sync", "tasks", "letters", "--yes")
    assert done.code == 2
    assert done.err.splitlines()[-3:-1] == ["count-1: no such task", "count-2: bad args"]
    assert "2 tasks are bad" in done.err.splitlines()[-1]


def test_a_taskset_of_the_platform_is_run_by_its_name(shell: Shell, platform: FakePlatform) -> None:
    shell("sync", "tasks", "my-letters", "--yes")
    elsewhere = shell.folder / "elsewhere"
    elsewhere.mkdir()
    refused = shell("eval", "not-there", "noop")
    assert refused.code == 2
    assert "no taskset of that name" in refused.err
    with_source = shell("eval", "my-letters", "noop", "--all", "--source", "tasks.py", "--json")
    assert with_source.code == 0, with_source.err
    assert with_source.data["total"] == 2
    beside = shell("eval", "my-letters", "noop", "--all", "--json")
    assert beside.code == 0, "tasks.py of this folder defines the environment"
    shell.folder = elsewhere
    nowhere = shell("eval", "my-letters", "noop", "--all", "--runtime", "subprocess")
    assert nowhere.code == 2
    assert "--source" in nowhere.err


# -- looking ------------------------------------------------------------------------------------


def test_jobs_and_traces_of_the_platform_are_shown(shell: Shell, platform: FakePlatform) -> None:
    job, run, broken = "a" * 32, "b" * 32, "c" * 32
    platform.listed_jobs = [{"id": job, "name": "far \x1b[31maway", "status": "completed"}]
    platform.listed_runs[job] = [
        {"id": run, "status": "completed", "reward": 0.5, "evaluation_result": {"score": 0.5}},
        {"id": broken, "status": "error", "reward": 0.0, "error": "it broke"},
    ]
    platform.events[run] = [
        {"kind": "environment", "text": "say\x1b[2J yes"},
        {
            "kind": "agent_message",
            "text": "hm",
            "tool_calls": [{"function": {"name": "look", "arguments": '{"at": "it"}'}}],
        },
        {"kind": "tool_call", "tool_name": "look", "arguments": {"at": 1}, "result_text": "seen"},
        {"kind": "something_new", "value": 3},
    ]
    listed = shell("jobs", "--platform")
    assert job in listed.out and "\x1b" not in listed.out
    assert shell("jobs", "--platform", "--json").data["jobs"][0]["id"] == job
    shown = shell("jobs", job)
    assert run in shown.out, "what is not here is looked for there"
    rewards = {row["id"]: row["reward"] for row in shell("jobs", job, "--json").data["runs"]}
    assert rewards == {run: 0.5, broken: None}
    trace = shell("trace", run)
    assert "\x1b" not in trace.out
    for text in ("say", "hm", 'look {"at": "it"}', "returns: seen", "something_new"):
        assert text in trace.out
    assert len(shell("trace", run, "--json").data["events"]) == 4
    missing = shell("jobs", "d" * 32)
    assert missing.code == 2
    assert "there is no job" in missing.err
    assert shell("jobs", job, env=without_platform(shell)).code == 2


def test_what_is_recorded_here_is_shown_from_here(shell: Shell, platform: FakePlatform) -> None:
    job = shell("eval", "tasks.py", "noop", "--json").data["job_id"]
    asked = len(platform.requests)
    assert shell("jobs", job, "--json").data["graded"] == 1
    assert len(platform.requests) == asked


# -- cancelling ---------------------------------------------------------------------------------


def test_a_job_of_this_machine_is_cancelled_as_by_ctrl_c(
    shell: Shell, platform: FakePlatform
) -> None:
    shell.write("slow.py", SLOW)
    shell.env |= without_platform(shell)
    with shell.started("eval", "slow.py", "slow.py:sleeper", "--all", "--runtime", "local") as hud:
        until((shell.folder / "started").exists)
        job = shell("jobs", "--json").data["jobs"][0]["id"]
        plan = shell("cancel", job[:10], "--dry-run", "--json").data
        assert plan == {"dry_run": True, "jobs": [{"id": job, "pid": hud.process.pid}]}
        assert shell("cancel", "--all", "--yes").code == 0
        hud.says("stopping")
        assert shell("cancel", job).code == 0
        assert hud.ended().code == 130
    assert shell("jobs", "--json").data["jobs"][0]["status"] == "cancelled"
    over = shell("cancel", job)
    assert over.code == 2
    assert "not running" in over.err


def test_a_job_or_run_of_the_platform_is_cancelled_there(
    shell: Shell, platform: FakePlatform
) -> None:
    job = "0123456789ab4def8123456789abcdef"
    dashed = "01234567-89ab-4def-8123-456789abcdef"
    assert shell("cancel", job, "--json").data["jobs"] == [{"id": job, "cancelled": 3}]
    assert shell("cancel", "-t", job, "--json").data["runs"][0]["status"] == "accepted"
    everything = shell("cancel", "--all", "--json").data
    assert (everything["jobs_cancelled"], everything["runs_cancelled"]) == (2, 5)
    assert platform.cancelled == [
        ("cancel_job", {"job_id": dashed}),
        ("cancel", {"trace_id": dashed}),
        ("cancel_user_jobs", {}),
    ]
    shell("cancel", job, "--dry-run")
    assert len(platform.cancelled) == 3
    assert shell("cancel").code == 2
    assert shell("cancel", job, "--all").code == 2
    assert shell("cancel", job, env=without_platform(shell)).code == 2


# -- signing in, projects -----------------------------------------------------------------------


def test_signing_in_shows_a_code_and_keeps_the_key(shell: Shell, platform: FakePlatform) -> None:
    platform.device_answers = [
        (400, {"error": "authorization_pending"}),
        (503, {"detail": "later"}),
        (400, {"detail": {"error": "authorization_pending"}}),
        (200, {"api_key": "hud-fresh-key-123", "user": {"email": "ada@example.org"}}),
    ]
    shell.env |= without_platform(shell)
    done = shell("login", "--url", platform.url, "--quiet")
    assert done.code == 0, done.err
    assert "ABCD-1234" in done.err and f"{platform.url}/device" in done.err
    assert "ada@example.org" in done.err
    assert "hud-fresh-key-123" not in done.out + done.err
    kept = (shell.home / ".env").read_text()
    assert "HUD_API_KEY=hud-fresh-key-123" in kept and f"HUD_API_URL={platform.url}" in kept


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ((400, {"error": "access_denied"}), "refused in the browser"),
        ((400, {"error": "expired_token"}), "nobody confirmed"),
        ((404, {"detail": "no such call"}), "no such call"),
    ],
)
def test_a_sign_in_that_fails_keeps_nothing(
    shell: Shell, platform: FakePlatform, answer: tuple[int, dict[str, Any]], said: str
) -> None:
    platform.device_answers = [answer]
    done = shell("login", "--quiet")
    assert done.code in (1, 2)
    assert said in done.err
    assert not (shell.home / ".env").exists()


def test_nothing_says_where_to_sign_in(shell: Shell) -> None:
    assert shell("login", env=without_platform(shell)).code == 2


def test_projects_are_listed_made_and_chosen(shell: Shell, platform: FakePlatform) -> None:
    platform.projects = [{"id": "p-1", "name": "Main", "is_default": True}]
    assert shell("project", "--json").data["project"]["id"] == "p-1"
    made = shell("project", "create", "Second", "--description", "for tests")
    assert made.code == 0, made.err
    assert made.out.strip() == platform.projects[1]["id"]
    assert shell("project", "--json").data["project"]["name"] == "Second"
    shell("project", "use", "main")
    assert shell("project", "--json").data["project"]["name"] == "Main"
    names = [row["name"] for row in shell("project", "list", "--json").data["projects"]]
    assert names == ["Main", "Second"]
    assert shell("project", "list", "-q").out.splitlines()[0] == "p-1"
    assert shell("project", "use", "Third").code == 2
    shell("sync", "tasks", "letters", "--yes")
    [(_, _, body)] = [row for row in platform.requests if row[1] == "/v2/tasks/upload"]
    assert body["project_id"] == "p-1"


def test_a_refused_key_is_one_sentence_with_a_hint(shell: Shell, platform: FakePlatform) -> None:
    done = shell("jobs", "--platform", env={"HUD_API_KEY": "somebody-elses-key"})
    assert done.code == 2
    assert "refused the key" in done.err and "hud login" in done.err
    assert "somebody-elses-key" not in done.err
