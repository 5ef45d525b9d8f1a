"""The client of a screen: its connection, and what an agent sees there.

What it does there is `hands`; the bytes are `connection` and `reading`.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import Any, ClassVar, Literal, Self

from hud._core.errors import CapabilityFault, InputError, bounded
from hud.capabilities.base import CapabilityClient
from hud.capabilities.rfb.connection import Connection, Dial, Terms
from hud.capabilities.rfb.errors import RFBError
from hud.capabilities.rfb.hands import Hands
from hud.capabilities.rfb.picture import Region, Screenshot, encode, size_of
from hud.capabilities.rfb.pointer import Pointer
from hud.capabilities.screenshots import (
    PngScreenshotEncoding,
    ScreenshotEncoding,
    ScreenshotMimeType,
    WebPScreenshotEncoding,
)
from hud.protocol.capability import Capability

CONNECT_S = 20.0
ANSWER_S = 20.0
RECONNECT_S = 3.0
_RETRY_PAUSE_S = 0.1


class RFBClient(Hands, CapabilityClient):
    """A screen with pointer, keyboard and clipboard.

    Places are pixels of the screen from its upper left corner. An action returns once it has left
    this process; the server performs actions in order, and a screenshot shows what it had shown
    after all earlier ones, though not what a program has yet to draw in answer.

    When the server hangs up, the next call connects again, for up to 3 seconds.
    """

    protocol: ClassVar[str] = "rfb/3.8"

    def __init__(self, capability: Capability, link: Connection, terms: Terms) -> None:
        self.capability = capability
        self.link = link
        self.pointer = Pointer()
        self.is_closed = False
        self._terms = terms
        self._held: list[int] = []
        self._added: set[str] = set()
        self._conn: Any = None
        self._taken: tuple[object, Screenshot] | None = None
        self._reconnecting = asyncio.Lock()

    @classmethod
    async def connect(
        cls,
        cap: Capability,
        *,
        dial: Dial | None = None,
        connect_timeout_s: float = CONNECT_S,
        answer_timeout_s: float = ANSWER_S,
    ) -> Self:
        """Connect to the screen at `cap.url` and fetch what it shows.

        Args:
            cap: The row; `params["password"]` is used when the server asks for one.
            dial: Returns a new connection to the server, where the row's address is not to be used.
            connect_timeout_s: How long connecting may take altogether.
            answer_timeout_s: How long the server may take to answer later on.

        Raises:
            CapabilityFault: when there is no such screen.
            InputError: when the row cannot be used.
        """
        if cap.address is None:
            raise InputError(
                f"capability {cap.name!r} has no address to dial: {bounded(cap.url)!r}",
                hint="rfb://HOST:PORT",
            )
        terms = Terms(connect_timeout_s, answer_timeout_s, dial)
        return cls(cap, await _open(cap, terms), terms)

    @property
    def conn(self) -> Any:
        """The same screen as an `asyncvnc.Client`, for code written against that library.

        Raises:
            InputError: when asyncvnc is not installed.
        """
        if self._conn is None:
            try:
                from hud.capabilities.rfb.bare import BareClient
            except ModuleNotFoundError as error:
                raise InputError(
                    f"RFBClient.conn needs the Python package {error.name}",
                    hint="pip install 'hud-python[rfb]'",
                ) from error
            self._conn = BareClient(self)
        return self._conn

    @property
    def width(self) -> int:
        """Width of the screen in pixels."""
        return self.link.frame.width

    @property
    def height(self) -> int:
        """Height of the screen in pixels."""
        return self.link.frame.height

    async def close(self) -> None:
        if not self.is_closed:
            self.is_closed = True
            if not self.link.is_lost and (self._held or self.pointer.buttons):
                self._release_all()
        await self.link.close()

    # Looking.

    async def refresh(self) -> None:
        """Bring the pixels up to date with the server.

        Raises:
            CapabilityFault: when it does not answer.
        """
        link = await self._live()
        try:
            await link.refresh()
        except CapabilityFault:
            if not link.is_lost:
                raise
            await (await self._live()).refresh()

    async def screenshot(
        self,
        format: Literal["png", "webp"] = "png",
        *,
        quality: int = 85,
        scale: float | None = None,
        max_width: int | None = None,
        max_height: int | None = None,
        region: Region | None = None,
    ) -> Screenshot:
        """Return a picture of the screen as it is now.

        The picture is `bytes` that know their size and the place of their pixels on the screen
        (`Screenshot.to_screen`).

        Args:
            format: PNG is exact, WebP smaller.
            quality: Of a WebP, 0 to 100.
            scale: Factor of both sides.
            max_width, max_height: The picture is scaled down until it fits.
            region: Left, top, width and height of the part to show.

        Raises:
            CapabilityFault: when the server does not answer.
            RFBError: when the region is not on the screen, or the format unknown.
        """
        if format not in ("png", "webp"):
            raise RFBError(f"unknown screenshot format {bounded(format)!r}", hint="png or webp")
        await self.refresh()
        link = self.link
        shown = self._region(region)
        size = size_of(shown, scale, max_width, max_height)
        mime: ScreenshotMimeType = "image/png" if format == "png" else "image/webp"
        key = (link, link.frame.version, shown, size, mime, quality)
        if self._taken is not None and self._taken[0] == key:
            return self._taken[1]
        left, top, width, height = shown
        image = link.frame.image.crop((left, top, left + width, top + height))
        data = await asyncio.to_thread(encode, image, size, mime, quality)
        taken = Screenshot.of(data, mime, size, shown)
        self._taken = (key, taken)
        return taken

    async def screenshot_png(
        self, encoding: ScreenshotEncoding | ScreenshotMimeType = "image/png"
    ) -> tuple[bytes, ScreenshotMimeType]:
        """Return a picture of the whole screen and its media type.

        Raises:
            CapabilityFault: when the server does not answer.
        """
        if isinstance(encoding, str):
            webp = encoding == "image/webp"
            encoding = WebPScreenshotEncoding() if webp else PngScreenshotEncoding()
        if isinstance(encoding, WebPScreenshotEncoding):
            taken = await self.screenshot("webp", quality=encoding.quality)
        else:
            taken = await self.screenshot("png")
        return taken, taken.mime_type

    async def wait_for_change(self, timeout_s: float = 10.0) -> bool:
        """Wait until the screen differs from what was seen last; False when it does not.

        Raises:
            CapabilityFault: when the connection breaks.
        """
        link = await self._live()
        return await link.wait_for_change(link.frame.version, timeout_s)

    async def drain(self) -> None:
        """Wait until everything sent has left this process.

        Raises:
            CapabilityFault: when the server takes nothing any more.
        """
        await self.link.drain()

    # The connection.

    async def _live(self) -> Connection:
        """Return the connection, a new one when the server hung up."""
        if self.is_closed:
            raise CapabilityFault(f"{self.link.label}: the client is closed")
        if not self.link.is_lost:
            return self.link
        async with self._reconnecting:
            deadline = time.monotonic() + RECONNECT_S
            while self.link.is_lost:
                try:
                    link = await _open(self.capability, replace(self._terms, connect_s=RECONNECT_S))
                except CapabilityFault:
                    if time.monotonic() >= deadline:
                        raise
                    await asyncio.sleep(_RETRY_PAUSE_S)
                    continue
                if self.is_closed:
                    await link.close()
                    raise CapabilityFault(f"{link.label}: the client is closed")
                self.link = link
                self.pointer.buttons = 0
                self._held.clear()
                self._added.clear()
        return self.link

    def _region(self, region: Region | None) -> Region:
        whole = (0, 0, self.width, self.height)
        if region is None:
            return whole
        left, top, width, height = region
        inside = left >= 0 and top >= 0 and left + width <= whole[2] and top + height <= whole[3]
        if not inside or width < 1 or height < 1:
            raise RFBError(
                f"the region {bounded(region)} is not on the screen of {self.width}x{self.height}",
                hint="(left, top, width, height)",
            )
        return (int(left), int(top), int(width), int(height))


async def _open(cap: Capability, terms: Terms) -> Connection:
    address = cap.address
    assert address is not None
    label = f"capability {cap.name!r} at {address[0]}:{address[1]}"
    password = cap.params.get("password")
    return await Connection.open(label, address, None if password is None else str(password), terms)
