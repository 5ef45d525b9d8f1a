"""`RFBClient.conn` does what code written against asyncvnc expects of an `asyncvnc.Client`."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncGenerator, Generator
from pathlib import Path

import pytest

from hud.capabilities.rfb import RFBClient
from tests.conformance.daemons.rfb import Server, tigervnc
from tests.e2e.capabilities.rfb_screen import Terminal, eventually, painter, terminal
from tests.needs import need_module
from tests.wire.harness import DEADLINE_S


@pytest.fixture
def server() -> Generator[Server]:
    need_module("asyncvnc")
    with tigervnc("-SetPrimary", "0") as running:
        yield running


@pytest.fixture
async def rfb(server: Server) -> AsyncGenerator[RFBClient]:
    async with await RFBClient.connect(server.row) as client:
        yield client


@pytest.fixture
async def xterm(server: Server, rfb: RFBClient, tmp_path: Path) -> AsyncGenerator[Terminal]:
    with terminal(server, tmp_path) as running:
        await running.is_there(rfb)
        yield running


async def test_it_is_one_and_shows_the_screen(server: Server, rfb: RFBClient) -> None:
    conn = rfb.conn
    assert isinstance(conn, need_module("asyncvnc").Client)
    assert (conn.video.width, conn.video.height, conn.video.mode) == (640, 480, "rgba")
    async with painter(server) as paint:
        await paint(0x102030)
        pixels = await conn.screenshot()
        assert (pixels.shape, str(pixels.dtype)) == ((480, 640, 4), "uint8")
        assert tuple(pixels[7, 9]) == (0x10, 0x20, 0x30, 255)
        assert conn.video.is_complete()
        # asyncvnc's own waits for ever for the rest of the screen here.
        assert (await conn.screenshot(10, 10, 5, 5)).shape == (480, 640, 4)


async def test_its_keyboard_mouse_and_writer_act(rfb: RFBClient, xterm: Terminal) -> None:
    conn = rfb.conn
    conn.keyboard.write("Ab!")
    conn.keyboard.press("Ctrl", "c")
    with conn.keyboard.hold("Ctrl"):
        conn.keyboard.press("d")
    conn.keyboard.press("Return")
    conn.mouse.move(200, 100)
    conn.mouse.click()
    conn.mouse.right_click()
    conn.mouse.scroll_down(2)
    with conn.mouse.hold(0):
        conn.mouse.move(300, 100)
    conn.writer.write(struct.pack(">BBHH", 5, 0, 40, 50))
    await conn.drain()
    await xterm.receives(b"Ab!\x03\x04\r")
    await eventually(lambda: [report.button for report in xterm.reports].count(35) >= 2)
    buttons = [report.button for report in xterm.reports]
    assert buttons[:7] == [35, 0, 0, 2, 2, 65, 65]
    assert buttons[7] == 0
    assert (rfb.pointer.x, rfb.pointer.y) == (300, 100)
    with pytest.raises(Exception, match="unknown key"):
        conn.keyboard.press("Nonsense")


async def test_its_clipboard_and_updates_are_told(server: Server, rfb: RFBClient) -> None:
    conn = rfb.conn
    update = need_module("asyncvnc").UpdateType
    conn.clipboard.write("漢字")
    assert conn.clipboard.text == "漢字"
    async with painter(server) as paint, asyncio.timeout(DEADLINE_S):
        await conn.screenshot()
        while await asyncio.wait_for(conn.read(), DEADLINE_S) is not update.VIDEO:
            pass
        await paint(0x445566)
        conn.video.refresh()
        assert await conn.read() is update.VIDEO
        assert tuple(conn.video.as_rgba()[0, 0]) == (0x44, 0x55, 0x66, 255)
