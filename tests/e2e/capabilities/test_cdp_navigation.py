"""Going to pages with the cdp client, on a real Chromium."""

from __future__ import annotations

import asyncio

import pytest

from hud.capabilities.cdp import CDPClient, CDPError, Navigation, NavigationError
from tests.e2e.capabilities.cdp_page import browser, cdp, web
from tests.e2e.capabilities.cdp_site import Site
from tests.wire.harness import until

__all__ = ["browser", "cdp", "web"]


async def test_an_address_is_loaded_and_its_status_told(cdp: CDPClient, web: Site) -> None:
    web.pages["/a"] = "<title>A</title><p>first"
    web.pages["/gone"] = (410, {"Content-Type": "text/html"}, b"<p>gone")
    web.pages["/moved"] = (302, {"Location": "/a"}, b"")
    assert await cdp.navigate(f"{web.url}/a") == Navigation(f"{web.url}/a", 200)
    assert await cdp.text() == "first"
    assert [(tab.url, tab.title) for tab in await cdp.tabs()] == [(f"{web.url}/a", "A")]
    assert await cdp.navigate(f"{web.url}/moved") == Navigation(f"{web.url}/a", 200)
    assert await cdp.navigate(f"{web.url}/gone") == Navigation(f"{web.url}/gone", 410)
    assert await cdp.text() == "gone"
    assert cdp.url == f"{web.url}/gone"
    assert await cdp.navigate("about:blank") == Navigation("about:blank", None)


async def test_how_far_a_page_must_be_is_the_callers_choice(cdp: CDPClient, web: Site) -> None:
    # Each time another address: the browser asks for one address once at a time.
    image = "document.write('<img src=/held' + location.search + '>')"
    web.pages["/late"] = f"<p id=p>text</p><script>{image}</script>"
    web.pages["/held"] = ""
    web.hold["/held"] = asyncio.Event()
    state = "document.readyState"
    await cdp.navigate(f"{web.url}/late", wait="domcontentloaded")
    assert await cdp.evaluate(state) == "interactive"
    await cdp.navigate(f"{web.url}/late?2", wait="none")
    assert await cdp.evaluate("location.search") == "?2"
    with pytest.raises(CDPError, match=r"the page did not load \(load\) within 3 s"):
        await cdp.navigate(f"{web.url}/late?3", timeout_s=3)
    loading = asyncio.create_task(cdp.navigate(f"{web.url}/late?4"))
    await until(lambda: "GET /held?4" in web.asked)
    assert not loading.done()
    web.hold["/held"].set()
    assert (await loading).url == f"{web.url}/late?4"
    assert await cdp.evaluate(state) == "complete"
    with pytest.raises(ValueError, match="wait must be load, domcontentloaded or none"):
        await cdp.navigate(f"{web.url}/late", wait="networkidle")  # pyright: ignore[reportArgumentType]


async def test_what_cannot_be_loaded_is_told_with_its_reason(cdp: CDPClient, web: Site) -> None:
    web.pages["/a"] = "<p>here"
    web.pages["/none"] = (204, {}, b"")
    for url, reason in (
        ("http://127.0.0.1:9/", "net::ERR_UNSAFE_PORT"),
        ("http://127.0.0.1:2/", "net::ERR_CONNECTION_REFUSED"),
        ("http://nowhere.invalid/", "net::ERR_"),
        (f"{web.url}/none", "net::ERR_ABORTED"),
        ("just words", "invalid URL"),
    ):
        await cdp.navigate(f"{web.url}/a")
        with pytest.raises(NavigationError, match=reason) as caught:
            await cdp.navigate(url)
        assert url in caught.value.message
    assert (await cdp.navigate(f"{web.url}/a")).status == 200
    assert await cdp.text() == "here"


async def test_a_server_that_never_answers_takes_no_longer_than_allowed(
    cdp: CDPClient, web: Site
) -> None:
    web.hold["/never"] = asyncio.Event()
    web.pages["/a"] = "<p>here"
    with pytest.raises(CDPError, match=r"did not answer within 0\.3 s"):
        await cdp.navigate(f"{web.url}/never", timeout_s=0.3)
    assert (await cdp.navigate(f"{web.url}/a")).status == 200


async def test_back_forward_and_reload(cdp: CDPClient, web: Site) -> None:
    web.pages["/a"] = "<p>A"
    web.pages["/b"] = "<p>B<p id=end>"
    with pytest.raises(CDPError, match="no page to go forward to"):
        await cdp.forward()
    await cdp.navigate(f"{web.url}/a")
    await cdp.navigate(f"{web.url}/b")
    assert (await cdp.back()).url == f"{web.url}/a"
    assert await cdp.text() == "A"
    assert (await cdp.forward()).url == f"{web.url}/b"
    assert (await cdp.navigate(f"{web.url}/b#end")).url == f"{web.url}/b#end"
    assert (await cdp.back()).url == f"{web.url}/b"
    before = web.asked.count("GET /b")
    await cdp.evaluate("document.body.innerHTML = 'changed'")
    assert await cdp.reload() == Navigation(f"{web.url}/b", 200)
    assert web.asked.count("GET /b") == before + 1
    assert await cdp.text() == "B"


async def test_a_page_kept_whole_by_the_browser_comes_back_too(cdp: CDPClient, web: Site) -> None:
    html = {"Content-Type": "text/html"}
    # Without no-store the browser may keep the whole page and never load it again.
    web.pages["/a"] = (200, {**html, "Cache-Control": "max-age=60"}, b"<p>A<script>n=0</script>")
    web.pages["/b"] = (200, html, b"<p>B")
    await cdp.navigate(f"{web.url}/a")
    await cdp.evaluate("n = 7")
    await cdp.navigate(f"{web.url}/b")
    assert (await cdp.back()).url == f"{web.url}/a"
    assert await cdp.text() == "A"


async def test_a_page_that_sends_the_browser_on_is_followed(cdp: CDPClient, web: Site) -> None:
    web.pages["/start"] = "<script>location.replace('/end')</script>"
    web.pages["/end"] = "<p>the end"
    await cdp.navigate(f"{web.url}/start")
    await cdp.wait_for("p")
    assert await cdp.text() == "the end"
    assert cdp.url == f"{web.url}/end"


async def test_a_click_that_leads_elsewhere_can_be_waited_for(cdp: CDPClient, web: Site) -> None:
    web.pages["/a"] = "<a href=/b>on</a>"
    web.pages["/b"] = "<p>B"
    await cdp.navigate(f"{web.url}/a")
    async with cdp.expect("Page.loadEventFired") as loaded:
        await cdp.click(selector="a")
    assert loaded.result()["timestamp"] > 0
    assert await cdp.text() == "B"
    with pytest.raises(CDPError, match=r"no Page\.loadEventFired came within 0\.2 s"):
        async with cdp.expect("Page.loadEventFired", timeout_s=0.2):
            pass


async def test_waiting_for_an_element_ends_when_it_can_be_seen(cdp: CDPClient, web: Site) -> None:
    web.pages["/a"] = """<p id=p hidden>text<script>
      addEventListener('message', () => { p.hidden = false; });
    </script>"""
    await cdp.navigate(f"{web.url}/a")
    waiting = asyncio.create_task(cdp.wait_for("#p"))
    with pytest.raises(CDPError, match=r"nothing matched '#p' within 0\.2 s"):
        await cdp.wait_for("#p", timeout_s=0.2)
    assert not waiting.done()
    await cdp.evaluate("postMessage('now')")
    async with asyncio.timeout(30):
        await waiting


async def test_waiting_for_an_element_goes_on_across_pages(cdp: CDPClient, web: Site) -> None:
    web.pages["/a"] = "<p>A"
    web.pages["/b"] = "<p id=b>B"
    await cdp.navigate(f"{web.url}/a")
    waiting = asyncio.create_task(cdp.wait_for("#b"))
    await cdp.evaluate("setTimeout(() => { location.href = '/b'; })")
    async with asyncio.timeout(30):
        await waiting
    assert await cdp.text() == "B"
    with pytest.raises(CDPError, match="not a valid selector"):
        await cdp.wait_for("p[")
