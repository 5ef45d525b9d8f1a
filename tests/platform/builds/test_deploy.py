"""`hud deploy` as it is typed: packed, built, linked, told; what must not be sent is not."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from hud._core.ids import new_id
from tests.e2e.hud_command import until
from tests.platform.builds.building import source, write
from tests.platform.programs import ran
from tests.platform.server import DEADLINE_S, Server, environment

SECRET = "correct-horse-battery-staple"


class Ours:
    """Our command line in a folder, with a key for a team of a server."""

    def __init__(self, server: Server, folder: Path, team: str) -> None:
        self.folder = folder
        self.key = server.key(team=team, scopes=("read", "write", "inference"))
        self.env = environment(folder.parent / "home") | {
            "HUD_API_KEY": self.key,
            "HUD_API_URL": server.url,
        }

    def command(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "hud", *words]

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        return ran(self.command(*words), cwd=self.folder, env=self.env)

    def deploy(self, *words: str) -> Any:
        """Deploy with --json and return what it printed."""
        done = self.run("deploy", "--yes", "--json", *words)
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(done.stdout)


@pytest.fixture
def ours(server: Server, tmp_path: Path) -> Ours:
    folder = write(tmp_path / "env", source())
    return Ours(server, folder, f"team-{new_id()}")


def test_a_folder_is_deployed_twice_and_rolled_back(server: Server, ours: Ours) -> None:
    first = ours.run("deploy", "--yes")
    assert first.returncode == 0, first.stderr
    assert "version      1" in first.stdout
    assert "loading the source" in first.stderr
    link = json.loads((ours.folder / ".hud" / "config.json").read_text(encoding="utf-8"))
    assert link["registryName"] == "my-env"
    assert f"{server.url}/environments/{link['registryId']}" in first.stderr
    (ours.folder / "more.py").write_text("X = 1\n", encoding="utf-8")
    second = ours.deploy()
    assert (second["version"], second["registry_id"]) == (2, link["registryId"])
    assert (second["tasks"], second["success"]) == (["add"], True)
    back = ours.run("deploy", "--rollback", "1", "--json")
    assert back.returncode == 0, back.stderr
    assert (json.loads(back.stdout)["version"], json.loads(back.stdout)["before"]) == (1, 2)
    by_name = ours.run("deploy", "--rollback", "2", "--name", "my-env")
    assert "my-env runs version 2 from now on (was 1)" in by_name.stderr
    unknown = ours.run("deploy", "--rollback", "7")
    assert unknown.returncode == 2
    assert "has no version 7" in unknown.stderr


def test_a_dry_run_says_what_would_be_sent_and_sends_nothing(server: Server, ours: Ours) -> None:
    write(
        ours.folder,
        {".env": f"TOKEN={SECRET}", ".gitignore": "left/\n", "left/out.txt": "", "data/in.txt": ""},
    )
    plan = ours.run("deploy", "--dry-run", "--json", "--env", "A=1", "--env-file", ".env")
    assert plan.returncode == 0, plan.stderr
    found = json.loads(plan.stdout)
    assert found["files"] == [".gitignore", "data/in.txt", "env.py"]
    assert found["environment_variables"] == ["A", "TOKEN"]
    assert SECRET not in plan.stdout + plan.stderr
    with server.client(ours.key) as client:
        assert client.get("/v2/registry").json()["total"] == 0


def test_variables_of_env_go_along_only_when_asked_for(server: Server, ours: Ours) -> None:
    write(ours.folder, {".env": f"MY_TOKEN={SECRET}\nOTHER=1"})
    done = ours.run("deploy", "--yes")
    assert "left out" in done.stderr
    registry = json.loads((ours.folder / ".hud/config.json").read_text("utf-8"))["registryId"]
    place = f"/v2/registry/{registry}/variables"
    with server.client(ours.key) as client:
        assert client.get(place).json() == {"names": []}
        ours.deploy("--env-file", ".env", "-e", "OTHER=2")
        assert client.get(place).json() == {"names": ["MY_TOKEN", "OTHER"]}


def test_a_build_that_fails_ends_with_one_and_says_why(ours: Ours) -> None:
    write(ours.folder, source(before="raise ValueError('broken on purpose')"))
    done = ours.run("deploy", "--yes", "--json")
    assert done.returncode == 1
    told = json.loads(done.stdout)
    assert (told["success"], told["status"], told["version"]) == (False, "FAILED", None)
    assert "broken on purpose" in told["error"]
    assert "Traceback" not in done.stderr.replace("Traceback (most recent call last)", "", 1)


def _interrupted(server: Server, ours: Ours, number: signal.Signals, when: str) -> tuple[str, str]:
    """Deploy, and interrupt it: once it has said `when`, or while it uploads.

    Returns what it said afterwards, and the status of the build.
    """
    with subprocess.Popen(
        ours.command("deploy", "--yes"),
        cwd=ours.folder,
        env=ours.env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        if when == "uploading":
            until(lambda: any((server.home / "builds").glob(".*")) or process.poll() is not None)
        else:
            next(line for line in process.stderr if when in line)
        process.send_signal(number)
        rest = process.stderr.read()
        assert process.wait(DEADLINE_S) == 130
    last = rest.splitlines()[-1]
    assert last.startswith("interrupted: build ")
    build_id = last.split()[2]
    with server.client(ours.key) as client:
        return rest, client.get(f"/v2/builds/{build_id}/status").json()["status"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_stops_the_build(server: Server, ours: Ours, number: signal.Signals) -> None:
    write(
        ours.folder,
        source(before="import time; print('asleep', flush=True); time.sleep(600)"),
    )
    rest, status = _interrupted(server, ours, number, "asleep")
    assert "of my-env is stopped, and nothing was deployed" in rest
    assert status in ("CANCELLING", "STOPPED")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_upload_leaves_nothing_to_build(
    server: Server, ours: Ours, number: signal.Signals
) -> None:
    (ours.folder / "large.bin").write_bytes(os.urandom(96 << 20))
    rest, status = _interrupted(server, ours, number, "uploading")
    assert "of my-env is stopped, and nothing was deployed" in rest
    assert status in ("CANCELLING", "STOPPED")
    until(lambda: not any((server.home / "builds").glob(".*")))
    assert not list(Path(tempfile.gettempdir()).glob("hud-deploy-*/*"))


def test_whoever_interrupts_is_told_when_the_build_could_not_be_stopped(
    server: Server, ours: Ours, tmp_path: Path
) -> None:
    write(ours.folder, source(before="import time; print('asleep', flush=True); time.sleep(600)"))
    with subprocess.Popen(
        ours.command("deploy", "--yes"),
        cwd=ours.folder,
        env=ours.env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        next(line for line in process.stderr if "asleep" in line)
        server.kill()
        process.send_signal(signal.SIGINT)
        rest = process.stderr.read()
        assert process.wait(DEADLINE_S) == 130
    server.start()
    assert "of my-env may still go on, for stopping it failed: the platform at" in rest


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--env", "NOVALUE"), "says no value"),
        (("--secret", "env=X"), "has no id"),
        (("--secret", "id=a,env=NOT_SET_ANYWHERE"), "is not set"),
        (("--env-file", "missing.env"), "cannot be read"),
        (("--runtime-config", "env.py"), "--runtime-config"),
        (("--name", "other"), "declares no environment 'other'"),
        (("missing",), "does not exist"),
        (("--project", "no such"), "no project"),
    ],
)
def test_what_cannot_be_used_is_one_sentence_and_nothing_is_sent(
    server: Server, ours: Ours, words: tuple[str, ...], said: str
) -> None:
    done = ours.run("deploy", "--yes", *words)
    assert done.returncode == 2, done.stderr
    assert said in done.stderr
    with server.client(ours.key) as client:
        assert client.get("/v2/registry").json()["total"] == 0


def test_a_file_is_deployed_by_itself_where_the_folder_has_several(ours: Ours) -> None:
    write(ours.folder, {"second.py": source("second")["env.py"]})
    both = ours.run("deploy", "--yes")
    assert both.returncode == 2
    assert "my-env, second" in both.stderr
    assert ours.deploy("--name", "second")["name"] == "second"


def test_a_folder_of_another_platform_is_not_deployed_here(ours: Ours) -> None:
    write(ours.folder, {".hud/config.json": json.dumps({"platformOrigin": "http://elsewhere"})})
    done = ours.run("deploy", "--yes")
    assert done.returncode == 2
    assert "another platform" in done.stderr
