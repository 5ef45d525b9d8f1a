"""Models of every vendor work a page by pixel, from the pictures they were shown."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from typing import Any

import pytest

from hud._core.errors import CapabilityFault
from hud.agents.tools.base import AgentTool, ToolError
from hud.agents.tools.computer import ClaudePageTool, PageComputerTool
from hud.agents.tools.computer_gemini import GeminiPageTool
from hud.agents.tools.computer_openai import OpenAIPageTool
from hud.capabilities.cdp import CDPClient
from hud.capabilities.screenshots import WebPScreenshotEncoding
from hud.environment import Environment
from hud.environment.browser import Browser
from hud.environment.server import bind
from hud.trace.content import ImageContent
from tests.conformance.daemons.cdp import NAMES
from tests.e2e.capabilities.cdp_page import browser, cdp
from tests.e2e.tools.pixels import (
    BLUE,
    GREEN,
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

__all__ = ["browser", "cdp"]

SIZE = (2560, 1440)
FORM = """<!doctype html><meta charset=utf-8><title>Form</title>
<body style='margin:0;height:5000px'>
<input id=i style='position:absolute;left:1801px;top:1103px;width:90px;height:24px;border:0;
  background:#f00;color:#f00'>
<button id=b style='position:absolute;left:311px;top:203px;width:24px;height:16px;border:0;
  background:#008000' onclick='window.done = i.value'></button>
<div id=d style='position:absolute;left:900px;top:700px;width:30px;height:30px;
  background:#00f'></div>
<script>
  window.log = [];
  const note = (event) => log.push(event.type +
    (event.ctrlKey ? '+ctrl' : '') + (event.shiftKey ? '+shift' : ''));
  for (const type of ['click', 'dblclick', 'contextmenu', 'auxclick', 'mousedown', 'mouseup'])
    d.addEventListener(type, note);
  addEventListener('keydown', (event) => log.push('down ' + event.key));
  addEventListener('keyup', (event) => log.push('up ' + event.key));
  let from = null;
  addEventListener('mousedown', (event) => { if (event.target === d) from = event; });
  addEventListener('mousemove', (event) => { if (from && event.buttons === 1) {
    d.style.left = event.clientX - 15 + 'px'; d.style.top = event.clientY - 15 + 'px'; } });
  addEventListener('mouseup', () => { from = null; });
</script>"""


@pytest.fixture(autouse=True)
def needed() -> None:
    need_program(*NAMES)
    need_program("bwrap")
    need_module("PIL")


@pytest.fixture
async def url() -> AsyncGenerator[str]:
    """An environment whose one task is to write "ready, 漢!" into a form."""
    env = Environment("forms")
    daemon = env.add_daemon(Browser(width=SIZE[0], height=SIZE[1]))

    @env.template()
    async def fill() -> Steps:
        async with daemon.client() as driver:
            await driver.evaluate(f"document.open(); document.write({FORM!r}); document.close()")
        yield "Write ready, 漢! into the red field and press the green button."
        async with daemon.client() as driver:
            yield float(await driver.evaluate("window.done === 'ready, 漢!'"))

    async with bind(env) as address:
        yield address


TEXT = "ready, 漢!"
Tools = dict[str, AgentTool[Any]]


async def plainly(tools: Tools, red: Any, green: Any) -> Any:
    (tool,) = tools.values()
    await tool.call({"action": "left_click", "coordinate": list(red)})
    await tool.call({"action": "type", "text": TEXT})
    return await tool.call({"action": "left_click", "coordinate": list(green)})


async def in_a_batch(tools: Tools, red: Any, green: Any) -> Any:
    (tool,) = tools.values()
    return await tool.call(
        {
            "actions": [
                {"type": "click", "button": "left", "x": red[0], "y": red[1]},
                {"type": "type", "text": TEXT},
                {"type": "click", "button": "left", "x": green[0], "y": green[1]},
                {"type": "screenshot"},
            ],
            "pending_safety_checks": [],
        }
    )


async def one_by_one(tools: Tools, red: Any, green: Any) -> Any:
    (tool,) = tools.values()
    await tool.call({"action": {"type": "click", "button": "left", "x": red[0], "y": red[1]}})
    await tool.call({"action": {"type": "type", "text": TEXT}})
    click = {"type": "click", "button": "left", "x": green[0], "y": green[1]}
    return await tool.call({"action": click})


async def by_thousandths(tools: Tools, red: Any, green: Any) -> Any:
    # Places on a picture of 1000x1000.
    await tools["type_text_at"].call({"x": red[0], "y": red[1], "text": TEXT, "press_enter": False})
    return await tools["click_at"].call({"x": green[0], "y": green[1]})


async def shown(tools: Tools) -> Any:
    if "computer" not in tools:
        picture = picture_of(await tools["open_web_browser"].call({}))
        assert picture.width * picture.height <= 1_440_000
        return picture.resize((1000, 1000))
    tool = tools["computer"]
    if isinstance(tool, OpenAIPageTool):
        return picture_of(await tool.call({"actions": [{"type": "screenshot"}]}))
    return picture_of(await tool.call({"action": "screenshot"}))


@pytest.mark.parametrize(
    ("kind", "dialect", "model", "way"),
    [
        (PageComputerTool, "chat", "a-model", plainly),
        (ClaudePageTool, "claude", "claude-sonnet-4-5", plainly),
        (ClaudePageTool, "claude", "claude-opus-4-8", plainly),
        (OpenAIPageTool, "openai", "gpt-5.6", in_a_batch),
        (OpenAIPageTool, "openai", "computer-use-preview", one_by_one),
        (GeminiPageTool, "gemini", "gemini-3.1-pro-preview", by_thousandths),
    ],
)
async def test_a_form_is_filled_in_by_pixels_of_a_scaled_picture(
    url: str, kind: type[AgentTool[Any]], dialect: str, model: str, way: Callable[..., Any]
) -> None:
    async with running(url, "fill") as run:
        tools = await bound(kind, run, "browser", model=model, config=config_of(dialect))
        picture = await shown(tools)
        assert picture.width < SIZE[0]
        red, green = middle_of(picture, RED), middle_of(picture, GREEN)
        result = await way(tools, red, green)
        assert not result.isError
        assert isinstance(result.content[-1], ImageContent)
    assert run.reward == 1.0


async def test_a_browser_that_is_gone_is_a_fault_and_no_error_of_the_model(url: str) -> None:
    async with running(url, "fill") as run:
        tool = (await bound(PageComputerTool, run, "browser"))["computer"]
    with pytest.raises(CapabilityFault):
        await tool.call({"action": "left_click", "coordinate": [1, 1]})


@pytest.fixture
async def page(cdp: CDPClient) -> CDPClient:
    """The form in a browser that no run has."""
    await cdp.set_viewport(*SIZE)
    await cdp.evaluate(f"document.open(); document.write({FORM!r}); document.close()")
    return cdp


async def test_every_action_of_the_mouse_reaches_the_page(page: CDPClient) -> None:
    tool = (await bound(ClaudePageTool, page, model="claude-opus-4-5"))["computer"]
    blue = middle_of(picture_of(await tool.call({"action": "screenshot"})), BLUE)
    assert blue is not None
    at = list(blue)
    for action, events in (
        ({"action": "left_click", "text": "ctrl"}, "click+ctrl"),
        ({"action": "right_click"}, "contextmenu"),
        ({"action": "middle_click", "text": "shift"}, "auxclick+shift"),
        ({"action": "double_click"}, "click click dblclick"),
        ({"action": "triple_click"}, "click click dblclick click"),
    ):
        await page.evaluate("log.length = 0")
        await tool.call({**action, "coordinate": at})
        log = [said for said in await page.evaluate("log") if not said.startswith("mouse")]
        assert [said for said in log if said != "auxclick" or "aux" in events] == events.split()
    await page.evaluate("log.length = 0")
    await tool.call({"action": "mouse_move", "coordinate": at})
    said = await tool.call({"action": "cursor_position"})
    assert text_of(said) == f"X={at[0]},Y={at[1]}"
    await tool.call({"action": "left_mouse_down"})
    assert await page.evaluate("log") == ["mousedown"]
    await tool.call({"action": "mouse_move", "coordinate": [at[0] + 200, at[1]]})
    moved = await tool.call({"action": "left_mouse_up"})
    assert middle_of(picture_of(moved), BLUE) == pytest.approx((at[0] + 200, at[1]), abs=2)
    back = await tool.call(
        {
            "action": "left_click_drag",
            "start_coordinate": [at[0] + 200, at[1]],
            "coordinate": at,
        }
    )
    assert middle_of(picture_of(back), BLUE) == pytest.approx(at, abs=2)


async def test_a_path_is_dragged_along(page: CDPClient) -> None:
    tool = (await bound(OpenAIPageTool, page, model="gpt-5.6"))["computer"]
    first = await tool.call({"actions": [{"type": "screenshot"}]})
    x, y = middle_of(picture_of(first), BLUE) or (0, 0)
    await page.evaluate("window.ys = []; addEventListener('mousemove', e => ys.push(e.clientY))")
    path = [{"x": x, "y": y}, {"x": x + 50, "y": y - 300}, {"x": x + 100, "y": y}]
    result = await tool.call({"actions": [{"type": "drag", "path": path}]})
    assert middle_of(picture_of(result), BLUE) == pytest.approx((x + 100, y), abs=2)
    ys = await page.evaluate("ys")
    assert min(ys) < ys[0] - 350


async def test_keys_of_any_spelling_are_pressed_and_held(page: CDPClient) -> None:
    tool = (await bound(PageComputerTool, page))["computer"]
    for keys, log in (
        ("Return", ["down Enter", "up Enter"]),
        ("Page_Down", ["down PageDown", "up PageDown"]),
        ("CTRL+b", ["down Control", "down b", "up b", "up Control"]),
        ("Tab Tab", ["down Tab", "up Tab"] * 2),
    ):
        await page.evaluate("log.length = 0")
        await tool.call({"action": "key", "text": keys})
        assert await page.evaluate("log") == log
    await page.evaluate("log.length = 0")
    await tool.call({"action": "hold_key", "text": "shift+x", "duration": 0.05})
    assert await page.evaluate("log") == ["down Shift", "down X", "up X", "up Shift"]
    await page.evaluate("log.length = 0")
    await tool.call({"action": "key", "text": "x", "repeat": 3})
    assert await page.evaluate("log") == ["down x", "up x"] * 3


async def scrolled_to(page: CDPClient, y: float) -> None:
    """Wait until the page has scrolled there; it moves smoothly."""
    async with asyncio.timeout(DEADLINE_S):
        await page.evaluate(
            "new Promise((resolve) => { const look = () => Math.abs(scrollY - "
            f"{y}) <= 1 ? resolve(true) : setTimeout(look, 10); look(); }})"
        )


async def test_scrolling_is_counted_in_notches_or_in_pixels_of_the_picture(page: CDPClient) -> None:
    plain = (await bound(PageComputerTool, page))["computer"]
    down = {"action": "scroll", "coordinate": [200, 400], "scroll_direction": "down"}
    await plain.call({**down, "scroll_amount": 5})
    await scrolled_to(page, 500)
    openai = (await bound(OpenAIPageTool, page, model="gpt-5.6"))["computer"]
    height = picture_of(await openai.call({"actions": [{"type": "screenshot"}]})).height
    scroll = {"type": "scroll", "x": 200, "y": 400, "scroll_x": 0, "scroll_y": -150}
    await openai.call({"actions": [scroll]})
    await scrolled_to(page, 500 - 150 * SIZE[1] / height)
    await page.evaluate("scrollTo(0, 0)")
    gemini = await bound(GeminiPageTool, page)
    await gemini["scroll_document"].call({"direction": "down"})
    await scrolled_to(page, round(SIZE[1] * 0.8))
    await gemini["scroll_at"].call({"x": 500, "y": 500, "direction": "up", "magnitude": 100})
    await scrolled_to(page, round(SIZE[1] * 0.7))


async def test_a_region_is_shown_larger_and_places_stay_those_of_the_whole_picture(
    page: CDPClient,
) -> None:
    tool = (await bound(ClaudePageTool, page, model="claude-opus-4-5"))["computer"]
    picture = picture_of(await tool.call({"action": "screenshot"}))
    x, y = middle_of(picture, GREEN) or (0, 0)
    region = [x - 40, y - 30, x + 40, y + 30]
    zoomed = picture_of(await tool.call({"action": "zoom", "region": region}))
    assert zoomed.width > 400
    middle = (zoomed.width / 2, zoomed.height / 2)
    assert middle_of(zoomed, GREEN) == pytest.approx(middle, abs=zoomed.width / 20)
    await tool.call({"action": "left_click", "coordinate": [x, y]})
    assert await page.evaluate("'done' in window")
    with pytest.raises(ToolError, match="no part of the picture"):
        await tool.call({"action": "zoom", "region": [0, 0, picture.width + 1, 5]})


async def test_pictures_are_encoded_as_the_agent_s_settings_say(page: CDPClient) -> None:
    webp = WebPScreenshotEncoding(quality=60)
    tools = await bound(PageComputerTool, page, encoding=webp)
    result = await tools["computer"].call({"action": "screenshot"})
    assert isinstance(result.content[0], ImageContent)
    assert result.content[0].mimeType == "image/webp"
    assert middle_of(picture_of(result), RED, near=90) is not None


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({}, "'action' must be one of screenshot, .*it is missing"),
        ({"action": "fly"}, "zoom, not fly"),
        ({"action": "left_click", "coordinate": [99999, 1]}, r"outside the picture, which is \d+x"),
        ({"action": "left_click", "coordinate": "1,2"}, "'coordinate' must be a list of 2 numbers"),
        ({"action": "left_click", "coordinate": [True, 2]}, "must be a list of 2 numbers"),
        ({"action": "mouse_move"}, "'coordinate' must be .*it is missing"),
        ({"action": "key", "text": "NoSuchKey"}, "'NoSuchKey' names no key"),
        ({"action": "key"}, "'text' must be a text"),
        ({"action": "left_click", "text": "ctrl+q"}, "'q' cannot be held"),
        ({"action": "wait", "duration": 1e9}, "'duration' must be a number from 0 to 100"),
        ({"action": "scroll", "scroll_direction": "in"}, "must be one of up, down"),
    ],
)
async def test_a_call_that_makes_no_sense_is_told_of(
    page: CDPClient, arguments: dict[str, Any], said: str
) -> None:
    tool = (await bound(PageComputerTool, page))["computer"]
    with pytest.raises(ToolError, match=said):
        await tool.call(arguments)


async def test_a_batch_ends_at_an_action_that_cannot_be_carried_out_and_shows_the_screen(
    page: CDPClient,
) -> None:
    tool = (await bound(OpenAIPageTool, page, model="gpt-5.6"))["computer"]
    click = {"type": "click", "button": "left", "x": 1, "y": 1}
    result = await tool.call({"actions": [click, {**click, "x": 99999}, click]})
    assert result.isError
    assert "action 2 of 3 could not be carried out" in text_of(result)
    assert middle_of(picture_of(result), RED) is not None
    nonsense: list[dict[str, Any]] = [{}, {"actions": []}, {"actions": "go"}, {"actions": [7]}]
    for arguments in nonsense:
        result = await tool.call(arguments)
        assert result.isError
        assert picture_of(result).width > 1


async def test_dialogs_are_told_of_because_no_picture_shows_them(page: CDPClient) -> None:
    tool = (await bound(PageComputerTool, page))["computer"]
    await page.evaluate("b.onclick = () => { window.answer = confirm('Are you sure?') }; 1")
    green = middle_of(picture_of(await tool.call({"action": "screenshot"})), GREEN)
    result = await tool.call({"action": "left_click", "coordinate": list(green or ())})
    assert "dialog (confirm), which was dismissed. It says: Are you sure?" in text_of(result)
    assert text_of(await tool.call({"action": "screenshot"})) == ""
    assert await page.evaluate("window.answer") is False


async def test_the_picture_after_a_click_shows_what_it_led_to(page: CDPClient) -> None:
    tool = (await bound(PageComputerTool, page))["computer"]
    late = "setTimeout(() => { document.body.style.background = '#00f'; }, 60)"
    await page.evaluate(f"d.remove(); b.onclick = () => {{ {late} }}; 1")
    first = picture_of(await tool.call({"action": "screenshot"}))
    green = middle_of(first, GREEN)
    assert middle_of(first, BLUE) is None
    result = await tool.call({"action": "left_click", "coordinate": list(green or ())})
    assert middle_of(picture_of(result), BLUE) is not None


async def test_gemini_s_functions_go_where_they_say(page: CDPClient) -> None:
    tools = await bound(GeminiPageTool, page, config=config_of("gemini"))
    assert len(tools) == 13
    went = await tools["navigate"].call({"url": "data:text/html,<title>T</title>two"})
    assert went.structuredContent == {"url": "data:text/html,<title>T</title>two"}
    assert text_of(went) == "url: data:text/html,<title>T</title>two"
    back = await tools["go_back"].call({})
    assert back.structuredContent == {"url": "about:blank"}
    await tools["go_forward"].call({})
    with pytest.raises(ToolError, match="no page to go forward to"):
        await tools["go_forward"].call({})
    with pytest.raises(ToolError, match=r"cannot load https://no\.such\.host"):
        await tools["navigate"].call({"url": "no.such.host"})
    with pytest.raises(ToolError, match="'x' must be a number from 0 to 1000"):
        await tools["click_at"].call({"x": 1001, "y": 0})


async def test_excluded_functions_are_left_out_and_declared_as_such(page: CDPClient) -> None:
    config = config_of("gemini").model_copy(
        update={"excluded_predefined_functions": ["drag_and_drop", "fold"]}
    )
    tools = await bound(GeminiPageTool, page, config=config)
    assert "drag_and_drop" not in tools
    specs = [tool.native_spec() for tool in tools.values()]
    assert all(spec == specs[0] for spec in specs)
    assert specs[0] == {
        "computer_use": {
            "environment": "ENVIRONMENT_BROWSER",
            "excluded_predefined_functions": ["drag_and_drop", "fold"],
        }
    }


async def test_calls_made_together_take_turns(page: CDPClient) -> None:
    tools = await bound(GeminiPageTool, page)
    await page.evaluate("i.focus()")
    where = {"x": 725, "y": 775, "press_enter": False}
    await asyncio.gather(
        *(tools["type_text_at"].call({**where, "text": text}) for text in ("aaaa", "bbbb"))
    )
    assert await page.evaluate("i.value") in ("aaaa", "bbbb")
