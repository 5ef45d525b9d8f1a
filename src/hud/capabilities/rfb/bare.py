"""`RFBClient.conn`: an `asyncvnc.Client` over a connection that asyncvnc does not read itself.

For code written against asyncvnc. It shares the client's socket, pointer, clipboard and pixels,
so both can be used in turn; what asyncvnc would read from the socket is waited for instead.
"""

from __future__ import annotations

import importlib
from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from hud.capabilities.rfb import keys, wire
from hud.capabilities.rfb.connection import Connection

if TYPE_CHECKING:
    from hud.capabilities.rfb.client import RFBClient

asyncvnc: Any = importlib.import_module("asyncvnc")
numpy: Any = importlib.import_module("numpy")

_LONG_S = 1e9


class Writer:
    """What asyncvnc's keyboard and mouse write to."""

    def __init__(self, client: RFBClient) -> None:
        self._client = client

    def write(self, data: bytes) -> None:
        self._client.link.send(data)

    async def drain(self) -> None:
        await self._client.drain()

    def is_closing(self) -> bool:
        return self._client.link.is_lost

    def close(self) -> None:
        """The socket is the `RFBClient`'s to close."""

    async def wait_closed(self) -> None:
        """Return at once, for the same reason."""


class Keyboard(asyncvnc.Keyboard):
    """asyncvnc's, which knows every key that `RFBClient` knows."""

    @contextmanager
    def hold(self, *names: str) -> Generator[None]:
        pressed: list[int] = []
        try:
            for name in names:
                number = asyncvnc.key_codes.get(name)
                pressed.append(keys.keysym(name) if number is None else number)
                self.writer.write(wire.key_event(pressed[-1], True))
            yield
        finally:
            for number in reversed(pressed):
                self.writer.write(wire.key_event(number, False))


class Mouse(asyncvnc.Mouse):
    """asyncvnc's, with the position and the buttons that `RFBClient` has."""

    def __init__(self, writer: Writer, client: RFBClient) -> None:
        self.writer = writer
        self._pointer = client.pointer

    @property
    def x(self) -> int:
        return self._pointer.x

    @x.setter
    def x(self, value: int) -> None:
        self._pointer.x = value

    @property
    def y(self) -> int:
        return self._pointer.y

    @y.setter
    def y(self, value: int) -> None:
        self._pointer.y = value

    @property
    def buttons(self) -> int:
        return self._pointer.buttons

    @buttons.setter
    def buttons(self, value: int) -> None:
        self._pointer.buttons = value


class Clipboard(asyncvnc.Clipboard):
    """asyncvnc's, with any text where the server takes it."""

    def __init__(self, writer: Writer, client: RFBClient) -> None:
        self.writer = writer
        self._client = client

    @property
    def text(self) -> str:
        held = self._client.link.clipboard
        return held.text if held.own is None else held.own

    def write(self, text: str) -> None:
        link = self._client.link
        link.send(link.clipboard.offer(text))


class Video(asyncvnc.Video):
    """asyncvnc's, over the pixels that `RFBClient` keeps. `data` is a new array each time."""

    mode = "rgba"

    def __init__(self, writer: Writer, client: RFBClient) -> None:
        self.reader = None
        self.writer = writer
        self.decompress = None
        self._client = client

    @property
    def name(self) -> str:
        return self._client.link.hello.name

    @property
    def width(self) -> int:
        return self._client.width

    @property
    def height(self) -> int:
        return self._client.height

    @property
    def data(self) -> Any:
        return numpy.array(self._client.link.frame.image.convert("RGBA"))

    def as_rgba(self) -> Any:
        return self.data

    def refresh(
        self, x: int = 0, y: int = 0, width: int | None = None, height: int | None = None
    ) -> None:
        width = self.width if width is None else width
        height = self.height if height is None else height
        self._client.link.send(wire.update_request(True, x, y, width, height))

    async def read(self) -> None:
        """Nothing is left to be read: pixels are taken as they come."""


class BareClient(asyncvnc.Client):
    """An `asyncvnc.Client` that never falls out of step and may be cancelled at any time."""

    def __init__(self, client: RFBClient) -> None:
        writer = Writer(client)
        asyncvnc.Client.__init__(
            self,
            reader=None,
            writer=writer,
            clipboard=Clipboard(writer, client),
            keyboard=Keyboard(writer),
            mouse=Mouse(writer, client),
            video=Video(writer, client),
            host_key=None,
        )
        self._client = client
        self._told = _counts(client.link)

    async def read(self) -> Any:
        link = self._client.link
        while (counts := _counts(link)) == self._told:
            await link.until(lambda: _counts(link) != self._told, _LONG_S)
        kinds = (
            asyncvnc.UpdateType.VIDEO,
            asyncvnc.UpdateType.CLIPBOARD,
            asyncvnc.UpdateType.BELL,
        )
        for index, kind in enumerate(kinds):
            if counts[index] != self._told[index]:
                told = list(self._told)
                told[index] = counts[index]
                self._told = (told[0], told[1], told[2])
                return kind
        raise AssertionError("unreachable")

    async def drain(self) -> None:
        await self._client.drain()

    async def screenshot(
        self, x: int = 0, y: int = 0, width: int | None = None, height: int | None = None
    ) -> Any:
        await self._client.refresh()
        return self.video.as_rgba()


def _counts(link: Connection) -> tuple[int, int, int]:
    return link.updates, link.clipboard.copies, link.bells
