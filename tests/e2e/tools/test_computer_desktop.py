"""Models of every vendor work a desktop by pixel, from the pictures they were shown."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest

from hud._core.errors import CapabilityFault
from hud.agents.tools.base import AgentTool, ToolError
from hud.agents.tools.browser import BrowserTool
from hud.agents.tools.computer import ClaudeComputerTool, ClaudePageTool, ComputerTool
from hud.agents.tools.computer_gemini import GeminiComputerTool, GeminiPageTool
from hud.agents.tools.computer_openai import OpenAIComputerTool
from hud.agents.tools.toolbox import open_toolbox
from hud.capabilities.rfb import RFBClient
from hud.capabilities.screenshots import WebPScreenshotEncoding
from hud.environment import Environment
from hud.environment.browser import Browser
from hud.environment.server import bind
from hud.sandbox.files import UnsafePath
from hud.trace.content import ImageContent
from tests.conformance.daemons.cdp import NAMES
from tests.conformance.daemons.rfb import TIGERVNC
from tests.e2e.tools.pixels import (
    BLUE,
    RED,
    bound,
    config_of,
    middle_of,
    picture_of,
    running,
    text_of,
)
from tests.needs import need_module, need_program
from tests.wire.harness import DEADLINE_S, Steps

SIZE = (2560, 1600)
# Two terminals that write what they are given to files; the red one lies under a small part only.
PROGRAMS = (
    "xterm -bg '#f00' -fg '#f00' -cr '#f00' -geometry 12x2+2100+1200 -e sh -c 'cat >red.txt'",
    "xterm -bg '#00f' -fg '#00f' -cr '#00f' -geometry 40x12+300+200 -e sh -c 'cat >blue.txt'",
)


@pytest.fixture(autouse=True)
def needed() -> None:
    need_module("PIL")
    for name in ("bwrap", "openbox", "xterm"):
        need_program(name)
    need_program(*TIGERVNC)


def environment(
    folder: Path, size: tuple[int, int] = SIZE, programs: tuple[str, ...] = PROGRAMS
) -> Environment:
    """Return one whose one task is to write a text into the red terminal and end it."""
    env = Environment("terminals")
    files = env.workspace(folder)
    env.desktop(workspace=files, width=size[0], height=size[1], programs=programs)

    @env.template()
    async def write(text: str) -> Steps:
        yield f"Write {text} into the red terminal."
        try:
            yield float(files.read_text("red.txt") == f"{text}\n")
        except (FileNotFoundError, UnsafePath):
            yield 0.0

    return env


@pytest.fixture
async def url(tmp_path: Path) -> AsyncGenerator[str]:
    async with bind(environment(tmp_path / "files")) as address:
        yield address


TEXT = "ready & 漢!"
Tools = dict[str, AgentTool[Any]]


async def plainly(tools: Tools, red: Any) -> Any:
    (tool,) = tools.values()
    await tool.call({"action": "left_click", "coordinate": list(red)})
    await tool.call({"action": "type", "text": TEXT})
    await tool.call({"action": "key", "text": "Return"})
    return await tool.call({"action": "key", "text": "ctrl+d"})


async def in_a_batch(tools: Tools, red: Any) -> Any:
    (tool,) = tools.values()
    return await tool.call(
        {
            "actions": [
                {"type": "click", "button": "left", "x": red[0], "y": red[1]},
                {"type": "type", "text": TEXT},
                {"type": "keypress", "keys": ["ENTER"]},
                {"type": "keypress", "keys": ["CTRL", "D"]},
            ]
        }
    )


async def by_thousandths(tools: Tools, red: Any) -> Any:
    where = {"x": red[0], "y": red[1]}
    await tools["type_text_at"].call({**where, "text": TEXT, "clear_before_typing": False})
    return await tools["key_combination"].call({"keys": "Control+D"})


@pytest.mark.parametrize(
    ("kind", "dialect", "model", "way"),
    [
        (ComputerTool, "chat", "a-model", plainly),
        (ClaudeComputerTool, "claude", "claude-sonnet-4-6", plainly),
        (OpenAIComputerTool, "openai", "gpt-5.6", in_a_batch),
        (GeminiComputerTool, "gemini", "gemini-3.1-pro-preview", by_thousandths),
    ],
)
async def test_a_text_is_typed_where_a_scaled_picture_shows_it(
    url: str, kind: type[AgentTool[Any]], dialect: str, model: str, way: Any
) -> None:
    async with running(url, "write", text=TEXT) as run:
        tools = await bound(kind, run, "screen", model=model, config=config_of(dialect))
        if dialect == "gemini":
            assert "navigate" not in tools
            picture = picture_of(await tools["hover_at"].call({"x": 0, "y": 0}))
            assert picture.width < SIZE[0]
            picture = picture.resize((1000, 1000))
        elif dialect == "openai":
            shot = await tools["computer"].call({"actions": [{"type": "screenshot"}]})
            picture = picture_of(shot)
        else:
            picture = picture_of(await tools["computer"].call({"action": "screenshot"}))
        assert picture.width < SIZE[0]
        result = await way(tools, middle_of(picture, RED))
        assert not result.isError
        assert isinstance(result.content[-1], ImageContent)
    assert run.reward == 1.0


async def test_an_8k_screen_is_seen_small_and_hit_exactly(tmp_path: Path) -> None:
    programs = (
        "xterm -bg '#f00' -fg '#f00' -cr '#f00' -geometry 8x2+7550+4250 -e sh -c 'cat >red.txt'",
        PROGRAMS[1],
    )
    async with (
        bind(environment(tmp_path / "files", (7680, 4320), programs)) as address,
        running(address, "write", text=TEXT) as run,
    ):
        tools = await bound(ComputerTool, run, "screen")
        picture = picture_of(await tools["computer"].call({"action": "screenshot"}))
        assert max(picture.size) <= 1568
        await plainly(tools, middle_of(picture, RED))
    assert run.reward == 1.0


async def test_windows_are_dragged_menus_opened_and_regions_enlarged(url: str) -> None:
    async with running(url, "write", text=TEXT) as run:
        model = {"model": "claude-opus-4-6", "encoding": WebPScreenshotEncoding(quality=90)}
        tool = (await bound(ClaudeComputerTool, run, "screen", **model))["computer"]  # pyright: ignore[reportArgumentType]
        rfb = await run.client.open("screen", RFBClient)
        shot = await tool.call({"action": "screenshot"})
        assert isinstance(shot.content[-1], ImageContent)
        assert shot.content[-1].mimeType == "image/webp"
        x, y = middle_of(picture_of(shot), BLUE, near=90) or (0, 0)
        # openbox moves a window by any place of it while alt is held. It takes its keys anew when
        # the server gets its first key, and misses what happens meanwhile.
        drag = {
            "action": "left_click_drag",
            "start_coordinate": [x, y],
            "coordinate": [x + 300, y + 200],
            "text": "alt",
        }
        async with asyncio.timeout(DEADLINE_S):
            moved = picture_of(await tool.call(drag))
            while middle_of(moved, BLUE, near=90) == (x, y):
                moved = picture_of(await tool.call(drag))
        assert middle_of(moved, BLUE, near=90) == pytest.approx((x + 300, y + 200), abs=4)
        corners = [x + 290, y + 190, x + 310, y + 210]
        zoomed = picture_of(await tool.call({"action": "zoom", "region": corners}))
        assert zoomed.width > 100
        assert middle_of(zoomed, BLUE, near=90) == pytest.approx(
            (zoomed.width / 2, zoomed.height / 2), abs=2
        )
        await tool.call({"action": "mouse_move", "coordinate": [20, 30]})
        assert text_of(await tool.call({"action": "cursor_position"})) == "X=20,Y=30"
        assert (rfb.pointer.x, rfb.pointer.y) != (20, 30)
        before = picture_of(await tool.call({"action": "screenshot"}))
        opened = picture_of(await tool.call({"action": "right_click"}))
        assert opened.tobytes() != before.tobytes()
        closed = picture_of(await tool.call({"action": "key", "text": "Escape"}))
        assert middle_of(closed, BLUE, near=90) is not None


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"action": "left_click", "coordinate": [99999, 1]}, r"the picture, which is \d+x\d+"),
        ({"action": "key", "text": "NoSuchKey"}, "unknown key 'NoSuchKey'"),
        ({"action": "scroll", "scroll_direction": "down", "scroll_amount": 1e6}, "from 0 to 1000"),
        ({"action": "type", "text": "\x00"}, "no key types"),
        ({"action": "hold_key", "text": "a b", "duration": 1}, "one combination"),
    ],
)
async def test_a_call_that_makes_no_sense_is_told_of_and_a_lost_screen_is_a_fault(
    url: str, arguments: dict[str, Any], said: str
) -> None:
    async with running(url, "write", text=TEXT) as run:
        tool = (await bound(ComputerTool, run, "screen"))["computer"]
        with pytest.raises(ToolError, match=said):
            await tool.call(arguments)
    with pytest.raises(CapabilityFault):
        await tool.call({"action": "left_click", "coordinate": [1, 1]})


async def test_where_there_is_a_desktop_pages_are_worked_by_their_elements(
    tmp_path: Path,
) -> None:
    need_program(*NAMES)
    env = environment(tmp_path / "files", (640, 480))
    env.add_daemon(Browser())
    async with bind(env) as address, running(address, "write", text=TEXT) as run:
        for catalog, named in (
            ([ClaudePageTool, BrowserTool, ClaudeComputerTool], "computer"),
            ([GeminiPageTool, BrowserTool, GeminiComputerTool], "click_at"),
        ):
            async with open_toolbox(run, config_of("claude"), catalog) as toolbox:
                drives = {name: tool.protocol for name, tool in toolbox.tools.items()}
            assert drives[named] == "rfb"
            assert drives["browser_read"] == "cdp"
            by_pixel = [name for name in drives if not name.startswith("browser_")]
            assert all(drives[name] == "rfb" for name in by_pixel)
