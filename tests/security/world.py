"""A served environment with secrets around it, and an agent in it that attacks by hand.

The environment is a process of its own, as `hud serve` makes it; the agent has what a harness has,
a control connection's shell. What the attempts are is the tests' part.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hud.capabilities.ssh import CommandResult, SSHClient
from hud.clients import connect
from hud.clients.client import HudClient
from hud.runtimes.base import Runtime

DEADLINE_S = 60.0
NOBODY = 65534
PYTHON = "/usr/bin/python3"
SOURCE_SECRET = "source-secret-8f3a"
GRADER_SECRET = "grader-secret-77c1"
SECRET = "lair-secret-5b20"
KEY_SECRET = "sk-environment-9d41"

SOURCE = '''
"""An environment to attack."""
import json, os
from hud import Environment
from hud.sandbox.spec import Limits
import guarded_grader

SECRET = "source-secret-8f3a"
given = json.loads(os.environ["GUARDED"])
if "limits" in given:
    given["limits"] = Limits(**given["limits"])
env = Environment("guarded")
workspace = env.workspace(**given)
other = env.workspace(os.environ["GUARDED_OTHER"], name="other",
                      isolation=given.get("isolation"), track_files=False)

@env.template()
async def work():
    yield "go"
    yield await guarded_grader.grade(workspace)
'''
GRADER = """
SECRET = "grader-secret-77c1"

async def grade(workspace):
    return {"score": 1.0, "content": workspace.read_text("answer")
            if (workspace.root / "answer").exists() else ""}
"""


@dataclass
class Served:
    """An environment's process and what lies around it.

    Attributes:
        lair: Folder that everybody on this machine may read, and no agent.
        secrets: Path and content of files no agent may read.
    """

    lair: Path
    process: subprocess.Popen[str]
    url: str
    isolation: str
    network: bool
    secrets: dict[str, tuple[Path, str]] = field(default_factory=dict[str, tuple[Path, str]])

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    @property
    def root(self) -> Path:
        return self.lair / "work"


@dataclass
class Agent:
    """Who drives the environment: with a control connection as harness, a shell as model."""

    served: Served
    client: HudClient
    shell: SSHClient

    async def sh(self, command: str, **options: Any) -> CommandResult:
        """Run a command in the workspace."""
        options.setdefault("timeout_s", DEADLINE_S)
        return await self.shell.execute(command, **options)

    async def python(self, code: str, *args: str, **options: Any) -> CommandResult:
        """Run Python in the workspace, from a file: standard input stays free."""
        await self.shell.write_text("attempt.py", code)
        words = " ".join(f"'{word}'" for word in args)
        return await self.sh(f"{PYTHON} attempt.py {words}", **options)

    async def works(self) -> None:
        """See that the next command does what it should."""
        result = await self.sh("echo it works | tr a-z A-Z")
        assert (result.exit_status, result.stdout) == (0, "IT WORKS\n"), result


def need_isolation(isolation: str) -> None:
    """Skip where this machine cannot isolate that way."""
    import pytest

    from hud.sandbox import bwrap
    from tests.needs import missing

    if isolation == "uid" and os.geteuid() != 0:
        pytest.skip("only root can give the agent another uid")
    problem = bwrap.problem() if isolation == "bwrap" else None
    if problem is not None:
        missing(f"working bubblewrap ({problem})")


@contextlib.contextmanager
def lair() -> Generator[Path]:
    """Yield a folder that every uid of this machine can read, with a secret in it."""
    folder = Path(tempfile.mkdtemp(prefix="hud-lair-"))
    try:
        folder.chmod(0o755)
        (folder / "secret").write_text(SECRET)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def serving(
    isolation: str, *, network: bool = False, source: str = SOURCE, **options: Any
) -> Generator[Served]:
    """Serve an environment over TCP in a process of its own until the block ends."""
    need_isolation(isolation)
    with lair() as folder:
        home = Path(tempfile.mkdtemp(prefix="secret-", dir=Path.home()))
        try:
            (home / "file").write_text(f"home-{SECRET}")
            (folder / "env.py").write_text(source)
            (folder / "guarded_grader.py").write_text(GRADER)
            for name in ("work", "other", "hud-home"):
                (folder / name).mkdir()
            (folder / "other" / "theirs").write_text(f"other-{SECRET}")
            (folder / "hud-home" / "kept").write_text(f"hud-{SECRET}")
            secrets = {
                "beside": (folder / "secret", SECRET),
                "home": (home / "file", f"home-{SECRET}"),
                "source": (folder / "env.py", SOURCE_SECRET),
                "grader": (folder / "guarded_grader.py", GRADER_SECRET),
                "other rollout": (folder / "other" / "theirs", f"other-{SECRET}"),
                "hud home": (folder / "hud-home" / "kept", f"hud-{SECRET}"),
            }
            given = {"root": str(folder / "work"), "isolation": isolation, **options}
            if network:
                given["network"] = True
            process = _start(folder, given)
            try:
                url = f"tcp://127.0.0.1:{_port(process, folder / 'log')}"
                yield Served(folder, process, url, isolation, network, secrets)
            finally:
                process.terminate()
                process.communicate(timeout=DEADLINE_S)
        finally:
            shutil.rmtree(home, ignore_errors=True)


def _start(folder: Path, given: Mapping[str, Any]) -> subprocess.Popen[str]:
    with (folder / "log").open("w") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "hud.environment.server", "env.py", "--port", "0"],
            cwd=folder,
            env={
                **os.environ,
                "GUARDED": json.dumps(given),
                "GUARDED_OTHER": str(folder / "other"),
                "HUD_HOME": str(folder / "hud-home"),
                "HUD_API_KEY": KEY_SECRET,
                "OPENAI_API_KEY": KEY_SECRET,
            },
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )


def _port(process: subprocess.Popen[str], log: Path) -> int:
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("HUD_SERVE_PORT="):
            return int(line.partition("=")[2])
    raise AssertionError(f"the environment did not start ({process.wait()}): {log.read_text()}")


def _remove(path: Path) -> None:
    """Remove what an earlier episode left, whose last processes may still be writing."""
    deadline = time.monotonic() + DEADLINE_S
    while True:
        try:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
        except FileNotFoundError:
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return


@contextlib.asynccontextmanager
async def agent_of(served: Served) -> AsyncGenerator[Agent]:
    """Begin an episode in an empty workspace and yield its agent."""
    for entry in served.root.iterdir():
        _remove(entry)
    async with asyncio.timeout(4 * DEADLINE_S):
        async with connect(Runtime(served.url)) as client:
            await client.start_task("work")
            shell = await client.open("shell", SSHClient)
            yield Agent(served, client, shell)


def outside(argv: Sequence[str], **options: Any) -> subprocess.CompletedProcess[str]:
    """Do on this machine, as a user without rights, what the agent attempts inside."""
    if os.geteuid() == 0:
        options.update(user=NOBODY, group=NOBODY, extra_groups=[])
    return subprocess.run(
        argv, capture_output=True, text=True, timeout=DEADLINE_S, cwd="/", **options
    )


class Counted:
    """A TCP service that counts who reaches it. `close` it."""

    def __init__(self, host: str = "127.0.0.1") -> None:
        self.connections = 0
        self._host = host
        self._server: asyncio.Server | None = None
        self.port = 0

    async def __aenter__(self) -> Counted:
        self._server = await asyncio.start_server(self._greet, self._host, 0)
        self.port = int(self._server.sockets[0].getsockname()[1])
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        await self._server.wait_closed()

    async def _greet(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        writer.write(b"HTTP/1.0 200 OK\r\n\r\nhost-service\n")
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


def own_address() -> str | None:
    """Return an address of this machine that is not loopback, or None."""
    with (
        contextlib.suppress(OSError),
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe,
    ):
        probe.connect(("192.0.2.1", 9))
        return str(probe.getsockname()[0])
    return None


def processes_of(uid: int) -> list[int]:
    """Return the processes of this machine that belong to a uid and live."""
    found: list[int] = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            status = (entry / "status").read_text()
            if f"\nUid:\t{uid}\t" in status and "\nState:\tZ" not in status:
                found.append(int(entry.name))
    return found
