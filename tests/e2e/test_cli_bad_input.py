"""Whatever is wrong ends in one clear sentence and the documented exit code, never a traceback."""

from __future__ import annotations

import json
import re
import socket
from pathlib import Path

import pytest

from tests.e2e.hud_command import Shell
from tests.needs import need_package

GOOD = """
from hud import Environment
env = Environment(name="good")

@env.template()
async def task(n: int = 1):
    answer = yield "prompt"
    yield 1.0

tasks = [task()]
"""

TEMPLATE = """
from hud import Environment
env = Environment(name="odd")

@env.template()
async def task(n: int = 1):
{body}

tasks = [task()]
"""


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    shell = Shell(tmp_path)
    shell.write("tasks.py", GOOD)
    return shell


USAGE = {
    "an unknown option": (["eval", "tasks.py", "noop", "--bogus"], "No such option"),
    "a source that is not there": (["eval", "gone.py", "noop"], "gone.py does not exist"),
    "a source that is no task file": (["eval", "notes.txt", "noop"], "notes.txt"),
    "no agent": (["eval", "tasks.py"], "no agent was named"),
    "an unknown agent": (["eval", "tasks.py", "nobody"], "'nobody'"),
    "an unknown task": (["eval", "tasks.py", "noop", "--task-ids", "zzz"], "'zzz'"),
    "an unknown runtime": (["eval", "tasks.py", "noop", "--runtime", "moon"], "'moon'"),
    "a malformed address": (["eval", "tasks.py", "noop", "--runtime", "tcp://h:x"], "tcp://h:x"),
    "a setting without a value": (["eval", "tasks.py", "noop", "-c", "colour"], "'colour'"),
    "a setting the agent lacks": (["eval", "tasks.py", "noop", "-c", "colour=1"], "'colour'"),
    "a group of none": (["eval", "tasks.py", "noop", "--group", "0"], "--group"),
    "a negative time": (["eval", "tasks.py", "noop", "--rollout-timeout", "-1"], "-1"),
    "a time that is not a number": (
        ["eval", "tasks.py", "noop", "--rollout-timeout", "nan"],
        "nan",
    ),
    "a source of a source": (["eval", "tasks.py", "noop", "--source", "tasks.py"], "--source"),
    "a job to resume that is not there": (["eval", "--resume", "abc"], "abc"),
    "an id that is none": (["jobs", "what"], "what"),
    "too many ids": (["trace", "a", "b"], "'a b'"),
    "an unknown command": (["evaluate"], "No such command"),
    "an unknown template": (["task", "start", "zzz", "-s", "."], "'zzz'"),
    "arguments that are not JSON": (["task", "start", "task", "-s", ".", "-a", "{"], "--args"),
    "arguments that are no object": (["task", "start", "task", "-s", ".", "-a", "[1]"], "--args"),
    "two answers": (
        ["task", "grade", "task", "-s", ".", "--answer", "a", "--answer-file", "b"],
        "exclude each other",
    ),
    "an answer file that is not there": (
        ["task", "grade", "task", "-s", ".", "--answer-file", "gone.txt"],
        "gone.txt",
    ),
    "a name that cannot be one": (["init", "../up"], "'../up'"),
    "a setting that is no assignment": (["set", "HUD_API_KEY"], "KEY=VALUE"),
    "a serve target that is not there": (["serve", "gone.py"], "gone.py"),
    "a serve target without that attribute": (["serve", "tasks.py:gone"], "gone"),
    "a negative limit": (["jobs", "-n", "-1"], "--limit"),
    "a taskset nowhere": (
        ["eval", "gone", "noop", "--runtime", "hud"],
        "no platform is configured",
    ),
    "a taskset on no platform": (["eval", "gone", "noop", "--remote"], "no platform is configured"),
    "a folder to build that is not there": (["build", "gone"], "gone does not exist"),
    "a folder to build without a recipe": (["build", "."], "no Dockerfile"),
}


@pytest.mark.parametrize("case", USAGE)
def test_bad_arguments_are_named_and_end_with_2(shell: Shell, case: str) -> None:
    args, named = USAGE[case]
    result = shell(*args)
    assert result.code == 2, result.err
    assert named in result.err
    assert result.out == ""


@pytest.mark.parametrize("where", [["--remote"], ["--runtime", "hosted"], ["--runtime", "hud"]])
def test_a_platform_that_cannot_be_used_is_said_before_anything_is_recorded(
    shell: Shell, where: list[str]
) -> None:
    nowhere = shell("eval", "tasks.py", "noop", *where)
    assert nowhere.code == 2, nowhere.err
    assert "error: no platform is configured" in nowhere.err
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
        dead = shell(
            "eval", "tasks.py", "noop", *where, env={"HUD_API_URL": url, "HUD_API_KEY": "key"}
        )
    assert dead.code == 1, dead.err
    assert f"error: the platform at {url} cannot be reached" in dead.err
    assert nowhere.out == dead.out == ""
    assert shell("jobs", "--json").data["jobs"] == []


PLACES: dict[str, tuple[str, dict[str, str], str]] = {
    "an engine that is not there": ("docker:image", {"HUD_ENGINE": "no-engine"}, "no no-engine"),
    "a Compose file that is not there": ("docker:compose.yaml", {}, "no file compose.yaml"),
    "a bundle that is not there": ("bundle:deadbeef", {}, "no bundle 'deadbeef'"),
    "a cluster without a configuration": ("kubernetes:i", {"KUBECONFIG": "/nowhere"}, "Kubernetes"),
    "no account at Modal": (
        "modal:image",
        {"MODAL_CONFIG_PATH": "/nowhere", "MODAL_TOKEN_ID": "", "MODAL_TOKEN_SECRET": ""},
        "ModalRuntime needs",
    ),
    "no account at Daytona": ("daytona:snapshot", {"DAYTONA_API_KEY": ""}, "DaytonaRuntime needs"),
    "no account at E2B": ("e2b:template", {"E2B_API_KEY": ""}, "E2BRuntime needs"),
    "an address that is none of Ray's": ("ray:moon", {}, "Ray"),
}


@pytest.mark.parametrize("case", PLACES)
def test_a_place_that_cannot_be_used_is_said_before_anything_is_recorded(
    shell: Shell, case: str
) -> None:
    place, env, said = PLACES[case]
    result = shell("eval", "tasks.py", "noop", "--runtime", place, env=env)
    assert result.code == 2, result.err
    assert said in result.err
    assert "hint: " in result.err
    assert result.out == ""
    assert shell("jobs", "--json").data["jobs"] == []


def test_a_ray_cluster_that_does_not_answer_is_said_at_once(shell: Shell) -> None:
    need_package("ray")  # which reads its settings where it is imported first
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{closed.getsockname()[1]}"
        result = shell("eval", "tasks.py", "noop", "--runtime", f"ray:{address}")
    assert result.code == 1, result.err
    assert f"error: no Ray cluster answers at {address}: Connection refused" in result.err
    assert shell("jobs", "--json").data["jobs"] == []


def test_a_name_that_no_image_can_have_is_refused_before_the_build(shell: Shell) -> None:
    shell.write("Dockerfile", "FROM scratch\n")
    result = shell("build", "--tag", "Bad Tag")
    assert result.code == 2, result.err
    assert "'Bad Tag' is no name of an image" in result.err


SOURCES = {
    "a syntax error": ("x = = 1\n", "tasks.py line 1"),
    "an exception at import": ("import nowhere_to_be_found\n", "ModuleNotFoundError"),
    "an exit at import": ("import sys\nsys.exit(3)\n", "SystemExit"),
    "no environment and no tasks": ("x = 1\n", "no tasks"),
    "no tasks": ("from hud import Environment\nenv = Environment()\n", "no tasks"),
    "a function that is no template": (
        "from hud import Environment\nenv = Environment()\n@env.template()\ndef f():\n    pass\n",
        "generator",
    ),
    "two tasks of one slug": (GOOD + "tasks.append(task())\n", "two tasks"),
    "a null byte": ("x = '\0'\n", "tasks.py"),
}


@pytest.mark.parametrize("case", SOURCES)
def test_a_source_that_cannot_be_used_ends_with_2(shell: Shell, case: str) -> None:
    text, named = SOURCES[case]
    shell.write("tasks.py", text)
    result = shell("eval", "tasks.py", "noop", "--all")
    assert result.code == 2, result.err
    assert named in result.err
    assert not shell.home.exists(), "nothing was recorded"


ROWS = {
    "no JSON": ("{", "rows.jsonl line 1"),
    "no object": ("[]", "rows.jsonl line 1"),
    "no env": ('{"id": "task"}', "env"),
    "args that are no object": ('{"env": "good", "id": "task", "args": 3}', "args"),
}


@pytest.mark.parametrize("case", ROWS)
def test_a_row_that_cannot_be_used_ends_with_2_and_its_line(shell: Shell, case: str) -> None:
    text, named = ROWS[case]
    shell.write("rows.jsonl", text + "\n")
    result = shell("eval", "rows.jsonl", "noop")
    assert result.code == 2, result.err
    assert named in result.err


BODIES = {
    "one yield": ("    yield 'p'", "environment", "without yielding a grade"),
    "three yields": ("    yield 'p'\n    yield 1\n    yield 2", "environment", "third time"),
    "no yield": (
        "    return\n    yield",
        "environment",
        "without yielding a prompt",
    ),
    "no number": ("    yield 'p'\n    yield 'good'", "grader", "no number"),
    "NaN": ("    yield 'p'\n    yield float('nan')", "grader", "not finite"),
    "raising before": ("    raise ValueError('no scene')\n    yield", "environment", "no scene"),
    "raising after": ("    yield 'p'\n    raise ValueError('no luck')", "grader", "no luck"),
    "a prompt that is too long": (
        "    yield 'x' * (17 << 20)\n    yield 1",
        "environment",
        "task",
    ),
}


@pytest.mark.parametrize("runtime", ["local", "subprocess"])
@pytest.mark.parametrize("case", BODIES)
def test_a_template_that_misbehaves_is_ungraded_with_its_reason_and_ends_with_3(
    shell: Shell, case: str, runtime: str
) -> None:
    body, cause, named = BODIES[case]
    shell.write("tasks.py", TEMPLATE.format(body=body))
    result = shell("eval", "tasks.py", "noop", "--runtime", runtime, "--json")
    assert result.code == 3, result.err
    assert result.data["ungraded"] == {cause: 1}
    assert result.data["mean"] is None
    assert named in result.err
    assert "--resume" in result.err


def test_unknown_templates_and_wrong_arguments_in_rows_are_ungraded(shell: Shell) -> None:
    rows = [
        {"env": "good", "id": "gone", "slug": "unknown-template"},
        {"env": "nowhere", "id": "task", "slug": "unknown-environment"},
        {"env": "good", "id": "task", "args": {"n": "many"}, "slug": "wrong-type"},
        {"env": "good", "id": "task", "args": {"m": 1}, "slug": "unknown-argument"},
        {"env": "good", "id": "task", "slug": "fine"},
    ]
    shell.write("rows.json", json.dumps(rows))
    result = shell("eval", "rows.json", "noop", "--all", "--runtime", "local", "--json")
    assert result.code == 3
    graded = {run["task"]: run["outcome"] for run in result.data["runs"]}
    assert graded.pop("fine") == "graded"
    assert "graded" not in graded.values()
    for word in ("gone", "nowhere", "n", "m"):
        assert re.search(rf"\b{word}\b", result.err)


def test_two_environments_are_told_apart_by_the_tasks(shell: Shell) -> None:
    second = GOOD.replace("env", "env2").replace("good", "other").replace("task(", "t2(")
    shell.write("tasks.py", GOOD + second)
    served = shell("serve", "tasks.py", "--port", "0")
    assert served.code == 2
    assert "2 environments" in served.err
    assert "good" in served.err
    assert "other" in served.err


def test_an_address_nobody_serves_fails_before_anything_is_recorded(shell: Shell) -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        url = f"tcp://127.0.0.1:{held.getsockname()[1]}"
    result = shell("eval", "tasks.py", "noop", "--runtime", url)
    assert result.code == 1
    assert url in result.err
    assert "hud serve" in result.err
    assert shell("jobs", "--json").data["jobs"] == []


def test_something_that_is_no_environment_is_named(shell: Shell) -> None:
    with socket.create_server(("127.0.0.1", 0)) as held:
        url = f"tcp://127.0.0.1:{held.getsockname()[1]}"
        with shell.started("task", "list", "--url", url) as running:
            peer, _ = held.accept()
            with peer:
                peer.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                peer.shutdown(socket.SHUT_WR)
                held.close()
                result = running.ended()
    assert result.code == 1
    assert url in result.err


def test_a_port_that_is_taken_is_named(shell: Shell) -> None:
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = str(held.getsockname()[1])
        result = shell("serve", "tasks.py", "--port", port)
    assert result.code == 2
    assert port in result.err


@pytest.mark.parametrize("command", [["eval", "tasks.py", "noop"], ["jobs"], ["set", "A=b"]])
def test_a_hud_home_that_is_no_folder_is_named(shell: Shell, command: list[str]) -> None:
    home = str(shell.write("file", "not a folder"))
    result = shell(*command, env={"HUD_HOME": home})
    assert result.code == 1
    assert f"{home} is not a folder" in result.err
    assert result.out == ""


def test_a_damaged_store_is_named_and_left_alone(shell: Shell) -> None:
    shell.home.mkdir()
    (shell.home / "hud.db").write_bytes(b"this is no database" * 1000)
    for command in (["jobs"], ["eval", "tasks.py", "noop"]):
        result = shell(*command)
        assert result.code == 1
        assert "hud.db" in result.err
    assert (shell.home / "hud.db").read_bytes().startswith(b"this is no database")


def test_vv_shows_the_traceback_that_is_otherwise_left_out(shell: Shell) -> None:
    import subprocess

    from tests.e2e.hud_command import PREFIX

    done = subprocess.run(
        [*PREFIX, "eval", "gone.py", "noop", "-vv"],
        cwd=shell.folder,
        env=shell.env,
        capture_output=True,
    )
    assert done.returncode == 2
    assert b"Traceback" in done.stderr
    assert b"error: source gone.py does not exist" in done.stderr
