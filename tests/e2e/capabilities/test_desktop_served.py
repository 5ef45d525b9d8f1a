"""A desktop of a served environment, through the tunnel: by us, and by the published client."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
import tempfile
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from hud._core.errors import CapabilityFault
from hud._core.processes import descendants_of
from hud.capabilities.rfb import RFBClient
from hud.clients import connect
from hud.environment import Environment
from hud.environment.server import bind
from hud.eval import Runtime
from hud.sandbox.files import UnsafePath
from tests.conformance.daemons.rfb import TIGERVNC
from tests.e2e.capabilities.rfb_screen import eventually
from tests.needs import need_module, need_program
from tests.wire.harness import DEADLINE_S, Steps
from tests.wire.peer.theirs import program

NOTE = "Grüße, 漢字!"


@pytest.fixture(autouse=True)
def needed() -> None:
    need_module("PIL")
    for name in ("bwrap", "openbox", "mousepad", "xterm"):
        need_program(name)
    need_program(*TIGERVNC)


@pytest.fixture
async def url(tmp_path: Path) -> AsyncGenerator[str]:
    """An environment whose one task is to write a note with an editor."""
    env = Environment("notes")
    files = env.workspace(tmp_path / "files")
    screen = env.desktop(workspace=files, programs=["mousepad note.txt"])

    @env.template()
    async def note(text: str) -> Steps:
        yield f"Write: {text}"
        assert screen.last_screenshot is not None
        try:
            yield float(files.read_text("note.txt") == text)
        except (FileNotFoundError, UnsafePath):
            yield 0.0

    async with bind(env) as address:
        yield address


async def test_our_client_does_a_task_and_is_cut_off_for_grading(url: str, tmp_path: Path) -> None:
    path = tmp_path / "files" / "note.txt"
    async with connect(Runtime(url)) as client:
        for reward, wanted in ((1.0, NOTE), (0.0, "something else")):
            await client.start_task("note", {"text": wanted})
            rfb = await client.open("rfb", RFBClient)
            assert (rfb.width, rfb.height) == (1024, 768)
            if reward:
                await rfb.type(NOTE)
                await rfb.press("ctrl+s")
                await eventually(lambda: written(path) == NOTE)
            assert (await client.grade({"answer": ""}))["score"] == reward
            with pytest.raises(CapabilityFault):
                await rfb.screenshot()
            await rfb.close()


async def test_pictures_and_changes_pass_the_tunnel(url: str) -> None:
    async with connect(Runtime(url)) as client:
        await client.start_task("note", {"text": NOTE})
        async with await RFBClient.connect(client.binding("screen")) as rfb:
            first = await rfb.screenshot()
            assert (first.width, first.height) == (1024, 768)
            await rfb.type("x" * 500)
            assert await rfb.wait_for_change(DEADLINE_S)
            assert await rfb.screenshot() != first


async def test_the_published_client_drives_it(url: str, tmp_path: Path, peer_python: Path) -> None:
    text = """
from hud.capabilities import RFBClient

async def main(url):
    async with connect(Runtime(url)) as client:
        await client.start_task("note", {"text": "typed by others"})
        rfb = await client.open("rfb")
        say([type(rfb).__module__.partition(".")[0], rfb.width, rfb.height])
        for mime in ("image/png", "image/webp"):
            data, kind = await rfb.screenshot_png(mime)
            say([kind, len(data) > 1000])
        rfb.conn.mouse.move(512, 400)
        rfb.conn.mouse.click()
        rfb.conn.keyboard.write("typed by others")
        rfb.conn.keyboard.press("Ctrl", "s")
        await rfb.drain()
        say("typed")
        await told()
        say((await client.grade({"answer": ""}))["score"])
"""
    path = tmp_path / "files" / "note.txt"
    async with program(peer_python, tmp_path, text, url) as theirs:
        assert await theirs.said() == ["hud", 1024, 768]
        assert await theirs.said() == ["image/png", True]
        assert await theirs.said() == ["image/webp", True]
        assert await theirs.said() == "typed"
        await eventually(lambda: written(path) == "typed by others")
        theirs.tell()
        assert await theirs.said() == 1.0
        await theirs.ended()


PARENT = """
import asyncio, sys
from hud.environment.desktop import Desktop

async def main():
    desktop = Desktop(isolation=sys.argv[1], programs=["xterm"])
    await desktop.start()
    async with desktop.client() as rfb:
        await rfb.type("sleep 1000 & disown\\n")
        print("up", flush=True)
        await asyncio.sleep(1000)

asyncio.run(main())
"""


@pytest.mark.parametrize("isolation", ["bwrap", "uid"])
async def test_no_screen_outlives_a_killed_parent(isolation: str) -> None:
    if isolation == "uid" and os.geteuid() != 0:
        pytest.skip("isolation by uid needs root")
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o711)
        parent = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", PARENT, isolation),
            env={**os.environ, "TMPDIR": folder},
            stdout=asyncio.subprocess.PIPE,
        )
        try:
            assert parent.stdout is not None
            async with asyncio.timeout(DEADLINE_S):
                assert await parent.stdout.readline() == b"up\n"
            family = descendants_of(parent.pid)
            names = "".join(map(name_of, family))
            assert all(name in names for name in ("vnc", "openbox", "xterm"))
            parent.send_signal(signal.SIGKILL)
            await parent.wait()
            await eventually(lambda: not any(map(name_of, family)))
            if isolation == "uid":
                # A killed X server leaves its socket, which the next one of its number replaces.
                for display in re.findall(r"\0:(\d+)\0", names):
                    Path(f"/tmp/.X11-unix/X{display}").unlink(missing_ok=True)
                    Path(f"/tmp/.X{display}-lock").unlink(missing_ok=True)
        finally:
            if parent.returncode is None:
                parent.kill()
                await parent.wait()


def written(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return ""


def name_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""
