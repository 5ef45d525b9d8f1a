"""Screens that die, hang, lie or come back: every call ends, and says whose fault it was."""

from __future__ import annotations

import asyncio
import signal
import struct
import sys
import zlib
from pathlib import Path

import pytest

from hud._core.errors import CapabilityFault, InputError
from hud.capabilities.rfb import RFBClient
from hud.protocol.capability import Capability
from tests.conformance.daemons.rfb import tigervnc
from tests.e2e.capabilities.rfb_scripted import Peer, filled, rectangle, scripted
from tests.wire.harness import until


async def serve_all(peer: Peer, colour: int = 0x112233) -> None:
    while True:
        await peer.asked()
        peer.update(filled(colour))


async def colour(rfb: RFBClient, x: int = 0, y: int = 0) -> int:
    await rfb.refresh()
    return int.from_bytes(bytes(rfb.link.frame.image.getpixel((x, y))), "big")  # type: ignore[arg-type]


@pytest.mark.parametrize("version", [b"003.003", b"003.007", b"003.008", b"003.889", b"004.001"])
async def test_every_version_of_the_protocol_is_spoken(version: bytes) -> None:
    async def script(peer: Peer) -> None:
        await peer.greet(version)
        await serve_all(peer)

    async with scripted(script) as row, await RFBClient.connect(row) as rfb:
        assert await colour(rfb) == 0x112233


async def test_bytes_may_come_one_by_one_and_rectangles_in_any_form() -> None:
    async def script(peer: Peer) -> None:
        await peer.greet()
        await peer.asked()
        messages = [
            b"\x02",  # the bell
            struct.pack(">BxxxI", 3, 5) + b"hello",
            struct.pack(">BxHH", 1, 0, 2) + bytes(12),  # a colour map
            struct.pack(">BxH", 0, 5),
            filled(0xAA0000, 0, 0, 4, 4),
            rectangle(4, 0, 4, 4, 1, struct.pack(">HH", 0, 0)),  # copied from the left half
            filled(0x00BB00, 7, 3, 1, 1),
            rectangle(0, 0, 0, 0, -307, struct.pack(">I", 3) + b"new"),
            filled(0, 2, 2, 0, 1),
            struct.pack(">BxH", 0, 65_535),
            filled(0x0000CC, 0, 3, 1, 1),
            rectangle(0, 0, 0, 0, -224),  # the last one
        ]
        await peer.slowly(b"".join(messages))
        await peer.reader.read(-1)

    async with scripted(script) as row, await RFBClient.connect(row) as rfb:
        image = rfb.link.frame.image
        found = [image.getpixel(place) for place in ((0, 0), (5, 2), (7, 3), (0, 3))]
        assert found == [(0xAA, 0, 0), (0xAA, 0, 0), (0, 0xBB, 0), (0, 0, 0xCC)]
        assert await rfb.get_clipboard() == "hello"
        assert rfb.link.bells == 1


async def test_a_screen_that_changes_its_size_is_fetched_again() -> None:
    async def script(peer: Peer) -> None:
        await peer.greet()
        await peer.asked()
        peer.update(filled(0x010101))
        await peer.asked()
        peer.update(rectangle(0, 0, 2, 3, -223))
        while True:
            _, x, y, width, height = await peer.asked()
            if (x, y, width, height) == (0, 0, 2, 3):
                peer.update(filled(0x020202, 0, 0, 2, 3))

    async with scripted(script) as row, await RFBClient.connect(row) as rfb:
        assert (rfb.width, rfb.height) == (2, 3)
        assert await colour(rfb, 1, 2) == 0x020202


HOSTILE: dict[str, bytes] = {
    "a message of unknown type 77": b"\x4d",
    "unknown encoding 9999": struct.pack(">BxH", 0, 1) + rectangle(0, 0, 1, 1, 9999),
    "a rectangle 9x4 at 0,0": struct.pack(">BxH", 0, 1) + filled(0, 0, 0, 9, 4),
    "a rectangle 8x4 at 1,0": struct.pack(">BxH", 0, 1)
    + rectangle(0, 0, 8, 4, 1, struct.pack(">HH", 1, 0)),
    "a rectangle of 65535x65535": struct.pack(">BxH", 0, 1) + rectangle(0, 0, 65535, 65535, 0),
    "a screen of 65535x65535": struct.pack(">BxH", 0, 1) + rectangle(0, 0, 65535, 65535, -223),
    "a screen of 0x5": struct.pack(">BxH", 0, 1) + rectangle(0, 0, 0, 5, -223),
    "a text of 4294967295 bytes": struct.pack(">BxH", 0, 1)
    + rectangle(0, 0, 0, 0, -307, b"\xff\xff\xff\xff"),
    "a clipboard message of 2 bytes": struct.pack(">Bxxxi", 3, -2) + b"ab",
    "cannot be unpacked": struct.pack(">BxxxiI", 3, -8, 1 << 28 | 1) + b"none",
    "the server closed the connection": struct.pack(">BxH", 0, 1) + filled(0)[:-1],
}


@pytest.mark.parametrize("said", HOSTILE)
async def test_a_server_that_talks_nonsense_is_a_fault(said: str) -> None:
    async def script(peer: Peer) -> None:
        await peer.greet()
        await peer.asked()
        peer.writer.write(HOSTILE[said])
        await peer.writer.drain()
        if said != "the server closed the connection":
            await peer.reader.read(-1)

    async with scripted(script) as row:
        with pytest.raises(CapabilityFault, match=said):
            await RFBClient.connect(row)


@pytest.mark.parametrize(
    ("greeting", "said"),
    [
        (b"HTTP/1.1 400\r\n", "no VNC server"),
        (b"RFB 003.008\n\x00\x00\x00\x00\x03no!", "it refused: no!"),
        (b"RFB 003.008\n\x00\xff\xff\xff\xff", "a text of 4294967295 bytes"),
        (b"RFB 003.008\n\x01\x13", r"offers security types \[19\]"),
        (b"RFB 003.003\n\x00\x00\x00\x13", "asks for security type 19"),
        (b"RFB 003.008\n\x01\x02", "the row has none"),
        (b"RFB 003.008\n\x01\x01\0\0\0\x01\0\0\0\x04full", "refused the password: full"),
    ],
)
async def test_a_server_that_does_not_let_one_in_is_a_fault(greeting: bytes, said: str) -> None:
    async def script(peer: Peer) -> None:
        peer.writer.write(greeting)
        await peer.reader.read(-1)

    async with scripted(script) as row:
        with pytest.raises(CapabilityFault, match=said):
            await RFBClient.connect(row)


async def test_texts_that_are_too_long_are_passed_over() -> None:
    async def script(peer: Peer) -> None:
        await peer.greet()
        await peer.asked()
        peer.writer.write(struct.pack(">BxxxI", 3, 5 << 20) + b"x" * (5 << 20))
        peer.writer.write(struct.pack(">BxxxI", 3, 4) + b"kept")
        peer.update(filled(1))
        await serve_all(peer)

    async with scripted(script) as row, await RFBClient.connect(row) as rfb:
        assert rfb.link.clipboard.copies == 1
        assert await rfb.get_clipboard() == "kept"


async def test_a_text_that_unpacks_into_far_more_is_a_fault() -> None:
    async def script(peer: Peer) -> None:
        await peer.greet()
        await peer.asked()
        packed = zlib.compress(struct.pack(">I", 50 << 20) + bytes(50 << 20))
        data = struct.pack(">I", 1 << 28 | 1) + packed
        peer.writer.write(struct.pack(">Bxxxi", 3, -len(data)) + data)
        await peer.reader.read(-1)

    async with scripted(script) as row:
        with pytest.raises(CapabilityFault, match="a clipboard text of 52428800 bytes"):
            await RFBClient.connect(row)


async def test_a_server_that_falls_silent_is_a_fault_and_may_come_back() -> None:
    with tigervnc() as server:
        async with await RFBClient.connect(server.row, answer_timeout_s=3.0) as rfb:
            server.signal(signal.SIGSTOP)
            stat = Path(f"/proc/{server.pid}/stat")
            await until(lambda: stat.read_text().rpartition(")")[2].split()[0] == "T")
            with pytest.raises(CapabilityFault, match="no answer within 3 s"):
                await rfb.screenshot()
            with pytest.raises(CapabilityFault, match="no answer within 3 s"):
                await rfb.screenshot()
            server.signal(signal.SIGCONT)
            assert (await rfb.screenshot()).width == 640


async def test_a_server_that_reads_nothing_is_a_fault() -> None:
    async def script(peer: Peer) -> None:
        await peer.greet()
        await peer.asked()
        peer.update(filled(1))
        peer.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await asyncio.Event().wait()

    async with scripted(script) as row:
        rfb = await RFBClient.connect(row, answer_timeout_s=0.5)
        with pytest.raises(CapabilityFault, match=r"no answer within 0\.5 s"):
            await rfb.type("x" * 2_000_000)
        await rfb.close()


async def test_a_server_killed_in_the_middle_of_a_picture_is_a_fault() -> None:
    with tigervnc(size="3000x2000") as server:
        async with await RFBClient.connect(server.row) as rfb:
            server.signal(signal.SIGSTOP)
            stat = Path(f"/proc/{server.pid}/stat")
            await until(lambda: stat.read_text().rpartition(")")[2].split()[0] == "T")
            taking = asyncio.create_task(rfb.screenshot())
            await asyncio.sleep(0)
            server.signal(signal.SIGKILL)
            with pytest.raises(CapabilityFault, match="capability 'screen'"):
                await taking
            with pytest.raises(CapabilityFault):
                await rfb.click(5, 5)


async def test_half_a_picture_and_then_nothing_is_a_fault_not_half_a_picture() -> None:
    hung_up = asyncio.Event()

    async def script(peer: Peer) -> None:
        if hung_up.is_set():
            return
        await peer.greet()
        await peer.asked()
        peer.update(filled(0x111111))
        while (await peer.asked())[0]:
            pass
        peer.writer.write(struct.pack(">BxH", 0, 1) + filled(0x222222)[:-40])
        await peer.writer.drain()
        hung_up.set()

    async with scripted(script) as row:
        rfb = await RFBClient.connect(row)
        with pytest.raises(CapabilityFault):
            await rfb.screenshot()
        assert hung_up.is_set()
        await rfb.close()


async def test_a_server_that_comes_back_is_connected_to_again() -> None:
    colours = iter((0x111111, 0x222222))
    ending = [asyncio.Event(), asyncio.Event()]
    served = iter(ending)

    async def script(peer: Peer) -> None:
        await peer.greet()
        showing = asyncio.create_task(serve_all(peer, next(colours)))
        await next(served).wait()
        showing.cancel()
        await asyncio.wait([showing])

    async with scripted(script) as row, await RFBClient.connect(row) as rfb:
        assert await colour(rfb) == 0x111111
        await rfb.mouse_down(1, 1)
        ending[0].set()
        await until(lambda: rfb.link.is_lost)
        assert await colour(rfb) == 0x222222
        assert rfb.pointer.buttons == 0


async def test_a_wrong_or_missing_password_is_a_fault_that_says_so(tmp_path: Path) -> None:
    with tigervnc(password=("right", tmp_path)) as server:
        port = server.port
        with pytest.raises(CapabilityFault, match=r"refused the password: Authentication fail"):
            await RFBClient.connect(Capability.rfb(url=f"127.0.0.1:{port}", password="wrong"))
        with pytest.raises(CapabilityFault, match="asks for a password, and the row has none"):
            await RFBClient.connect(Capability.rfb(url=f"127.0.0.1:{port}"))
        async with await RFBClient.connect(server.row) as rfb:
            assert rfb.width == 640


async def test_a_closed_client_says_so() -> None:
    with tigervnc() as server:
        rfb = await RFBClient.connect(server.row)
        await rfb.close()
        await rfb.close()
        assert rfb.is_closed
        for call in (rfb.screenshot(), rfb.click(1, 1), rfb.type("x"), rfb.get_clipboard()):
            with pytest.raises(CapabilityFault, match="the client is closed"):
                await call


async def test_a_missing_package_names_the_extra() -> None:
    code = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == sys.argv[1]:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Blocked())
from hud._core.errors import InputError
try:
    from hud.capabilities.rfb import RFBClient
    import asyncio
    RFBClient.conn.fget(type("X", (), {"_conn": None})())
except InputError as error:
    print(error.message, "|", error.hint)
"""
    for package in ("PIL", "asyncvnc"):
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", code, package, stdout=asyncio.subprocess.PIPE
        )
        out, _ = await process.communicate()
        assert package in out.decode()
        assert "pip install 'hud-python[rfb]'" in out.decode()


async def test_a_row_without_an_address_is_an_input_error() -> None:
    with pytest.raises(InputError, match="no address"):
        await RFBClient.connect(Capability("screen", "rfb/3.8", "rfb://"))
