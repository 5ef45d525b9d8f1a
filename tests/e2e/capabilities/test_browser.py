"""A browser in its sandbox: its life through episodes, its downloads, its deaths."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from hud._core.errors import CapabilityFault, InputError
from hud.capabilities.cdp import CDPClient, CDPError
from hud.environment.browser import Browser
from hud.sandbox.files import UnsafePath
from hud.sandbox.spec import Peer
from tests.conformance.daemons.cdp import NAMES
from tests.e2e.capabilities.cdp_site import Site, site
from tests.needs import need_program
from tests.wire.harness import own_tasks


@pytest.fixture(autouse=True)
def needed() -> None:
    need_program(*NAMES)
    need_program("bwrap")


@pytest.fixture
async def browser() -> AsyncGenerator[Browser]:
    made = Browser()
    await made.start()
    yield made
    await made.stop()


@pytest.fixture
async def web() -> AsyncGenerator[Site]:
    async with site(a="<title>A</title><p>A") as served:
        yield served


def reaching(web: Site) -> Peer:
    """Make the site a service that a sandbox reaches as `http://shop:8080`."""
    return Peer("shop", 8080, ("127.0.0.1", int(web.url.rpartition(":")[2])))


async def test_one_that_nobody_used_serves_the_first_episode_and_no_other(browser: Browser) -> None:
    first = browser.sandbox
    await browser.begin_episode()
    assert browser.sandbox is first
    await browser.end_episode()
    await browser.begin_episode()
    second = browser.sandbox
    assert second is not first
    async with browser.client() as cdp:
        await cdp.evaluate("1")
    await browser.begin_episode()
    assert browser.sandbox is not second


async def test_it_has_the_size_asked_for_in_every_tab() -> None:
    browser = Browser(width=900, height=500)
    await browser.start()
    try:
        assert browser.isolation == "bwrap"
        row = browser.capability()
        assert (row.name, row.protocol, row.address) == (
            "browser",
            "cdp/1.3",
            ("127.0.0.1", row.address[1] if row.address else 0),
        )
        async with browser.client() as cdp:
            assert await cdp.viewport() == (900, 500)
            await cdp.new_tab()
            assert await cdp.viewport() == (900, 500)
    finally:
        await browser.stop()


async def test_every_episode_has_a_new_profile_and_no_old_downloads(web: Site) -> None:
    web.pages["/f"] = (200, {"Content-Disposition": "attachment; filename=f.txt"}, b"data")
    browser = Browser(peers=[reaching(web)], url="http://shop:8080/a")
    await browser.start()
    try:
        async with browser.client() as cdp:
            assert cdp.url == "http://shop:8080/a"
            await cdp.evaluate("localStorage.x = document.cookie = 'taste=sweet'")
            await cdp.navigate("http://shop:8080/f")
            done = await cdp.wait_download()
            assert done.path == "/downloads/f.txt"
            await cdp.navigate("about:blank")
        assert browser.read_download("f.txt") == b"data"
        await browser.begin_episode()
        async with browser.client() as cdp:
            assert cdp.url == "http://shop:8080/a"
            assert await cdp.evaluate("[document.cookie, localStorage.x ?? null]") == ["", None]
            with pytest.raises(CDPError, match="ERR_FILE_NOT_FOUND"):
                await cdp.navigate("file:///downloads/f.txt")
        assert list(browser.downloads.iterdir()) == []
    finally:
        await browser.stop()


async def test_downloads_can_have_a_folder_of_this_machine(web: Site, tmp_path: Path) -> None:
    web.pages["/f"] = (200, {"Content-Disposition": "attachment; filename=f.txt"}, b"data")
    browser = Browser(peers=[reaching(web)], downloads=tmp_path / "got")
    await browser.start()
    try:
        async with browser.client() as cdp:
            await cdp.navigate("http://shop:8080/f")
            await cdp.wait_download()
        assert (tmp_path / "got" / "f.txt").read_bytes() == b"data"
        made = await browser.sandbox.run(["ln", "-s", "/etc/hostname", "/downloads/link"])
        assert made.exit_code == 0
        with pytest.raises(UnsafePath):
            browser.read_download("link")
        with pytest.raises(FileNotFoundError):
            browser.read_download("none")
        with pytest.raises(InputError, match="beside the environment's own source"):
            browser.keep_private(tmp_path / "got" / "env.py")
    finally:
        await browser.stop()
    assert (tmp_path / "got" / "f.txt").exists()


async def test_a_browser_that_crashed_is_there_again_with_its_profile(web: Site) -> None:
    browser = Browser(peers=[reaching(web)])
    await browser.start()
    try:
        async with browser.client() as cdp:
            await cdp.navigate("http://shop:8080/a")
            with pytest.raises(CDPError, match="was restarted"):
                await cdp.send("Browser.crash")
            assert await cdp.viewport() == (1280, 720)
            assert cdp.url == "about:blank"
            await cdp.navigate("http://shop:8080/a")
            assert await cdp.text() == "A"
            killed = await browser.sandbox.run(["/bin/sh", "-c", "kill -9 -1"])
            assert killed.exit_code is not None
            with pytest.raises(CDPError, match="was restarted"):
                await cdp.text()
            assert await cdp.evaluate("1") == 1
    finally:
        await browser.stop()


async def test_frames_of_other_sites_are_part_of_the_tree(web: Site) -> None:
    web.pages["/outer"] = "<p>outer<iframe src='http://till:8081/inner'></iframe>"
    web.pages["/inner"] = "<button onclick='this.textContent=`paid`'>pay</button>"
    port = int(web.url.rpartition(":")[2])
    browser = Browser(peers=[reaching(web), Peer("till", 8081, ("127.0.0.1", port))])
    await browser.start()
    try:
        async with browser.client() as cdp:
            await cdp.navigate("http://shop:8080/outer")
            tree = await cdp.accessibility_tree()
            pay = next(row for row in tree.nodes if row.role == "button")
            await cdp.click(node=pay.node)
            assert "paid" in str(await cdp.accessibility_tree())
    finally:
        await browser.stop()


async def test_several_who_find_it_dead_get_one_new_browser(browser: Browser) -> None:
    async with browser.client() as one, browser.client() as two:
        await browser.sandbox.run(["/bin/sh", "-c", "kill -9 -1"])
        for cdp in (one, two):
            with pytest.raises(CDPError, match="was restarted"):
                await cdp.text()
        await one.new_tab()
        assert len(await two.tabs()) == 2


async def test_after_the_episode_agents_are_cut_off_and_graders_see_what_they_left(
    browser: Browser,
) -> None:
    agent = await CDPClient.connect(browser.capability(), dial=lambda: dialled(browser))
    async with agent:
        await agent.navigate("data:text/html,<title>T</title><p id=p>left here")
        waiting = asyncio.create_task(agent.evaluate("new Promise(() => 0)"))
        await agent.evaluate("p.textContent")
        await browser.end_episode()
        with pytest.raises(CapabilityFault):
            await waiting
        with pytest.raises(CapabilityFault, match="takes no connections between episodes"):
            await browser.dial()
        with pytest.raises(CapabilityFault):
            await agent.text()
        async with browser.client() as grader:
            assert await grader.text() == "left here"
        await browser.begin_episode()
        async with browser.client() as grader:
            assert await grader.text() == ""


async def dialled(browser: Browser) -> socket.socket:
    sock = await browser.dial()
    assert sock is not None
    return sock


async def test_it_is_exposed_to_other_drivers_for_as_long_as_asked(browser: Browser) -> None:
    from playwright.async_api import async_playwright

    async with browser.client() as cdp:
        await cdp.navigate("data:text/html,<title>T</title><button>press</button>")
    async with browser.expose() as url, async_playwright() as playwright:
        driver = await playwright.chromium.connect_over_cdp(url)
        page = driver.contexts[0].pages[0]
        assert await page.title() == "T"
        await page.get_by_role("button", name="press").click()
        await driver.close()
    host, port = url.removeprefix("http://").split(":")
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection(host, int(port))
    async with browser.client() as cdp:
        assert await cdp.evaluate("document.title") == "T"


async def test_nothing_is_left_after_a_stop() -> None:
    before = own_tasks()
    descriptors = len(list(Path("/proc/self/fd").iterdir()))
    browser = Browser()
    await browser.start()
    pid, folder = browser.sandbox.pid, browser.downloads
    await browser.stop()
    await browser.stop()
    assert not Path(f"/proc/{pid}").exists()
    assert not folder.exists()
    assert own_tasks() <= before
    assert len(list(Path("/proc/self/fd").iterdir())) <= descriptors
    with pytest.raises(CapabilityFault, match="is not started"):
        browser.sandbox  # noqa: B018
    with pytest.raises(CapabilityFault):
        await browser.dial()
    await browser.start()
    async with browser.client() as cdp:
        assert await cdp.evaluate("1") == 1
    await browser.stop()


@pytest.mark.parametrize("part", [0.0, 0.2, 0.5, 0.9])
async def test_a_cancelled_start_leaves_nothing(part: float) -> None:
    browser = Browser()
    loop = asyncio.get_running_loop()
    began = loop.time()
    await browser.start()
    took = loop.time() - began
    await browser.stop()
    before = own_tasks()
    starting = asyncio.create_task(browser.start())
    await asyncio.wait([starting], timeout=took * part)
    starting.cancel()
    await asyncio.wait([starting])
    if not starting.cancelled():
        await browser.stop()
    assert own_tasks() <= before
    with pytest.raises(CapabilityFault, match="is not started"):
        browser.sandbox  # noqa: B018


async def test_what_cannot_be_the_browser_is_said_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match="'/nowhere/chromium' is no program"):
        await Browser(executable="/nowhere/chromium").start()
    with pytest.raises(CapabilityFault, match=r"ended at once \(exit code 1\)"):
        await Browser(executable="/bin/false").start()
    program = tmp_path / "browser"
    program.write_text("#!/bin/sh\necho hello from the shell >&2; exit 3\n")
    program.chmod(0o755)
    tmp_path.chmod(0o755)
    with pytest.raises(CapabilityFault, match=r"it said last: .*hello from the shell"):
        await Browser(executable=program).start()
    monkeypatch.setenv("HUD_CHROMIUM", "/nowhere/else")
    with pytest.raises(InputError, match="'/nowhere/else' is no program"):
        await Browser().start()
    monkeypatch.delenv("HUD_CHROMIUM")
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    with pytest.raises(InputError, match="no Chromium is installed here"):
        await Browser().start()
    with pytest.raises(TypeError, match="no option 'heigth'"):
        Browser(heigth=3)  # pyright: ignore[reportCallIssue]


async def test_a_page_to_begin_with_that_cannot_be_reached_is_a_fault(web: Site) -> None:
    with pytest.raises(CapabilityFault, match="cannot begin at http://127") as caught:
        await Browser(url=f"{web.url}/a").start()
    assert "a loopback of its own" in str(caught.value.hint)
    assert web.asked == []
