"""A browser of a served environment, driven through the tunnel: by us, by Playwright, by others."""

from __future__ import annotations

import io
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from hud._core.errors import CapabilityFault
from hud.capabilities.cdp import CDPClient, CDPError
from hud.clients import connect
from hud.environment import Environment
from hud.environment.browser import Browser
from hud.environment.server import bind
from hud.eval import Runtime
from tests.conformance.daemons.cdp import NAMES
from tests.needs import need_module, need_program
from tests.wire.harness import Steps
from tests.wire.peer.theirs import program

FORM = "data:text/html,<title>T</title><input id=i><button onclick='done=i.value'>send</button>"


@pytest.fixture
async def url() -> AsyncGenerator[str]:
    """An environment whose one task is to write "ready" into a form."""
    need_program(*NAMES)
    need_program("bwrap")
    env = Environment("forms")
    browser = env.add_daemon(Browser())

    @env.template()
    async def fill() -> Steps:
        async with browser.client() as cdp:
            await cdp.navigate(FORM)
        yield "Write ready into the field and send it."
        async with browser.client() as cdp:
            yield float(await cdp.evaluate("globalThis.done === 'ready'"))

    async with bind(env) as address:
        yield address


async def test_our_client_does_a_task_and_is_cut_off_for_grading(url: str) -> None:
    async with connect(Runtime(url)) as client:
        for reward in (1.0, 0.0):
            await client.start_task("fill")
            cdp = await CDPClient.connect(client.binding("cdp"))
            async with cdp:
                tree = await cdp.accessibility_tree()
                assert [row.role for row in tree.nodes][-2:] == ["textbox", "button"]
                if reward:
                    await cdp.click(node=tree.nodes[-2].node)
                    await cdp.type("ready")
                    await cdp.click(node=tree.nodes[-1].node)
                assert (await client.grade({"answer": ""}))["score"] == reward
                with pytest.raises(CapabilityFault):
                    await cdp.text()
            with pytest.raises(CapabilityFault, match="cannot be reached"):
                await CDPClient.connect(client.binding("cdp"))


async def test_a_crash_in_the_middle_of_an_episode_costs_the_page_alone(url: str) -> None:
    async with connect(Runtime(url)) as client:
        await client.start_task("fill")
        async with await CDPClient.connect(client.binding("browser")) as cdp:
            with pytest.raises(CDPError, match="was restarted"):
                await cdp.send("Browser.crash")
            assert cdp.url == "about:blank"
            await cdp.navigate(FORM)
            await cdp.click(selector="#i")
            await cdp.type("ready")
            await cdp.click(selector="button")
        assert (await client.grade({"answer": ""}))["score"] == 1.0


async def test_large_pictures_pass_the_tunnel(url: str) -> None:
    async with (
        connect(Runtime(url)) as client,
        await CDPClient.connect(client.binding("cdp")) as cdp,
    ):
        await cdp.evaluate(
            """const c = document.createElement('canvas'); c.width = 1280; c.height = 720;
            const x = c.getContext('2d'), d = x.createImageData(1280, 720);
            for (let i = 0; i < d.data.length; i++)
              d.data[i] = i % 4 == 3 ? 255 : Math.random() * 256;
            x.putImageData(d, 0, 0); document.body.style.margin = 0;
            document.body.append(c); 0"""
        )
        data = await cdp.screenshot()
        assert len(data) > 2_000_000
        image = need_module("PIL.Image").open(io.BytesIO(data))
        image.load()
        assert image.size == (1280, 720)


async def test_playwright_attaches_to_the_binding_as_it_is(url: str) -> None:
    from playwright.async_api import async_playwright

    async with connect(Runtime(url)) as client:
        await client.start_task("fill")
        async with async_playwright() as playwright:
            driver = await playwright.chromium.connect_over_cdp(client.binding("cdp").url)
            page = driver.contexts[0].pages[0]
            await page.locator("#i").fill("ready")
            await page.get_by_role("button", name="send").click()
            assert (await page.screenshot()).startswith(b"\x89PNG")
            await driver.close()
        assert (await client.grade({"answer": ""}))["score"] == 1.0


async def test_the_published_client_drives_it(url: str, tmp_path: Path, peer_python: Path) -> None:
    text = """
from hud.capabilities import CDPClient

async def main(url):
    async with connect(Runtime(url)) as client:
        await client.start_task("fill")
        cdp = await client.open("cdp")
        say(type(cdp).__module__.partition(".")[0])
        async def evaluate(text):
            found = await cdp.send("Runtime.evaluate", {"expression": text, "returnByValue": True})
            return found["result"].get("value")
        say(await evaluate("[document.title, innerWidth, innerHeight]"))
        await evaluate("i.focus()")
        await cdp.send("Input.insertText", {"text": "ready"})
        await evaluate("document.querySelector('button').click()")
        say(len((await cdp.send("Page.captureScreenshot"))["data"]) > 1000)
        try:
            await cdp.send("No.such")
        except RuntimeError as error:
            say(error.code)
        say((await client.grade({"answer": ""}))["score"])
"""
    async with program(peer_python, tmp_path, text, url) as theirs:
        assert await theirs.said() == "hud"
        assert await theirs.said() == ["T", 1280, 720]
        assert await theirs.said() is True
        assert await theirs.said() == -32601
        assert await theirs.said() == 1.0
        await theirs.ended()
