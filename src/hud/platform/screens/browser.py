"""A browser shown live: pictures of the page that something happened in last, as it casts them.

The viewer says nothing that reaches the browser; the next picture is asked for once the last is
sent, so a slow viewer is sent fewer.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
from dataclasses import dataclass
from typing import Any

from hud._core import json
from hud._core.errors import CapabilityFault
from hud.capabilities.cdp.connection import Connection, ConnectionLost, Params
from hud.capabilities.cdp.endpoint import open_websocket
from hud.capabilities.cdp.errors import CDPError
from hud.platform.screens.viewer import Viewer
from hud.protocol.capability import Capability

EVERY_S = 1 / 15
"""A viewer is sent no more pictures than one in so many seconds."""
_REACH_S = 20.0
_CALL_S = 20.0
_PAGES_AT_MOST = 200
_PICTURE_BYTES = 8 * 1024 * 1024
_TEXT_CHARS = 2_000
_JPEG = b"\xff\xd8\xff"
_CAST = {"format": "jpeg", "quality": 70, "maxWidth": 1600, "maxHeight": 1200}


async def show_browser(row: Capability, viewer: Viewer) -> None:
    """Show a browser to a viewer until either is gone.

    Raises:
        CapabilityFault: when there is no browser to be had.
        Rude, Left, Slow: what the viewer did.
    """
    cast = _Cast(viewer)
    connection = Connection(await open_websocket(row, timeout_s=_REACH_S), cast.happened)
    ways = [
        asyncio.create_task(cast.follow(connection)),
        asyncio.create_task(_until_left(viewer)),
        asyncio.create_task(_until_lost(connection)),
    ]
    try:
        done, _ = await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)
        await connection.close()
    try:
        for way in done:
            way.result()
    except (ConnectionLost, CDPError, TimeoutError) as error:
        reason = str(error) or "no answer"
        raise CapabilityFault(f"browser {row.name!r} cannot be shown: {reason}") from error


async def _until_left(viewer: Viewer) -> None:
    while True:
        await viewer.heard()


async def _until_lost(connection: Connection) -> None:
    await asyncio.wait([connection.lost])


@dataclass(frozen=True, slots=True)
class _Page:
    """What is known of a page."""

    url: str
    title: str


class _Cast:
    """Follows the pages of one browser and casts one of them."""

    def __init__(self, viewer: Viewer) -> None:
        self._viewer = viewer
        # The one that something happened in last is the last.
        self._pages: dict[str, _Page] = {}
        self._woken = asyncio.Event()
        self._session: str | None = None
        self._frame: Params | None = None
        self._told: _Page | None = None

    def happened(self, session: str | None, method: str, params: Params) -> None:
        """Take in an event."""
        match method:
            case "Target.targetCreated" | "Target.targetInfoChanged":
                self._changed(params["targetInfo"])
            case "Target.targetDestroyed" | "Target.targetCrashed":
                self._pages.pop(params["targetId"], None)
            case "Target.detachedFromTarget":
                if params["sessionId"] == self._session:
                    self._session = None
            case "Page.screencastFrame" if session is not None and session == self._session:
                self._frame = params
            case _:
                return
        self._woken.set()

    def _changed(self, info: Params) -> None:
        if info["type"] != "page":
            return
        target = str(info["targetId"])
        page = _Page(str(info["url"])[:_TEXT_CHARS], str(info["title"])[:_TEXT_CHARS])
        known = self._pages.get(target)
        if known is None or known.url != page.url:
            self._pages.pop(target, None)
        self._pages[target] = page
        while len(self._pages) > _PAGES_AT_MOST:
            del self._pages[next(iter(self._pages))]

    async def follow(self, connection: Connection) -> None:
        """Cast until the connection is lost."""
        await _call(connection, "Target.setDiscoverTargets", {"discover": True})
        shown: str | None = None
        while True:
            await self._woken.wait()
            self._woken.clear()
            wanted = next(reversed(self._pages), None)
            if wanted is not None and (wanted != shown or self._session is None):
                shown = await self._turn_to(connection, wanted)
            if shown in self._pages and self._pages[shown] != self._told:
                self._tell(self._pages[shown])
            frame, self._frame = self._frame, None
            if frame is not None:
                await self._show(connection, frame)

    async def _turn_to(self, connection: Connection, target: str) -> str | None:
        """Cast another page; return it, or None when it is gone already."""
        old, self._session, self._frame = self._session, None, None
        if old is not None:
            connection.post("Target.detachFromTarget", {"sessionId": old})
        try:
            asked = {"targetId": target, "flatten": True}
            session = (await _call(connection, "Target.attachToTarget", asked)).get("sessionId")
            if not isinstance(session, str):
                return None
            self._session = session
            await _call(connection, "Page.startScreencast", _CAST, session)
        except CDPError:
            self._session = None
            self._pages.pop(target, None)
            self._woken.set()
            return None
        return target

    def _tell(self, page: _Page) -> None:
        self._told = page
        self._viewer.send(json.encode({"url": page.url, "title": page.title}).decode())

    async def _show(self, connection: Connection, frame: Params) -> None:
        began = asyncio.get_running_loop().time()
        picture = _picture(frame.get("data"))
        if picture is not None:
            self._viewer.send(picture)
            await self._viewer.sent()
        await asyncio.sleep(max(0.0, began + EVERY_S - asyncio.get_running_loop().time()))
        if self._session is not None:
            number = {"sessionId": frame.get("sessionId")}
            connection.post("Page.screencastFrameAck", number, self._session)


async def _call(
    connection: Connection, method: str, params: Params, session: str | None = None
) -> Params:
    async with asyncio.timeout(_CALL_S):
        return await connection.post(method, params, session)


def _picture(data: Any) -> bytes | None:
    """Return a JPEG, None for anything else."""
    if not isinstance(data, str) or len(data) > _PICTURE_BYTES * 4 // 3:
        return None
    try:
        picture = base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError):
        return None
    return picture if picture.startswith(_JPEG) else None
