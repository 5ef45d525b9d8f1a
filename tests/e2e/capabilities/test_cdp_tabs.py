"""Tabs, dialogs and downloads with the cdp client, on a real Chromium."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from hud.capabilities.cdp import CDPClient, CDPError, DialogOpen, PageGone
from hud.protocol.capability import Capability
from tests.conformance.daemons.cdp import Chromium
from tests.e2e.capabilities.cdp_page import browser, cdp, logged, show, web
from tests.e2e.capabilities.cdp_site import Site
from tests.wire.harness import until

__all__ = ["browser", "cdp", "web"]


async def urls(cdp: CDPClient) -> list[tuple[str, bool]]:
    return [(tab.url, tab.is_current) for tab in await cdp.tabs()]


async def test_tabs_are_opened_switched_and_closed(cdp: CDPClient, web: Site) -> None:
    web.pages.update({"/a": "<title>A</title>A", "/b": "<title>B</title>B"})
    await cdp.navigate(f"{web.url}/a")
    (first,) = await cdp.tabs()
    second = await cdp.new_tab(f"{web.url}/b")
    assert await urls(cdp) == [(f"{web.url}/a", False), (f"{web.url}/b", True)]
    assert await cdp.text() == "B"
    await cdp.switch_tab(first.id)
    assert await cdp.text() == "A"
    assert await cdp.evaluate("document.visibilityState") == "visible"
    assert len(await cdp.screenshot()) > 0
    await cdp.close_tab(second.id)
    assert await urls(cdp) == [(f"{web.url}/a", True)]
    await cdp.close_tab()
    assert await urls(cdp) == [("about:blank", True)]
    for call in (cdp.switch_tab("nope"), cdp.close_tab("nope")):
        with pytest.raises(CDPError, match="no tab 'nope'"):
            await call


@pytest.mark.parametrize("rel", ["", "rel=noopener"])
async def test_a_tab_the_page_opens_is_followed_and_left_again(
    cdp: CDPClient, web: Site, rel: str
) -> None:
    web.pages["/b"] = "<p>B<button onclick='window.close()'>x</button>"
    await show(cdp, web, f"<a href=/b target=_blank {rel}>open</a>")
    await cdp.click(selector="a")
    await cdp.wait_for("button")
    assert (await cdp.text()).startswith("B")
    assert [current for _, current in await urls(cdp)] == [False, True]
    await cdp.close_tab()
    assert await urls(cdp) == [(f"{web.url}/", True)]


async def test_a_popup_that_closes_itself_gives_way_to_its_opener(
    cdp: CDPClient, web: Site
) -> None:
    web.pages["/b"] = "<button onclick='window.close()'>x</button>"
    await show(cdp, web, '<button id=o onclick=\'window.open("/b", "", "width=300,height=200")\'>o')
    await cdp.click(selector="#o")
    await cdp.wait_for("button")
    assert cdp.url == f"{web.url}/b"
    async with cdp.expect("Target.detachedFromTarget"):
        await cdp.click(selector="button")
    assert await urls(cdp) == [(f"{web.url}/", True)]


async def test_popups_need_not_be_followed(cdp: CDPClient, web: Site) -> None:
    web.pages["/b"] = "B"
    await show(cdp, web, "<button onclick='window.open(\"/b\")'>o")
    cdp.follow_popups = False
    async with cdp.expect("Target.attachedToTarget"):
        await cdp.click(selector="button")
    assert [current for _, current in await urls(cdp)] == [True, False]


async def test_a_dialog_in_a_new_tab_is_seen_from_its_first_moment(
    cdp: CDPClient, web: Site
) -> None:
    web.pages["/b"] = "<script>answer = confirm('at once?')</script>"
    await show(cdp, web, "<a href=/b target=_blank>o")
    cdp.dialog_policy = "accept"
    await cdp.click(selector="a")
    await cdp.evaluate(
        "document.readyState == 'complete' || new Promise((done) => { onload = done; })"
    )
    assert await cdp.evaluate("answer") is True
    assert [dialog.message for dialog in cdp.dialogs] == ["at once?"]


ASK = """<button onclick='log.push([alert("a"), confirm("c"), prompt("p", "default")])'>ask</button>
<script>log = []</script>"""


async def test_dialogs_are_answered_as_the_policy_says_and_recorded(
    cdp: CDPClient, web: Site
) -> None:
    await show(cdp, web, ASK)
    assert cdp.dialog_policy == "dismiss"
    await cdp.click(selector="button")
    cdp.dialog_policy = "accept"
    await cdp.click(selector="button")
    assert await logged(cdp) == [[None, False, None], [None, True, "default"]]
    assert [(d.kind, d.message, d.accepted) for d in cdp.dialogs] == [
        ("alert", "a", True),
        ("confirm", "c", False),
        ("prompt", "p", False),
        ("alert", "a", True),
        ("confirm", "c", True),
        ("prompt", "p", True),
    ]
    assert cdp.dialogs[-1].default_text == "default"
    with pytest.raises(ValueError, match="dialog_policy must be"):
        cdp.dialog_policy = "ignore"  # pyright: ignore[reportAttributeAccessIssue]


async def test_a_dialog_can_be_answered_by_hand(cdp: CDPClient, web: Site) -> None:
    await show(
        cdp, web, "<button onclick='log.push(prompt(`name?`))'>ask</button><script>log=[]</script>"
    )
    cdp.dialog_policy = "manual"
    await cdp.click(selector="button")
    assert [(d.message, d.accepted) for d in cdp.dialogs] == [("name?", None)]
    for call in (cdp.text(), cdp.screenshot(), cdp.evaluate("1"), cdp.navigate(web.url)):
        with pytest.raises(DialogOpen, match="the page waits in its prompt dialog 'name\\?'"):
            await call
    answered = await cdp.answer_dialog(True, "Ada")
    assert answered.accepted is True
    assert await logged(cdp) == ["Ada"]
    with pytest.raises(CDPError, match="no dialog is open"):
        await cdp.answer_dialog(True)
    with pytest.raises(DialogOpen):
        await cdp.evaluate("confirm('from a script')")
    await cdp.answer_dialog(False)
    assert await cdp.text() == "ask"


async def test_a_flood_of_dialogs_is_answered_and_its_record_bounded(
    cdp: CDPClient, web: Site
) -> None:
    await show(cdp, web, "<p>x")
    assert await cdp.evaluate("for (let i = 0; i < 150; i++) alert('m'.repeat(1e5)); 7") == 7
    assert len(cdp.dialogs) == 100
    assert max(len(dialog.message) for dialog in cdp.dialogs) <= 2_000


@pytest.mark.parametrize("policy", ["dismiss", "manual"])
async def test_leaving_a_page_that_asks_to_be_kept(cdp: CDPClient, web: Site, policy: str) -> None:
    web.pages["/b"] = "<p>B"
    await show(
        cdp, web, "<input id=i><script>onbeforeunload = (e) => { e.preventDefault(); }</script>"
    )
    await cdp.click(selector="#i")
    await cdp.type("x")
    if policy == "manual":
        cdp.dialog_policy = "manual"
        with pytest.raises(DialogOpen, match="beforeunload"):
            await cdp.navigate(f"{web.url}/b")
        await cdp.answer_dialog(False)
        assert await cdp.evaluate("i.value") == "x"
        cdp.dialog_policy = "dismiss"
    assert (await cdp.navigate(f"{web.url}/b")).url == f"{web.url}/b"
    assert (cdp.dialogs[-1].kind, cdp.dialogs[-1].accepted) == ("beforeunload", True)


async def test_a_crashed_tab_is_told_of_and_replaced(cdp: CDPClient, web: Site) -> None:
    await show(cdp, web, "<p>x")
    waiting = asyncio.create_task(cdp.evaluate("new Promise(() => 0)"))
    async with cdp.expect("Target.targetCrashed"):
        with pytest.raises(PageGone, match="the tab crashed"):
            await cdp.send("Page.crash")
    with pytest.raises(PageGone, match="the tab crashed"):
        await waiting
    assert await urls(cdp) == [("about:blank", True)]
    await show(cdp, web, "<p>x")
    assert await cdp.text() == "x"


async def test_a_tab_that_crashes_between_calls_is_told_of_once(
    cdp: CDPClient, browser: Chromium, web: Site
) -> None:
    await show(cdp, web, "<p>x")
    (tab,) = await cdp.tabs()
    row = Capability.cdp(url=browser.url, target_id=tab.id)
    async with await CDPClient.connect(row) as other, cdp.expect("Target.targetCrashed"):
        with pytest.raises(PageGone):
            await other.send("Page.crash")
    with pytest.raises(PageGone, match=r"the tab crashed .*; an empty one takes its place"):
        await cdp.text()
    assert await cdp.text() == ""


async def test_the_page_of_the_row_is_the_one_driven(browser: Chromium, web: Site) -> None:
    web.pages.update({"/a": "<p>A", "/b": "<p>B"})
    async with await CDPClient.connect(browser.row) as first:
        one = await first.new_tab(f"{web.url}/a")
        two = await first.new_tab(f"{web.url}/b")
        for tab, text in ((one, "A"), (two, "B")):
            row = Capability.cdp(url=browser.url, target_id=tab.id)
            async with await CDPClient.connect(row) as client:
                assert await client.text() == text
            verbatim = Capability.cdp(url=f"{browser.url}/devtools/page/{tab.id}")
            async with await CDPClient.connect(verbatim) as client:
                assert await client.text() == text
        with pytest.raises(CDPError, match="the browser has no page 'GONE'"):
            await CDPClient.connect(Capability.cdp(url=browser.url, target_id="GONE"))
        await first.close_tab(one.id)
        await first.close_tab(two.id)


async def test_files_are_downloaded_listed_and_waited_for(
    cdp: CDPClient, web: Site, tmp_path: Path
) -> None:
    kind = {"Content-Type": "application/octet-stream"}
    web.pages["/f"] = (200, {**kind, "Content-Disposition": "attachment; filename=f.bin"}, b"data")
    web.pages["/up"] = (
        200,
        {**kind, "Content-Disposition": 'attachment; filename="../../up.bin"'},
        b"up",
    )
    await show(cdp, web, "<a href=/f>f</a> <a id=up href=/up>up</a>")
    await cdp.download_to(str(tmp_path))
    await cdp.click(selector="a")
    done = await cdp.wait_download()
    assert (done.url, done.filename, done.state) == (f"{web.url}/f", "f.bin", "completed")
    assert (done.received_bytes, done.total_bytes) == (4, 4)
    assert done.path == str(tmp_path / "f.bin")
    assert (tmp_path / "f.bin").read_bytes() == b"data"
    went = await cdp.navigate(f"{web.url}/f")
    assert went.url == f"{web.url}/"
    assert "download" in str(went.error)
    again = await cdp.wait_download()
    assert again.id != done.id
    assert again.path is not None
    assert Path(again.path).read_bytes() == b"data"
    await cdp.click(selector="#up")
    climbed = await cdp.wait_download()
    assert climbed.path is not None
    assert Path(climbed.path).parent == tmp_path
    assert [row.state for row in cdp.downloads] == ["completed"] * 3
    with pytest.raises(CDPError, match=r"no download finished within 0\.2 s"):
        await cdp.wait_download(timeout_s=0.2)


async def test_a_download_that_breaks_off_is_told(
    cdp: CDPClient, web: Site, tmp_path: Path
) -> None:
    web.pages["/f"] = (
        200,
        {"Content-Disposition": "attachment; filename=f", "Content-Length": "9999"},
        b"data",
    )
    await show(cdp, web, "<a href=/f>f")
    await cdp.download_to(str(tmp_path))
    await cdp.click(selector="a")
    await until(lambda: bool(cdp.downloads))
    with pytest.raises(CDPError, match="did not finish"):
        await cdp.wait_download()
