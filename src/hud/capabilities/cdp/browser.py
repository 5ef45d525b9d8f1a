"""What a client holds of a whole browser: its connection, its tabs, its dialogs and downloads.

What is done to the page it drives is `client`'s.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable
from typing import Any, ClassVar, Self

from websockets.asyncio.client import ClientConnection

from hud.capabilities.base import CapabilityClient
from hud.capabilities.cdp import navigation
from hud.capabilities.cdp.connection import Connection, Params
from hud.capabilities.cdp.dialogs import Dialog, DialogPolicy
from hud.capabilities.cdp.downloads import Download, Downloads
from hud.capabilities.cdp.endpoint import OPEN_TIMEOUT_S, Dial, open_websocket, page_of
from hud.capabilities.cdp.errors import CDPError
from hud.capabilities.cdp.link import CALL_TIMEOUT_S, Link
from hud.capabilities.cdp.navigation import Wait
from hud.capabilities.cdp.page import Page
from hud.capabilities.cdp.pages import Pages, Tab
from hud.protocol.capability import CDP, Capability

_OF_THE_BROWSER = ("Browser.", "SystemInfo.", "Tracing.")


class BrowserClient(CapabilityClient):
    """One browser, reached over the Chrome DevTools Protocol, with one of its tabs driven."""

    protocol: ClassVar[str] = CDP

    def __init__(
        self, capability: Capability, ws: ClientConnection, *, dial: Dial | None = None
    ) -> None:
        """Wrap the browser's open websocket; `connect` makes a client that is ready to use."""
        self.capability = capability
        folder = capability.params.get("downloads")
        self._downloads = Downloads(folder if isinstance(folder, str) else None)
        self._pages = Pages(page_of(capability))
        self._expected: list[tuple[str, Callable[[Params], bool], asyncio.Future[Params]]] = []
        self._link = Link(capability, ws, dial, self._on_event, self._welcome)
        self._pages.use(self._link)

    @classmethod
    async def connect(
        cls,
        cap: Capability,
        *,
        dial: Dial | None = None,
        connect_timeout_s: float = OPEN_TIMEOUT_S,
    ) -> Self:
        """Connect to a browser and to the page the row names, or else its first one.

        Args:
            cap: Its url is `ws://` or `http://` with the host and port of the debugging port.
            dial: Makes the connections instead of dialling that host and port.
            connect_timeout_s: How long reaching the browser may take.

        Raises:
            CapabilityFault: when the browser cannot be reached.
            CDPError: when it has no page of the id that the row names.
            InputError: when the row's url is no address.
        """
        websocket = await open_websocket(cap, dial, connect_timeout_s)
        client = cls(cap, websocket, dial=dial)
        try:
            await client._link.open()
        except BaseException:
            await client.close()
            raise
        return client

    async def close(self) -> None:
        await self._link.close()

    async def _welcome(self, connection: Connection) -> bool:
        connection.post("Browser.setDownloadBehavior", self._downloads.setting())
        return await self._pages.attach(connection)

    def _on_event(self, session_id: str | None, method: str, params: Params) -> None:
        self._pages.on_event(session_id, method, params)
        if session_id is None:
            self._downloads.on_event(method, params)
        for expected, where, event in self._expected:
            if expected == method and not event.done() and where(params):
                event.set_result(params)

    # -- the protocol itself

    async def send(
        self,
        method: str,
        params: dict[str, Any] | None = None,
        *,
        timeout_s: float = CALL_TIMEOUT_S,
    ) -> dict[str, Any]:
        """Call any method of the protocol on the current page and return its result.

        Raises:
            CDPError: when the browser refuses it, or it takes too long.
            CapabilityFault: when the browser is gone.
        """
        if method.startswith(_OF_THE_BROWSER):
            return await self._link.call(method, params, timeout_s=timeout_s)
        return await (await self._page()).call(method, params, timeout_s=timeout_s)

    @contextlib.asynccontextmanager
    async def expect(
        self,
        method: str,
        *,
        where: Callable[[dict[str, Any]], bool] = lambda _: True,
        timeout_s: float = CALL_TIMEOUT_S,
    ) -> AsyncGenerator[asyncio.Future[dict[str, Any]]]:
        """Wait, at the end of the block, for an event of any page that the block causes.

        `async with client.expect("Page.loadEventFired") as event: …`, then `event.result()`.

        Raises:
            CDPError: when it does not come in time.
        """
        connection = self._link.connection
        event: asyncio.Future[Params] = asyncio.get_running_loop().create_future()
        entry = (method, where, event)
        self._expected.append(entry)
        try:
            yield event
            seen = asyncio.ensure_future(_none(event))
            try:
                async with asyncio.timeout(timeout_s):
                    await self._link.result(connection, connection.unless_lost(seen), 2 * timeout_s)
            except TimeoutError:
                raise CDPError(f"no {method} came within {timeout_s:g} s") from None
            finally:
                seen.cancel()
        finally:
            self._expected.remove(entry)
            event.cancel()

    async def _page(self) -> Page:
        return await self._pages.current()

    # -- tabs

    async def tabs(self) -> list[Tab]:
        """Return the open tabs, in the order they were opened."""
        await self._page()
        await self._pages.refresh()
        return self._pages.listed()

    async def new_tab(self, url: str | None = None, *, wait: Wait = "load") -> Tab:
        """Open a tab and drive it."""
        page = await self._pages.open()
        if url is not None:
            await navigation.navigate(page, url, wait, CALL_TIMEOUT_S)
        return Tab(page.target_id, page.url, page.title, is_current=True)

    async def switch_tab(self, tab_id: str) -> Tab:
        """Drive another tab, and bring it to the front."""
        page = await self._pages.switch(tab_id)
        return Tab(page.target_id, page.url, page.title, is_current=True)

    async def close_tab(self, tab_id: str | None = None) -> None:
        """Close a tab, by default the current one; the last one leaves an empty one behind."""
        await self._pages.close(tab_id)

    @property
    def follow_popups(self) -> bool:
        """Whether a tab that the current page opens becomes the current one."""
        return self._pages.follow

    @follow_popups.setter
    def follow_popups(self, follow: bool) -> None:
        self._pages.follow = follow

    # -- dialogs

    @property
    def dialogs(self) -> list[Dialog]:
        """The last 100 dialogs that pages opened, oldest first, and how they were answered."""
        return list(self._pages.dialogs)

    @property
    def dialog_policy(self) -> DialogPolicy:
        """Who answers dialogs: `dismiss` (the default), `accept` or `manual`."""
        return self._pages.policy

    @dialog_policy.setter
    def dialog_policy(self, policy: DialogPolicy) -> None:
        if policy not in ("dismiss", "accept", "manual"):
            raise ValueError(f"dialog_policy must be dismiss, accept or manual, not {policy!r}")
        self._pages.policy = policy

    async def answer_dialog(self, accept: bool, text: str | None = None) -> Dialog:
        """Answer the dialog that is open on the current page, under the policy `manual`.

        Raises:
            CDPError: when none is open.
        """
        return await (await self._page()).answer_dialog(accept, text)

    # -- downloads

    async def download_to(self, folder: str) -> None:
        """Put what the browser downloads into a folder that it can write."""
        self._downloads.folder = folder
        await self._link.call("Browser.setDownloadBehavior", self._downloads.setting())

    @property
    def downloads(self) -> list[Download]:
        """Downloads since the client connected, oldest first."""
        return self._downloads.listed()

    async def wait_download(self, *, timeout_s: float = CALL_TIMEOUT_S) -> Download:
        """Return the oldest finished download that was not returned before, or wait for one.

        Raises:
            CDPError: when none finishes in time, or it was cancelled.
        """
        connection = self._link.connection
        try:
            async with asyncio.timeout(timeout_s):
                finished = self._downloads.next(connection)
                return await self._link.result(connection, finished, 2 * timeout_s)
        except TimeoutError:
            raise CDPError(f"no download finished within {timeout_s:g} s") from None


async def _none(event: asyncio.Future[Params]) -> None:
    await event
