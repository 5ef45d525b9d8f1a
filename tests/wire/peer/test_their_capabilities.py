"""The published clients of shells and screens drive ours through a served environment."""

from __future__ import annotations

from pathlib import Path

import pytest

from hud import Environment
from hud.environment.server import bind
from tests.needs import need_module, need_program
from tests.wire.peer.theirs import program

SHELL = """
from hud.capabilities import SSHClient

async def main(url):
    async with connect(Runtime(url)) as client:
        ssh = await client.open("ssh")
        assert isinstance(ssh, SSHClient)
        done = await ssh.run("pwd; echo to stderr >&2; exit 3")
        say([done.exit_status, str(done.stdout), str(done.stderr)])
        await ssh.write_text("notes.txt", "grün\\n")
        say(await ssh.read_text("notes.txt"))
        say(sorted(await ssh.listdir(".")))
        async with await ssh.create_process("cat") as process:
            process.stdin.write(b"through")
            process.stdin.write_eof()
            said = await process.stdout.read()
            say(said.decode() if isinstance(said, bytes) else said)
"""

SCREEN = """
from hud.capabilities import RFBClient

async def main(url):
    async with connect(Runtime(url)) as client:
        screen = await client.open("rfb")
        assert isinstance(screen, RFBClient)
        picture, mime = await screen.screenshot_png()
        say([screen.width, screen.height, mime, picture[1:4].decode("ascii", "replace")])
        screen.conn.keyboard.write("hello")
        await screen.drain()
        say("typed")
"""


@pytest.mark.parametrize("isolation", ["bwrap", "uid", "none"])
async def test_the_published_client_drives_a_workspace(
    isolation: str, tmp_path: Path, peer_python: Path
) -> None:
    need_program("bwrap")
    env = Environment("theirs")
    workspace = env.workspace(isolation=isolation)  # pyright: ignore[reportArgumentType]
    async with bind(env) as url, program(peer_python, tmp_path, SHELL, url) as theirs:
        assert await theirs.said() == [3, f"{workspace.guest_path}\n", "to stderr\n"]
        assert await theirs.said() == "grün\n"
        assert await theirs.said() == ["notes.txt"]
        assert await theirs.said() == "through"
        await theirs.ended()
        assert workspace.read_text("notes.txt") == "grün\n"


async def test_the_published_client_drives_a_desktop(tmp_path: Path, peer_python: Path) -> None:
    for name in ("bwrap", "Xtigervnc", "openbox", "xterm"):
        need_program(name)
    need_module("PIL")
    env = Environment("theirs")
    env.desktop(width=640, height=480, programs=["xterm"])
    async with bind(env) as url, program(peer_python, tmp_path, SCREEN, url) as theirs:
        assert await theirs.said() == [640, 480, "image/png", "PNG"]
        assert await theirs.said() == "typed"
        await theirs.ended()
