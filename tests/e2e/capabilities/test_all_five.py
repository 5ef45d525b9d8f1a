"""One environment with all five kinds of capability, and nothing left of it however it ends."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncGenerator, Callable, Generator
from pathlib import Path

import pytest

from hud._core.processes import descendants_of
from hud.capabilities import CDPClient, MCPClient, RFBClient, RobotClient, SSHClient
from hud.clients import connect
from hud.clients.client import HudClient
from hud.environment.task import Task
from hud.runtimes.base import Runtime
from hud.runtimes.subprocess import SubprocessRuntime
from hud.sandbox.spec import Isolation
from tests.conformance.daemons.cdp import NAMES
from tests.needs import need_module, need_program
from tests.security.world import lair, need_isolation, processes_of

DEADLINE_S = 180.0
SOURCE = '''
"""All there is at once."""
import json, os
from pathlib import Path
import gymnasium
from gymnasium import spaces
from hud import Environment

class Step(gymnasium.Env):
    observation_space = spaces.Box(-9.0, 9.0, (1,))
    action_space = spaces.Box(-1.0, 1.0, (1,))
    metadata = {"render_fps": 20}
    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self.observation_space.sample() * 0, {}
    def step(self, action):
        return self.observation_space.sample() * 0, 1.0, True, False, {"is_success": True}

env = Environment("five")
isolation = os.environ["FIVE_ISOLATION"]
shell = env.workspace(isolation=isolation, track_files=False)
browser = env.browser(isolation=isolation, url="data:text/html,<title>five</title>")
screen = env.desktop(isolation=isolation)
robot = env.gym(Step, contract=None)

@env.tool
def double(number: int) -> int:
    """Double a number."""
    return 2 * number

@env.template()
async def work():
    info = await robot.reset(seed=1)
    held = {"pid": os.getpid(), "uids": [one.sandbox.uid for one in (shell, browser, screen)],
            "token": info.get("token")}
    Path(os.environ["FIVE_NOTE"]).write_text(json.dumps(held))
    yield "go"
    yield 1.0
'''


@pytest.fixture(params=["bwrap", "uid"])
def isolation(request: pytest.FixtureRequest) -> Isolation:
    need_isolation(str(request.param))
    need_program(*NAMES)
    need_program("Xvnc", "Xvfb")
    need_program("openbox")
    need_module("gymnasium")
    return request.param


@pytest.fixture
def place(isolation: Isolation, monkeypatch: pytest.MonkeyPatch) -> Generator[Path]:
    """Yield a folder with the source, and have everything temporary below it."""
    with lair() as folder:
        (folder / "env.py").write_text(SOURCE)
        (folder / "t").mkdir(mode=0o755)
        monkeypatch.setenv("TMPDIR", str(folder / "t"))
        monkeypatch.setenv("FIVE_ISOLATION", isolation)
        monkeypatch.setenv("FIVE_NOTE", str(folder / "note"))
        monkeypatch.setenv("HUD_HOME", str(folder / "home"))
        yield folder


async def use_all(client: HudClient, place: Path) -> tuple[list[int], list[int]]:
    """Drive each kind once, leave things running; return the processes and the uids there are."""
    await client.start_task("work")
    held = json.loads((place / "note").read_text())
    shell = await client.open("shell", SSHClient)
    left = "setsid nohup sleep 600 >/dev/null 2>&1 & sleep 600 >/dev/null 2>&1 & echo it works"
    assert (await shell.execute(left, timeout_s=60)).stdout == "it works\n"
    page = await client.open("browser", CDPClient)
    assert await page.evaluate("document.title") == "five"
    desk = await client.open("screen", RFBClient)
    assert (await desk.screenshot()).width == 1024
    tools = await client.open("tools", MCPClient)
    assert "4" in str(await tools.call_tool("double", {"number": 2}))
    arm = await client.open("robot", RobotClient)
    assert (await arm.get_observation(timeout_s=60))["data"]
    family = [held["pid"], *descendants_of(held["pid"])]
    assert len(family) > 5, family
    return family, [uid for uid in held["uids"] if uid != os.geteuid()]


def lives(pid: int) -> bool:
    try:
        return bool(Path(f"/proc/{pid}/cmdline").read_bytes())
    except OSError:
        return False


async def nothing_is_left(family: list[int], uids: list[int]) -> None:
    def left() -> list[int]:
        alive = [pid for pid in family if lives(pid)]
        return alive + [pid for uid in uids for pid in processes_of(uid)]

    await until(lambda: not left(), left)


def folders_in(place: Path) -> list[str]:
    """Return what lies among the temporary files, an interpreter's and a library's own left out."""
    return sorted(path.name for path in (place / "t").iterdir() if path.name.startswith("hud-"))


async def until(holds: Callable[[], bool], said: Callable[[], object]) -> None:
    """Wait for what other processes do, which tell nobody."""
    try:
        async with asyncio.timeout(DEADLINE_S):
            while not holds():  # noqa: ASYNC110
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise AssertionError(f"still there: {said()}") from None


@contextlib.asynccontextmanager
async def served(place: Path) -> AsyncGenerator[tuple[asyncio.subprocess.Process, str]]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "hud.environment.server", "env.py", "--port", "0",
        cwd=place, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        async with asyncio.timeout(DEADLINE_S):
            while not (line := await process.stdout.readline()).startswith(b"HUD_SERVE_PORT="):
                assert line, "the environment did not start"
        yield process, f"tcp://127.0.0.1:{int(line.partition(b'=')[2])}"
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def test_nothing_is_left_after_bye(place: Path) -> None:
    async with SubprocessRuntime(place / "env.py") as runtime, asyncio.timeout(2 * DEADLINE_S):
        async with runtime(Task(env="five", id="work", args={})) as found, connect(found) as client:
            family, uids = await use_all(client, place)
            await client.bye()
        await nothing_is_left(family, uids)
        await until(lambda: not kept(place), lambda: kept(place))


def kept(place: Path) -> list[str]:
    kinds = ("hud-workspace-", "hud-home-", "hud-downloads-", "hud-desktop-", "hud-tests-")
    return [name for name in folders_in(place) if name.startswith(kinds)]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
async def test_nothing_is_left_after_a_signal(place: Path, number: signal.Signals) -> None:
    async with (
        asyncio.timeout(2 * DEADLINE_S),
        served(place) as (process, url),
        connect(Runtime(url)) as client,
    ):
        family, uids = await use_all(client, place)
        process.send_signal(number)
        await process.wait()
        await nothing_is_left(family, uids)
    if number == signal.SIGTERM:
        assert kept(place) == []
        return
    # What lay on the disk goes when another one starts.
    before = set(kept(place))
    assert before
    async with served(place) as (process, url):
        own = set(kept(place))
        process.send_signal(signal.SIGTERM)
        await process.wait()
    assert own
    assert not own & before
    assert kept(place) == []
