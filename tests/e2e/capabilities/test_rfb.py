"""The rfb client on a TigerVNC started by hand: what a terminal gets, what pictures show."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncGenerator, Generator
from pathlib import Path
from typing import Any

import pytest

from hud._core.errors import Fault
from hud.capabilities.rfb import RFBClient, RFBError
from tests.conformance.daemons.rfb import Server, tigervnc, x11vnc
from tests.e2e.capabilities.rfb_screen import Report, Terminal, eventually, painter, terminal
from tests.needs import need_module


@pytest.fixture
def server() -> Generator[Server]:
    with tigervnc("-SetPrimary", "0", "-SendPrimary", "0") as running:
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


def opened(data: bytes) -> Any:
    image = need_module("PIL.Image").open(io.BytesIO(data))
    image.load()
    return image


# The keyboard.


async def test_text_of_any_script_arrives(rfb: RFBClient, xterm: Terminal) -> None:
    text = "Hello, {World}! ~`@#$%^&*() é ß € 漢字 😀 Ω\tend"
    await rfb.type(text)
    await xterm.receives(text.encode())


async def test_the_first_key_of_all_may_be_one_that_no_keyboard_has(
    server: Server, tmp_path: Path
) -> None:
    with terminal(server, tmp_path) as xterm:
        async with await RFBClient.connect(server.row) as rfb:
            await xterm.has_the_pointer(rfb)
            await rfb.type("漢字")
            await xterm.receives("漢字".encode())


async def test_a_long_text_arrives_whole(rfb: RFBClient, xterm: Terminal) -> None:
    text = "The quick brown Fox. " * 250
    await rfb.type(text)
    await xterm.receives(text.encode())


async def test_more_characters_than_there_are_spare_keys_are_pasted(
    rfb: RFBClient, xterm: Terminal
) -> None:
    text = "".join(chr(0x4E00 + 7 * index) for index in range(300))
    await rfb.type("key by key: é, ")
    await rfb.type(text)
    await rfb.type(" and on")
    await xterm.receives(f"key by key: é, {text} and on".encode())


async def test_spare_keys_that_a_row_promises_are_used(
    server: Server, rfb: RFBClient, xterm: Terminal
) -> None:
    server.row.params["spare_keys"] = 18
    rfb.capability.params["spare_keys"] = 18
    await rfb.type("äöüßéèñçøåαβγδεζηθ")
    await xterm.receives("äöüßéèñçøåαβγδεζηθ".encode())
    assert rfb.link.clipboard.own is None


async def test_chords_and_named_keys_arrive(rfb: RFBClient, xterm: Terminal) -> None:
    for keys, expected in {
        "ctrl+c": b"\x03",
        "ctrl+C": b"\x03",
        "Enter": b"\r",
        "escape": b"\x1b",
        "shift+t": b"T",
        "shift+1": b"!",
        "T": b"T",
        "ctrl+shift+t": b"\x14",
        "F5": b"\x1b[15~",
        "Page_Down": b"\x1b[6~",
        "arrowup": b"\x1b[A",
        "Left": b"\x1b[D",
        "delete": b"\x1b[3~",
        "+": b"+",
        "shift++": b"+",
        "KP_Multiply": b"*",
        "é": "é".encode(),
        "space": b" ",
    }.items():
        await rfb.press(keys)
        await xterm.receives(expected)
        xterm.forget()
    await rfb.press(["ctrl", "a"], count=3)
    await xterm.receives(b"\x01\x01\x01")


async def test_a_key_stays_held_until_it_is_released(rfb: RFBClient, xterm: Terminal) -> None:
    await rfb.key_down("ctrl")
    await rfb.press("b")
    await rfb.key_up("ctrl")
    await rfb.press("b")
    await xterm.receives(b"\x02b")


async def test_what_a_client_held_is_released_when_it_closes(
    server: Server, rfb: RFBClient, xterm: Terminal
) -> None:
    async with await RFBClient.connect(server.row) as other:
        await other.key_down("shift")
        await other.key_down("ctrl")
    await rfb.press("b")
    await xterm.receives(b"b")
    async with await RFBClient.connect(server.row) as other:
        await other.mouse_down(50, 50)
    await eventually(lambda: bool(xterm.reports) and xterm.reports[-1].is_release)


async def test_everything_typed_arrives_though_the_client_closes_at_once(
    server: Server, rfb: RFBClient, xterm: Terminal
) -> None:
    async with await RFBClient.connect(server.row) as other:
        await other.type("x" * 2000)
    await xterm.receives(b"x" * 2000)


# The pointer.


async def test_buttons_wheel_and_modifiers_arrive(rfb: RFBClient, xterm: Terminal) -> None:
    await rfb.click(100, 100)
    await rfb.click(button="right", count=2)
    await rfb.click(button="middle")
    await rfb.scroll(0, 2)
    await rfb.scroll(0, -1)
    await rfb.scroll(1, 0)
    await rfb.scroll(-1, 0, keys="alt")
    await eventually(lambda: len(xterm.reports) >= 15)
    assert [(report.button, report.is_release) for report in xterm.reports] == [
        *((0, False), (0, True)),
        *((2, False), (2, True), (2, False), (2, True)),
        *((1, False), (1, True)),
        *((65, False), (65, False), (64, False)),
        *((67, False), (67, True), (74, False), (74, True)),
    ]
    assert len({(report.column, report.row) for report in xterm.reports}) == 1


async def test_a_drag_goes_along_its_path_in_steps(rfb: RFBClient, xterm: Terminal) -> None:
    await rfb.drag([(10, 10), (10, 200), (310, 200)])
    await eventually(lambda: bool(xterm.reports) and xterm.reports[-1].is_release)
    first, *moves, last = [report for report in xterm.reports if report.button != 35]
    assert (first.button, last.button) == (0, 0)
    assert {move.button for move in moves} == {32}
    assert len(moves) > 10
    places = [(move.column, move.row) for move in moves]
    assert places == sorted(places, key=lambda place: (place[1], place[0]))
    assert (first.column, first.row) < (last.column, last.row) == places[-1]


async def test_buttons_are_pressed_and_released_apart(rfb: RFBClient, xterm: Terminal) -> None:
    await rfb.mouse_down(20, 20)
    await rfb.move(320, 20)
    await rfb.mouse_up(320, 20)
    await eventually(lambda: bool(xterm.reports) and xterm.reports[-1].is_release)
    kinds = [report.button for report in xterm.reports if report.button != 35]
    assert (kinds[0], kinds[1], kinds[-1]) == (0, 32, 0)
    assert isinstance(xterm.reports[0], Report)


# Mistakes of whoever uses it.


async def test_mistakes_are_errors_that_a_model_may_be_told(rfb: RFBClient) -> None:
    before = await rfb.screenshot()
    for attempt, said in (
        (rfb.click(640, 10), "640,10 is outside the screen of 640x480"),
        (rfb.move(-1, 0), "outside"),
        (rfb.move(float("nan"), 0), "outside"),
        (rfb.click(5), "both x and y"),
        (rfb.click(5, 5, button="thumb"), "unknown button 'thumb'"),  # type: ignore[arg-type]
        (rfb.click(5, 5, count=0), "0 times"),
        (rfb.drag([(1, 1)]), "two places"),
        (rfb.drag([(1, 1), (1, 900)]), "outside"),
        (rfb.scroll(0, 100_000), "100000 notches"),
        (rfb.press("ctrl+bogus"), "unknown key 'bogus'"),
        (rfb.press("ctrl++x"), "cannot read the keys"),
        (rfb.press(""), "cannot read the keys"),
        (rfb.press([]), "no key"),
        (rfb.press("a", count=0), "0 times"),
        (rfb.key_down("nope"), "unknown key"),
        (rfb.type("a\x00b"), "no key types"),
        (rfb.type("\ud800"), "no key types"),
        (rfb.screenshot("gif"), "unknown screenshot format"),  # type: ignore[arg-type]
        (rfb.screenshot(region=(0, 0, 641, 10)), "not on the screen"),
        (rfb.screenshot(region=(0, 0, 0, 10)), "not on the screen"),
        (rfb.screenshot(scale=0), "cannot be scaled"),
        (rfb.screenshot(scale=30_000), "too large"),
    ):
        with pytest.raises(RFBError, match=said) as caught:
            await attempt
        assert not isinstance(caught.value, Fault)
    assert rfb.pointer.buttons == 0
    assert await rfb.screenshot() == before


# Pictures.


async def test_a_picture_is_never_older_than_what_was_there_before_it_was_asked_for(
    server: Server, rfb: RFBClient
) -> None:
    async with painter(server) as paint:
        for index in range(60):
            colour = (37 * index * 65_537 + index) & 0xFFFFFF
            await paint(colour)
            # Meets the server at different moments of the frame it is holding changes back for.
            await asyncio.sleep(index % 7 * 0.003)
            await paint(colour ^ 0x808080)
            shown = opened(await rfb.screenshot()).convert("RGB").getpixel((320, 240))
            assert shown == tuple((colour ^ 0x808080).to_bytes(3, "big"))


async def test_an_unchanged_screen_is_not_sent_again(server: Server, rfb: RFBClient) -> None:
    async with painter(server) as paint:
        await paint(0x123456)
        first = await rfb.screenshot()
        held = rfb.link.frame.version
        assert await rfb.screenshot() is first
        assert rfb.link.frame.version == held
        await paint(0x654321)
        assert await rfb.screenshot() != first


async def test_pictures_are_scaled_cut_and_mapped_back(server: Server, rfb: RFBClient) -> None:
    async with painter(server) as paint:
        await paint(0x336699)
        whole = await rfb.screenshot()
        assert opened(whole).size == (whole.width, whole.height) == (640, 480)
        assert whole.to_screen(639, 479) == (639, 479)
        half = await rfb.screenshot("webp", scale=0.5, quality=70)
        assert (half.mime_type, opened(half).format, opened(half).size) == (
            *("image/webp", "WEBP"),
            (320, 240),
        )
        assert half.to_screen(160, 120) == (320, 240)
        part = await rfb.screenshot(region=(600, 400, 40, 80), max_width=20, max_height=10)
        assert opened(part).size == (5, 10)
        assert part.to_screen(0, 0) == (600, 400)
        assert part.to_screen(4, 9) == (632, 472)
        with pytest.raises(RFBError, match="outside the picture"):
            part.to_screen(5, 0)
        assert (await rfb.screenshot(max_width=10_000)).width == 640
        data, mime = await rfb.screenshot_png()
        assert (data, mime) == (whole, "image/png")
        data, mime = await rfb.screenshot_png("image/webp")
        assert (opened(data).format, mime) == ("WEBP", "image/webp")


async def test_many_ask_for_pictures_at_once_and_some_give_up(
    server: Server, rfb: RFBClient
) -> None:
    async with painter(server) as paint:
        for index in range(20):
            await paint(index * 0x0A0A0A)
            asked = [asyncio.create_task(rfb.screenshot()) for _ in range(6)]
            await asyncio.sleep(0)
            asked[index % 6].cancel()
            done = await asyncio.gather(*asked, return_exceptions=True)
            assert sum(isinstance(one, asyncio.CancelledError) for one in done) == 1
            shown = opened(await rfb.screenshot()).convert("RGB").getpixel((5, 5))
            assert shown == (index * 10,) * 3


async def test_a_change_is_waited_for(server: Server, rfb: RFBClient) -> None:
    async with painter(server) as paint:
        await paint(0x111111)
        await rfb.screenshot()
        assert await rfb.wait_for_change(0.05) is False
        waiting = asyncio.create_task(rfb.wait_for_change(30))
        await asyncio.sleep(0)
        # A picture meanwhile is not held up by it.
        await rfb.screenshot()
        await paint(0x222222)
        assert await waiting is True
        await paint(0x333333)
        await rfb.screenshot()
        assert await rfb.wait_for_change(0.05) is False


async def test_other_depths_give_the_same_picture() -> None:
    with tigervnc("-depth", "16") as server:
        async with await RFBClient.connect(server.row) as rfb, painter(server) as paint:
            await paint(0xF800)
            assert opened(await rfb.screenshot()).convert("RGB").getpixel((9, 9)) == (255, 0, 0)


async def test_two_screens_are_two_clients() -> None:
    with tigervnc() as one, tigervnc(size="800x600") as two:
        async with await RFBClient.connect(one.row) as a, await RFBClient.connect(two.row) as b:
            assert (a.width, a.height, b.width, b.height) == (640, 480, 800, 600)


# The clipboard.


async def test_any_text_is_pasted(rfb: RFBClient, xterm: Terminal) -> None:
    await rfb.set_clipboard("漢字 😀 é")
    assert await rfb.get_clipboard() == "漢字 😀 é"
    await rfb.press("shift+Insert")
    await xterm.receives("漢字 😀 é".encode())


async def test_any_text_that_a_program_copies_is_read(
    server: Server, rfb: RFBClient, tmp_path: Path
) -> None:
    from tests.needs import need_program

    assert await rfb.get_clipboard() == ""
    for text in ("plain", "línea\nzwei 漢字 😀\n", "x" * 200_000):
        path = tmp_path / "text"
        path.write_text(text, encoding="utf-8")
        command = [need_program("xclip"), "-selection", "clipboard", "-quiet", "-i", str(path)]
        process = await asyncio.create_subprocess_exec(
            *command, env=server.env, stderr=asyncio.subprocess.DEVNULL
        )
        try:
            assert await rfb.get_clipboard(wait_s=30) == text
            assert await rfb.get_clipboard() == text
        finally:
            process.kill()
            await process.wait()


async def test_nothing_takes_a_paste_where_nothing_has_the_keyboard(rfb: RFBClient) -> None:
    with pytest.raises(RFBError, match="nothing on the screen asked for"):
        await rfb.type("漢字", how="paste")


async def test_x11vnc_shows_what_is_there_types_and_says_what_it_cannot(tmp_path: Path) -> None:
    with x11vnc() as server, terminal(server, tmp_path) as xterm:
        async with await RFBClient.connect(server.row) as rfb:
            await xterm.is_there(rfb)
            await rfb.type("Grüße, 漢字 {ok}")
            await xterm.receives("Grüße, 漢字 {ok}".encode())
            with pytest.raises(RFBError, match="takes Latin-1 alone, not '漢'"):
                await rfb.set_clipboard("漢字")
            await rfb.set_clipboard("déjà")
            with pytest.raises(RFBError, match="characters that no key has"):
                await rfb.type("".join(map(chr, range(0x4E00, 0x4E40))))
            picture = opened(await rfb.screenshot())
            assert picture.size == (640, 480)
            assert len(picture.convert("RGB").getcolors(1 << 20)) > 1
