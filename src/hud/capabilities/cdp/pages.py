"""The tabs of one browser, and which of them the client drives.

A tab that a page opens is followed; when the driven one closes or crashes another takes its place.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass

from hud._core.errors import bounded
from hud.capabilities.cdp.connection import Connection, Params
from hud.capabilities.cdp.dialogs import RECORDED, Dialog, DialogPolicy
from hud.capabilities.cdp.errors import CDPError, PageGone
from hud.capabilities.cdp.link import CALL_TIMEOUT_S, Link
from hud.capabilities.cdp.page import Page
from hud.capabilities.cdp.reply import records

_ONLY_PAGES = [{"type": "page"}]


@dataclass(frozen=True, slots=True)
class Tab:
    """One tab as the browser lists it.

    Attributes:
        id: What `switch_tab` and `close_tab` take.
        url: Its address.
        title: Its title, cut to 2,000 characters; whatever a page chose to put there.
        is_current: Whether the client drives it.
    """

    id: str
    url: str
    title: str
    is_current: bool


class Pages:
    """Attach to every tab of a browser and keep track of them.

    Attributes:
        policy: Who answers dialogs.
        follow: Whether a tab opened by the driven page becomes the driven one.
        dialogs: The last dialogs of any tab, oldest first.
    """

    def __init__(self, target_id: str | None) -> None:
        self._named = target_id
        self._link: Link | None = None
        self._pages: dict[str, Page] = {}
        self._current: str | None = None
        self._arrived: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.policy: DialogPolicy = "dismiss"
        self.follow = True
        self.dialogs: deque[Dialog] = deque(maxlen=RECORDED)

    def use(self, link: Link) -> None:
        self._link = link

    @property
    def link(self) -> Link:
        assert self._link is not None
        return self._link

    # -- setting up, and events

    async def attach(self, connection: Connection) -> bool:
        """Attach to every tab over a new connection; whether the driven one was still there."""
        before = self._current
        for page in self._pages.values():
            page.end("the browser's connection was renewed")
        self._pages = {}
        watched = {"discover": True, "filter": _ONLY_PAGES}
        connection.post("Target.setDiscoverTargets", watched)
        await connection.post(
            "Target.setAutoAttach",
            {
                "autoAttach": True,
                # A new tab waits until dialogs and loads of it can be seen.
                "waitForDebuggerOnStart": True,
                "flatten": True,
                "filter": _ONLY_PAGES,
            },
        )
        self._current = await self._first(connection, before)
        return before is not None and self._current == before

    async def _first(self, connection: Connection, before: str | None) -> str:
        listed = records(await connection.post("Target.getTargets"), "targetInfos")
        ids = [str(info["targetId"]) for info in listed if info["type"] == "page"]
        if before is None and self._named is not None and self._named not in ids:
            raise CDPError(
                f"the browser has no page {bounded(self._named)!r}",
                hint=f"its pages: {', '.join(ids[:10]) or 'none'}",
            )
        for wanted in (before, self._named):
            if wanted is not None and wanted in self._pages:
                return wanted
        held = next((id for id in ids if id in self._pages), None)
        return held or await self._create(connection)

    def on_event(self, session_id: str | None, method: str, params: Params) -> None:
        """Take over what an event of the browser, or of one page, says."""
        if session_id is not None:
            page = self._of_session(session_id)
            if page is None:
                return
            if method == "Page.javascriptDialogOpening":
                self.dialogs.append(page.on_dialog(params, self.policy))
            else:
                page.on_event(method, params)
            return
        match method:
            case "Target.attachedToTarget":
                self._on_attached(params)
            case "Target.targetInfoChanged":
                info = params["targetInfo"]
                if info["targetId"] in self._pages:
                    self._pages[info["targetId"]].told(info)
            case "Target.detachedFromTarget":
                page = self._of_session(params["sessionId"])
                if page is not None:
                    self._lose(page, "the tab was closed")
            case "Target.targetCrashed":
                page = self._pages.get(params["targetId"])
                if page is not None:
                    status = bounded(str(params.get("status")), 100)
                    page.end(f"the tab crashed ({status})", crashed=True)
            case _:
                pass

    def _on_attached(self, params: Params) -> None:
        info = params["targetInfo"]
        session_id, target_id = str(params["sessionId"]), str(info["targetId"])
        if info["type"] != "page" or target_id in self._pages:
            return
        page = Page(self.link, self.link.connection, session_id, target_id)
        page.told(info)
        opener = info.get("openerId")
        page.opener_id = str(opener) if opener else None
        self._pages[target_id] = page
        page.begin()
        if self.follow and page.opener_id is not None and page.opener_id == self._current:
            self._current = target_id
        arrived, self._arrived = self._arrived, asyncio.get_running_loop().create_future()
        arrived.set_result(None)

    def _of_session(self, session_id: str) -> Page | None:
        for page in self._pages.values():
            if page.session_id == session_id:
                return page
        return None

    def _lose(self, page: Page, reason: str) -> None:
        page.end(reason)
        self._pages.pop(page.target_id, None)
        if self._current == page.target_id:
            opener = page.opener_id if page.opener_id in self._pages else None
            self._current = opener or next(reversed(self._pages), None)

    # -- what the client asks

    async def current(self) -> Page:
        """Return the page to drive; a crashed or missing one is replaced by a fresh tab.

        Raises:
            CDPError: when the browser had to be reached anew, or refuses a new tab.
            CapabilityFault: when the browser is gone.
        """
        if self.link.connection.lost.done():
            await self.link.call("Browser.getVersion")
        page = self._pages.get(self._current or "")
        if page is not None and not page.is_gone:
            await page.ready()
        if page is not None and not page.is_gone:
            return page
        crashed = page
        await self.open()
        if crashed is not None:
            self.link.connection.post("Target.closeTarget", {"targetId": crashed.target_id})
            self._pages.pop(crashed.target_id, None)
            if not crashed.is_told:
                raise PageGone(
                    f"{crashed.gone_because}; an empty one takes its place",
                    hint="go to the page again",
                )
        return self._pages[self._current or ""]

    def find(self, tab_id: str) -> Page:
        """Return an attached page.

        Raises:
            CDPError: when there is none of that id.
        """
        page = self._pages.get(tab_id)
        if page is None:
            known = ", ".join(list(self._pages)[:10]) or "none"
            raise CDPError(f"no tab {bounded(tab_id)!r}", hint=f"tabs: {known}")
        return page

    async def refresh(self) -> None:
        """Hear the present addresses and titles: the browser does not tell of every change."""
        for info in records(await self.link.call("Target.getTargets"), "targetInfos"):
            page = self._pages.get(str(info.get("targetId")))
            if page is not None:
                page.told(info)

    def listed(self) -> list[Tab]:
        """Return the tabs as last heard of, in the order they were opened."""
        return [
            Tab(page.target_id, page.url, page.title, page.target_id == self._current)
            for page in self._pages.values()
        ]

    async def open(self) -> Page:
        """Open an empty tab and drive it."""
        connection = self.link.connection
        creating = self._create(connection)
        self._current = await self.link.result(connection, creating, CALL_TIMEOUT_S)
        return self._pages[self._current]

    async def switch(self, tab_id: str) -> Page:
        """Drive another tab, and show it."""
        page = self.find(tab_id)
        await page.call("Page.bringToFront")
        self._current = page.target_id
        return page

    async def close(self, tab_id: str | None) -> None:
        """Close a tab; the last one is replaced by an empty one, which the browser needs."""
        page = self.find(tab_id) if tab_id is not None else await self.current()
        if len(self._pages) == 1:
            await self.open()
        await self.link.call("Target.closeTarget", {"targetId": page.target_id})
        await page.until(
            lambda: page.is_gone,
            CALL_TIMEOUT_S,
            f"the tab did not close within {CALL_TIMEOUT_S:g} s",
        )
        self._lose(page, "the tab was closed")

    async def _create(self, connection: Connection) -> str:
        """Open an empty tab and return its id once it is attached."""
        reply = await connection.post("Target.createTarget", {"url": "about:blank"})
        target_id = str(reply.get("targetId"))
        while target_id not in self._pages:
            await connection.unless_lost(self._arrived)
        return target_id
