"""Workspaces inside containers: which wall they get there, and that it holds.

What belongs to the workspace is everything in `tests/security` and `tests/unit/sandbox`, and each
module of `tests/e2e/capabilities` about the workspace itself, its peers, files, limits and shell.
Those with a browser or a screen, and what must wait for limits, run with `--soak`. Where a test has
another daemon beside the workspace, OpenSSH's for one, that one is left out.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hud.capabilities.ssh import SSHClient
from hud.cli.scaffold import plan
from hud.clients import connect
from hud.environment.task import Task
from hud.runtimes.docker import DockerRuntime
from hud.runtimes.docker.seccomp import write_profile
from hud.runtimes.docker.walls import opening_options
from tests.docker.conftest import Build
from tests.docker.inside import Report, make_image, run_tests
from tests.docker_engine import DockerEngine

CAPABILITIES = "tests/e2e/capabilities/test_"
SUITE = (
    "tests/unit/sandbox",
    "tests/security/test_leftovers.py",
    "tests/security/test_processes.py",
    "tests/security/test_reading.py",
    "tests/security/test_network.py",
    "tests/security/test_grading.py",
    f"{CAPABILITIES}workspace.py",
    f"{CAPABILITIES}ssh_serve.py",
)
REST = (
    "tests/unit/environment",
    "tests/security/test_exhaustion.py",
    "tests/security/test_screens.py",
    *(f"{CAPABILITIES}{name}.py" for name in ("filetracking", "peers", "disk_limits")),
    f"{CAPABILITIES}lesser_walls.py",
)
WHOLE = [*SUITE, *(pytest.param(place, marks=pytest.mark.soak) for place in REST)]
# With bubblewrap these are the same as outside of containers, where they run always.
LONG = ("tests/security/test_processes.py", "tests/security/test_grading.py")


def _soaked(place: Any) -> Any:
    return pytest.param(place, marks=pytest.mark.soak) if place in LONG else place


# Memory that is shared is bounded by the container alone where control groups cannot be made.
MEMORY = ("--memory", "2g")
USER = "1000:1000"
LOOK = (
    "from hud.sandbox import bwrap, launch; from hud.sandbox.spec import SandboxSpec;"
    "print(launch.choose(SandboxSpec()), bwrap.problem())"
)
SOURCE = """
from hud import Environment

SECRET = "source-secret-8f3a"
env = Environment(name="walled")
workspace = env.workspace(network=False)


@env.template()
async def work():
    yield "go"
    yield float((workspace.root / "answer").exists())
"""
CONNECT = 'import socket; socket.create_connection(("127.0.0.1", 8765)); print("OK")'
KNOCK = """
import socket
knock = socket.socket(socket.AF_UNIX)
knock.connect("/run/hud/control")
knock.sendall(b'{"jsonrpc": "2.0", "id": 1, "method": "hello", "params": {}}\\n')
print("OK" if knock.recv(100) else "closed")
"""
ROW = Task(env="walled", id="work")


@pytest.fixture(scope="module")
def inside(container_engine: DockerEngine) -> str:
    return make_image(container_engine)


@pytest.fixture(scope="module")
def image(build: Build) -> str:
    return build("walled", {"env.py": SOURCE})


@pytest.fixture
def profile(engine: DockerEngine) -> tuple[str, ...]:
    """The options of security that DockerRuntime gives."""
    path = write_profile(engine.folder / "seccomp.json")
    return ("--security-opt", "no-new-privileges", "--security-opt", f"seccomp={path}")


def check(report: Report) -> None:
    """See that all passed, and that what was skipped needs what no container has."""
    assert report.failed == [], report.said
    assert report.passed, report.said
    allowed = ("control group", "not installed", "no address but loopback", "immutable", "root")
    odd = {
        name: reason
        for name, reason in report.skipped.items()
        if not any(word in reason for word in (*allowed, "user namespaces", "version 2"))
    }
    assert odd == {}


@pytest.mark.usefixtures("inside")
@pytest.mark.parametrize("tests", WHOLE)
def test_in_a_plain_container_the_second_uid_passes_the_workspaces_tests(
    engine: DockerEngine, tests: str
) -> None:
    check(run_tests(engine, MEMORY, [tests], without=["bwrap", "sshd"]))


@pytest.mark.usefixtures("inside")
@pytest.mark.parametrize("tests", [_soaked(place) for place in WHOLE])
def test_under_the_runtimes_options_bubblewrap_passes_the_workspaces_tests(
    engine: DockerEngine, profile: tuple[str, ...], tests: str
) -> None:
    opened = opening_options({}, "docker", user=USER)
    options = (*MEMORY, *profile, *opened, "--network", "none")
    check(run_tests(engine, options, [tests], without=["uid", "sshd"]))


@pytest.mark.parametrize(
    ("options", "chosen", "why"),
    [
        ((), "uid", "user namespaces are forbidden"),
        (("profile",), "uid", "parts of /proc are hidden"),
        (("profile", "--user", USER), None, "parts of /proc are hidden"),
        (("profile", "opened", "--user", USER), "bwrap", "None"),
        (("profile", "opened"), "bwrap", "None"),
    ],
)
def test_which_wall_there_is_follows_from_the_containers_options(
    engine: DockerEngine,
    image: str,
    profile: tuple[str, ...],
    options: tuple[str, ...],
    chosen: str | None,
    why: str,
) -> None:
    words: list[str] = []
    for option in options:
        match option:
            case "profile":
                words += profile
            case "opened":
                words += opening_options({}, "docker", user=USER)[:2]
            case _:
                words.append(option)
    code = LOOK if chosen else "from hud.sandbox import bwrap; print(bwrap.problem())"
    said = engine.docker("run", "--rm", *words, image, "python3", "-c", code)
    assert said.startswith(chosen or "bubblewrap does not work here"), said
    assert why in said


@pytest.mark.parametrize(
    ("run_args", "isolation"), [((), "uid"), (("--user", USER), "bwrap")], ids=["root", "user"]
)
async def test_an_agent_in_a_container_sees_neither_source_nor_network(
    engine: DockerEngine, image: str, run_args: tuple[str, ...], isolation: str
) -> None:
    async with DockerRuntime(image, run_args=run_args)(ROW) as place, connect(place) as client:
        assert (await client.start_task("work", {}))["prompt"]
        assert client.binding("shell").params["isolation"] == isolation
        shell = await client.open("shell", SSHClient)
        log = engine.docker_log(place.params["container"])
        assert ("isolated by a second uid" in log) == (isolation == "uid"), log

        async def sh(command: str) -> str:
            done = await shell.execute(command, timeout_s=60)
            return done.stdout + done.stderr

        assert "source-secret" not in await sh(
            "cat /app/env.py; cat /proc/*/environ; grep -r source-secret /app"
        )
        assert "source-secret" not in await sh("cat /proc/1/root/app/env.py /proc/*/cwd/env.py")
        assert "OK" not in await sh(f"python3 -c '{CONNECT}'")
        assert "OK" not in await sh("echo x > /proc/sys/kernel/core_pattern && echo OK")
        await shell.write_text("attempt.py", KNOCK)
        assert "OK" not in await sh("python3 attempt.py")
        assert "OK" not in await sh("mv /run/hud/control /run/hud/moved && echo OK")
        await sh("touch /run/hud/mine")
        folder = Path(place.url.removeprefix("unix://")).parent
        assert {path.name for path in folder.iterdir()} == {"control", "ready"}
        await sh("echo 42 > answer")
        assert (await client.grade({}))["score"] == 1.0


async def test_root_in_a_container_cannot_write_the_kernels_settings(
    engine: DockerEngine, image: str, profile: tuple[str, ...]
) -> None:
    """Which is why the masks over /proc stay there."""
    opened = opening_options({}, "docker", user="")
    write = "echo x > /proc/sys/kernel/core_pattern && echo written"
    said = engine.docker(
        "run", "--rm", *profile, *opened, image, "sh", "-c", f"{write} || echo refused"
    )
    assert said == "refused"
    opened = opening_options({}, "docker", user=USER)
    said = engine.docker(
        *("run", "--rm", *profile, *opened, image),
        *("sh", "-c", f"{write} || echo refused"),
    )
    assert opened and said == "refused"


def test_what_init_writes_builds_where_packages_cannot_be_installed(
    engine: DockerEngine, image: str, tmp_path: Path
) -> None:
    text = plan("one", tmp_path).files[tmp_path / "one" / "Dockerfile.hud"]
    step = text[text.index("RUN if command") + 4 : text.index("WORKDIR")]
    assert engine.docker("run", "--rm", "--network", "none", image, "sh", "-c", step) == ""
    failing = step.replace("command -v apt-get", "true")
    said = engine.docker("run", "--rm", "--network", "none", image, "sh", "-c", failing)
    assert "second uid instead" in said
