"""What `test_everywhere` runs its tasks on: an engine, a cluster, and platforms that hold the code.

Everything temporary lies below one folder, so that what is left behind can be seen.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx

from hud._core import processes
from hud.testing.model_server import ModelServer
from tests.docker_engine import DockerEngine
from tests.platform.gateway.gatewayed import PROVIDER_KEY
from tests.platform.server import Server, environment, running

FOLDER = Path(__file__).parent
RECIPE = """FROM hud-test-browser
WORKDIR /app
COPY . .
CMD ["hud", "serve", "env.py", "--port", "8765"]
"""
DEADLINE_S = 300.0
_FRESH = "hud-"


def write_source(folder: Path) -> Path:
    """Write the environment as a project of its own and return its folder."""
    folder.mkdir()
    (folder / "env.py").write_text((FOLDER / "env.py").read_text("utf-8"), "utf-8")
    (folder / "Dockerfile.hud").write_text(RECIPE)
    return folder


class Platform:
    """A running platform to which the environment is deployed.

    Attributes:
        settings: Variables that point a client at it.
    """

    def __init__(self, server: Server, key: str) -> None:
        self.server = server
        self.key = key
        self.settings = server.settings(key)

    def client(self) -> httpx.Client:
        """Return a client of the team that deployed."""
        return self.server.client(self.key)

    def lent(self) -> list[object]:
        """Return the leases and rollouts that have not ended."""
        with self.client() as client:
            leases = client.get("/runtime/sessions").json()["items"]
            queue = client.get("/v2/rollouts/queue").json()
        return leases + [{name: count} for name, count in queue.items() if count]


@contextmanager
def platform(folder: Path, source: Path, models: ModelServer, *options: str) -> Generator[Platform]:
    """Run a platform, deploy the environment to it, and see that it takes all with it."""
    (folder / "tmp").mkdir(parents=True)
    with ExitStack() as stack:
        with temporary_below(folder / "tmp"):
            server = stack.enter_context(running(folder / "home", *options))
        found = Platform(server, server.key(team="everywhere"))
        theirs = shutil.copytree(source, folder / "source")
        laptop = environment(folder / "laptop") | found.settings
        _hud("deploy", str(theirs), "--yes", env=laptop)
        with found.client() as client:
            body = {"base_url": models.base_url("chat"), "api_key": PROVIDER_KEY}
            put = client.put("/v2/providers/openai", json={**body, "dialect": "openai"})
            assert put.status_code == 200, put.text
        yield found
        assert server.process is not None
        family = descendants(server.process.pid)
        assert server.stop() == 0, server.said()
    until(lambda: [pid for pid, one in family.items() if processes.identity_of(pid) == one])
    until(lambda: temporary(folder / "tmp"))


@contextmanager
def temporary_below(folder: Path) -> Generator[None]:
    """Have this process, and what it starts, put temporary files there."""
    before, tempfile.tempdir = tempfile.tempdir, None
    held, os.environ["TMPDIR"] = os.environ.get("TMPDIR"), str(folder)
    try:
        yield
    finally:
        tempfile.tempdir = before
        if held is None:
            del os.environ["TMPDIR"]
        else:
            os.environ["TMPDIR"] = held


def temporary(folder: Path) -> list[str]:
    """Return what hud has left among the temporary files."""
    return sorted(path.name for path in folder.iterdir() if path.name.startswith(_FRESH))


def descendants(pid: int) -> dict[int, str | None]:
    """Return the living processes below one, each with what tells it from a later one."""
    return {one: processes.identity_of(one) for one in processes.descendants_of(pid)}


def until(left: Callable[[], object]) -> None:
    """Wait until nothing is left; other processes tell nobody when they are done."""
    ends = time.monotonic() + 60.0
    while found := left():
        assert time.monotonic() < ends, f"left behind: {found}"
        time.sleep(0.05)


def bundled(source: Path, home: Path) -> str:
    """Build the environment's bundle with `hud build --bundle` and return its address."""
    done = _hud("build", str(source), "--bundle", env=environment(home))
    return done.stdout.strip()


def image(engine: DockerEngine, source: Path) -> str:
    """Build the environment's image with `hud build` and return its name."""
    _hud("build", str(source), "--tag", "everywhere", env={**os.environ, **engine.environ})
    return "everywhere"


def _hud(*words: str, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "hud", *words],
        env=env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done
