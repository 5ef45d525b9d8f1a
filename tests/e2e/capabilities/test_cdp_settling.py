"""Waiting until a page has answered an action, on a real Chromium."""

from __future__ import annotations

import asyncio

import pytest

from hud.capabilities.cdp import CDPClient
from tests.e2e.capabilities.cdp_page import browser, cdp, logged, show, web
from tests.e2e.capabilities.cdp_site import Site
from tests.wire.harness import until

__all__ = ["browser", "cdp", "web"]


async def test_a_document_that_changes_is_waited_for(cdp: CDPClient, web: Site) -> None:
    await show(
        cdp,
        web,
        "<button id=b onclick='let n = 0; const t = setInterval(() => { "
        "o.textContent = ++n; if (n === 20) clearInterval(t); }, 20)'>go</button><p id=o>0",
    )
    await cdp.click(selector="#b")
    await cdp.settle(quiet_s=0.5, timeout_s=30)
    assert await cdp.evaluate("o.textContent") == "20"


async def test_a_document_that_never_rests_is_waited_for_a_while(cdp: CDPClient, web: Site) -> None:
    await show(cdp, web, "<p id=o><script>setInterval(() => o.textContent += 'x', 5)</script>")
    await cdp.settle(timeout_s=0.3)
    assert await cdp.evaluate("o.textContent.length") > 0


@pytest.mark.parametrize("delay", [0, 30])
async def test_a_page_that_a_click_leads_to_is_waited_for(
    cdp: CDPClient, web: Site, delay: int
) -> None:
    web.pages["/next"] = "<title>next</title><p>there"
    web.hold["/next"] = asyncio.Event()
    await show(
        cdp,
        web,
        f"<button id=b onclick='setTimeout(() => location = `/next`, {delay})'>go</button>",
    )
    await cdp.click(selector="#b")
    settling = asyncio.create_task(cdp.settle(load_timeout_s=30))
    await until(lambda: "GET /next" in web.asked)
    assert not settling.done()
    web.hold["/next"].set()
    await settling
    assert await cdp.text() == "there"


async def test_a_picture_can_be_taken_while_the_next_page_does_not_come(
    cdp: CDPClient, web: Site
) -> None:
    web.hold["/slow"] = asyncio.Event()
    await show(cdp, web, "<a id=a href=/slow>go</a>")
    before = await cdp.screenshot(max_size=(600, 600))
    await cdp.click(selector="#a")
    await cdp.settle(load_timeout_s=0.1)
    shown = await cdp.screenshot(max_size=(600, 600))
    assert (shown.width, shown.height) == (before.width, before.height)
    web.hold["/slow"].set()


async def test_a_button_is_held_while_the_pointer_moves(cdp: CDPClient, web: Site) -> None:
    await show(
        cdp,
        web,
        "<script>log = []; for (const type of ['mousedown', 'mousemove', 'mouseup'])"
        "addEventListener(type, (e) => log.push([type, e.clientX, e.buttons]))</script>",
    )
    await cdp.move(10, 10)
    await cdp.evaluate("log.length = 0")
    await cdp.mouse_down(20, 10)
    await cdp.move(30, 10)
    await cdp.mouse_up(40, 10)
    await cdp.move(50, 10)
    assert await logged(cdp) == [
        ["mousemove", 20, 0],
        ["mousedown", 20, 1],
        ["mousemove", 30, 1],
        ["mousemove", 40, 1],
        ["mouseup", 40, 0],
        ["mousemove", 50, 0],
    ]


async def test_keys_are_held_for_a_while_and_let_go_of_when_cancelled(
    cdp: CDPClient, web: Site
) -> None:
    await show(
        cdp,
        web,
        "<script>log = []; for (const type of ['keydown', 'keyup'])"
        "addEventListener(type, (e) => log.push(`${type} ${e.key}`))</script>",
    )
    await cdp.hold("Shift+x", 0.01)
    keys = ["keydown Shift", "keydown X", "keyup X", "keyup Shift"]
    assert await logged(cdp) == keys
    await cdp.evaluate("log.length = 0")
    holding = asyncio.create_task(cdp.hold("Shift+x", 1_000))
    while len(await logged(cdp)) < 2:
        pass
    holding.cancel()
    with pytest.raises(asyncio.CancelledError):
        await holding
    assert await logged(cdp) == keys
