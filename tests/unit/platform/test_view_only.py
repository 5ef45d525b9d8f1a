"""What a viewer of a screen may say and be sent: nothing that touches, nothing without a bound."""

from __future__ import annotations

import asyncio
import struct
from typing import Any

import pytest
from starlette.websockets import WebSocket

from hud.capabilities.rfb import wire
from hud.platform.screens import viewer as viewers
from hud.platform.screens.view_only import Rude, ViewOnly
from hud.platform.screens.viewer import WAITING_BYTES, Left, Slow, Viewer

ASKED = wire.update_request(True, 0, 0, 640, 480)
FORMAT = wire.set_pixel_format()[:20]
TOUCHES = {
    "a key": wire.key_event(0x7A, True),
    "the pointer": wire.pointer_event(1, 10, 10),
    "the clipboard": wire.cut_text(b"z" * 100_000),
    "the extended clipboard": wire.extended_cut_text(b"z" * 5_000),
    "a key by its scan code": struct.pack(">BBHII", 255, 0, 1, 0x7A, 44),
    "the size of the desktop": struct.pack(">BxHHBx", 251, 800, 600, 1) + bytes(16),
    "the power button": struct.pack(">BxBB", 250, 1, 2),
    "a fence": wire.fence(1, b"12345678"),
    "updates without being asked": struct.pack(">BBHHHH", 150, 1, 0, 0, 640, 480),
}


@pytest.mark.parametrize("touch", TOUCHES)
@pytest.mark.parametrize("piece", [1, 7, 1_000_000])
def test_what_touches_is_left_out_and_what_is_around_it_passes(touch: str, piece: int) -> None:
    only = ViewOnly()
    said = FORMAT + ASKED + TOUCHES[touch] + ASKED + TOUCHES[touch] + FORMAT
    passed: list[bytes] = []
    for start in range(0, len(said), piece):
        passed += only.feed(said[start : start + piece])
    assert passed == [FORMAT, ASKED, ASKED, FORMAT]


def test_a_long_clipboard_is_not_kept_while_it_comes() -> None:
    only = ViewOnly()
    text = wire.cut_text(b"z" * 3_000_000)
    for start in range(0, len(text), 1_000):
        assert only.feed(text[start : start + 1_000]) == []
        assert len(only._buffer) < 10  # pyright: ignore[reportPrivateUsage]
    assert only.feed(ASKED) == [ASKED]


def test_of_the_encodings_only_those_that_show_something_are_passed_on() -> None:
    quality, compression, cursor, clipboard = -26, -254, -239, wire.EXTENDED_CLIPBOARD
    asked = (7, 16, 0, quality, compression, cursor, clipboard, wire.FENCE, -224, 50)
    [passed] = ViewOnly().feed(wire.set_encodings(asked))
    assert passed == wire.set_encodings((7, 16, 0, quality, compression, -224))
    [plain] = ViewOnly().feed(wire.set_encodings((cursor,)))
    assert plain == wire.set_encodings((wire.RAW,))


@pytest.mark.parametrize(
    "said",
    [
        b"\xee",
        struct.pack(">BxH", 2, 60_000),
        struct.pack(">Bxxxi", 6, 2**31 - 1),
        struct.pack(">Bxxxi", 6, -(2**31)),
        struct.pack(">BBHII", 255, 1, 1, 1, 1),
    ],
)
def test_what_no_viewer_says_is_refused(said: bytes) -> None:
    with pytest.raises(Rude):
        ViewOnly().feed(said)


class Line:
    """A WebSocket of a viewer: what it said, and whether it takes anything."""

    def __init__(self, *said: bytes, takes: bool = True) -> None:
        self._said = [{"type": "websocket.connect"}]
        self._said += [{"type": "websocket.receive", "bytes": each} for each in said]
        self._said += [{"type": "websocket.disconnect", "code": 1000}]
        self._takes = takes
        self.taken: list[bytes] = []

    async def open(self) -> Viewer:
        websocket = WebSocket({"type": "websocket"}, self._receive, self._send)
        await websocket.accept()
        return Viewer(websocket)

    async def _receive(self) -> Any:
        return self._said.pop(0)

    async def _send(self, message: Any) -> None:
        if message["type"] == "websocket.send":
            if not self._takes:
                await asyncio.Event().wait()
            self.taken.append(message["bytes"])


async def test_what_waits_for_a_viewer_has_a_bound() -> None:
    viewer = await Line().open()
    viewer.send(bytes(WAITING_BYTES))
    with pytest.raises(Slow):
        viewer.send(b"x")


async def test_a_viewer_that_takes_nothing_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(viewers, "SLOW_S", 0.01)
    viewer = await Line(takes=False).open()
    viewer.send(b"picture")
    with pytest.raises(Slow):
        await viewer.pump()


async def test_what_is_sent_comes_in_order_and_is_waited_for() -> None:
    line = Line()
    viewer = await line.open()
    pumping = asyncio.create_task(viewer.pump())
    for number in range(3):
        viewer.send(b"%d" % number)
    await viewer.sent()
    assert line.taken == [b"0", b"1", b"2"]
    pumping.cancel()
    await asyncio.wait([pumping])


async def test_what_a_viewer_says_is_taken_in_the_pieces_that_are_wanted() -> None:
    viewer = await Line(b"RFB 003.0", b"08\n\x01\x01rest").open()
    assert await viewer.exactly(12) == b"RFB 003.008\n"
    assert await viewer.exactly(1) == b"\x01"
    assert await viewer.exactly(1) == b"\x01"
    assert await viewer.heard() == b"rest"
    with pytest.raises(Left):
        await viewer.heard()
    with pytest.raises(Rude):
        await (await Line(bytes(100_000)).open()).heard()
