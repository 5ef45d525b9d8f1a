"""`hud build`, and the flow with containers that is typed by hand."""

from __future__ import annotations

import json
import signal
import zipfile
from pathlib import Path

import pytest

from hud._version import __version__
from hud.capabilities.ssh import SSHClient
from hud.clients import connect
from hud.environment.task import Task
from hud.runtimes.docker import DockerRuntime
from tests.docker.conftest import RECIPE, Build, hud
from tests.docker_engine import DockerEngine
from tests.e2e.hud_command import Shell, until

FIX_BUG = '''
import os

from hud import Environment

env = Environment(name="My Env")
workspace = env.workspace()


@env.template()
async def fix_bug(wanted: str = "fixed"):
    """Fix it."""
    answer = yield "Fix the bug."
    yield float(answer == wanted)


def unused():
    return os.environ["LICENCE"]
'''


def test_the_flow_by_hand(engine: DockerEngine, tmp_path: Path) -> None:
    (tmp_path / "env.py").write_text(FIX_BUG.replace("workspace = env.workspace()\n", ""))
    (tmp_path / "Dockerfile.hud").write_text(RECIPE)
    (tmp_path / ".env").write_text("API_KEY=not-for-images")
    done = hud(engine, "build", ".", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "my-env"
    lock = json.loads((tmp_path / "hud.lock").read_text())
    assert lock["name"] == "My Env" and lock["digest"].startswith("sha256:")
    assert [task["id"] for task in lock["tasks"]] == ["fix_bug"]
    assert lock["variables"]["required"] == ["LICENCE"]
    engine.docker("run", "-d", "--network", "none", "--name", "run1", "my-env")
    try:
        waiting = (
            "python",
            "-c",
            (
                "import socket, time\n"
                "for _ in range(600):\n"
                "    try: socket.create_connection(('127.0.0.1', 8765)); break\n"
                "    except OSError: time.sleep(0.1)\n"
                "else: raise SystemExit('nothing listens at 8765')"
            ),
        )
        engine.docker("exec", "run1", *waiting)
        told = engine.docker("exec", "run1", "hud", "task", "start", "fix_bug")
        assert told == "Fix the bug."
        words = ("exec", "run1", "hud", "task", "grade", "fix_bug", "--answer", "fixed")
        assert engine.docker(*words) == "1.0"
        assert ".env" not in engine.docker("exec", "run1", "ls", "-a", "/app").split()
    except AssertionError as error:
        error.add_note(f"run1 printed: {engine.docker_log('run1')}")
        raise
    finally:
        engine.docker("rm", "-f", "run1")


def test_no_index_can_put_its_own_hud_into_an_image(engine: DockerEngine, tmp_path: Path) -> None:
    index = tmp_path / "index"
    index.mkdir()
    for name in ("hud", "hud_python"):
        with zipfile.ZipFile(index / f"{name}-99.0-py3-none-any.whl", "w") as wheel:
            wheel.writestr("hud/__init__.py", "raise SystemExit('not ours')\n")
            info = f"{name}-99.0.dist-info"
            wheel.writestr(
                f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 99.0\n"
            )
            wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
            wheel.writestr(f"{info}/RECORD", "")
    (tmp_path / "env.py").write_text(FIX_BUG)
    pip = "RUN python -m pip install --no-index --find-links /app/index"
    text = RECIPE.replace("CMD", f"{pip} --upgrade hud-python hud\n{pip} hud-python hud\nCMD")
    (tmp_path / "Dockerfile.hud").write_text(text)
    done = hud(engine, "build", str(tmp_path), "--tag", "held")
    assert done.returncode == 0, done.stderr
    version = engine.docker("run", "--rm", "--network", "none", "held", "hud", "version")
    assert version == __version__


def test_a_build_that_fails_says_what_failed(engine: DockerEngine, tmp_path: Path) -> None:
    (tmp_path / "env.py").write_text(FIX_BUG)
    (tmp_path / "Dockerfile.hud").write_text(RECIPE.replace("CMD", "RUN exit 7\nCMD"))
    done = hud(engine, "build", str(tmp_path))
    assert done.returncode == 1
    assert "the image cannot be built" in done.stderr and "7" in done.stderr
    assert not (tmp_path / "hud.lock").exists()
    (tmp_path / "Dockerfile.hud").write_text(RECIPE)
    (tmp_path / "env.py").write_text("import not_there")
    done = hud(engine, "build", str(tmp_path))
    assert done.returncode == 2 and "not_there" in done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("when", ["a step runs", "the source is loaded"])
def test_a_build_that_is_interrupted_leaves_nothing_running(
    engine: DockerEngine, tmp_path: Path, number: signal.Signals, when: str
) -> None:
    shell = Shell(tmp_path)
    shell.env |= {**engine.environ, "TMPDIR": str(tmp_path)}
    step = f"RUN echo {number.name} && sleep 600\n" if when == "a step runs" else ""
    shell.write("Dockerfile.hud", RECIPE + step)
    shell.write("env.py", "import time\ntime.sleep(600)\n")
    with shell.started("build", ".") as running:
        if step:
            running.says(f"{number.name}\n")
        else:
            names = ("ps", "--format", "{{.Names}}")
            until(
                lambda: (
                    "hud-describe" in engine.docker(*names) or running.process.poll() is not None
                )
            )
        running.process.send_signal(number)
        ended = running.ended()
    assert (ended.code, ended.out) == (130, "")
    assert ended.err.splitlines()[-1] == "interrupted"
    until(lambda: engine.containers() == [])
    assert not list(tmp_path.glob("hud-*"))
    assert not (shell.folder / "hud.lock").exists()


async def test_a_workspace_in_a_container_is_walled_in_by_a_second_uid(
    engine: DockerEngine, build: Build
) -> None:
    image = build("shell", {"env.py": FIX_BUG})
    row = Task(env="My Env", id="fix_bug")
    async with DockerRuntime(image)(row) as place, connect(place) as client:
        await client.start_task("fix_bug", {})
        shell = await client.open("ssh", SSHClient)
        assert str((await shell.run("id -u")).stdout).strip() != "0"
        refused = await shell.run("cat /proc/1/environ; ls /run/hud; cat /app/env.py")
        assert refused.stdout == ""
        assert await client.grade({"answer": "fixed"}) == {"score": 1.0}
