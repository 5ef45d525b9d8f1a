"""The few requests of the X protocol by which a desktop is known to be ready, and is furnished.

Spoken over a socket that the sandbox gives, so nothing needs to be installed in it. Source: the X
protocol, version 11, and the window manager hints of freedesktop.org.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Awaitable, Callable
from typing import Self

from hud._core.errors import CapabilityFault

_ERROR, _REPLY = 0, 1
_PROPERTY_CHANGES = 1 << 22
_CHILDREN_CHANGES = 1 << 19
_BACK_PIXEL, _EVENT_MASK = 1 << 1, 1 << 11
_STRING, _WINDOW = 31, 33
_RESOURCE_MANAGER, _WM_NAME = 23, 39
_NUDGE_S = 0.2
_VIEWABLE = 2
_MAX_REPLY = 1 << 22
_VENDOR = range(0x10080000, 0x10090000)


class XConnection:
    """One connection to an X server. `close` it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._atoms: dict[str, int] = {}
        self._root = 0
        self._keycodes = (8, 255)
        self._events = 0

    @classmethod
    async def open(cls, sock: socket.socket) -> Self:
        """Speak over a connected socket, which is closed with this.

        Raises:
            CapabilityFault: when the server refuses.
        """
        try:
            reader, writer = await asyncio.open_connection(sock=sock)
        except BaseException:
            sock.close()
            raise
        self = cls(reader, writer)
        try:
            await self._greet()
        except BaseException:
            await self.close()
            raise
        return self

    async def close(self) -> None:
        """Close the connection; closing twice is no error."""
        self._writer.transport.abort()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()

    async def ready(self) -> None:
        """Return once a window manager has said that it is there."""
        await self._until(self._has_window_manager)

    async def windows(self, *, managed: bool) -> frozenset[int]:
        """Return the windows of programs: those that the window manager knows, or all mapped."""
        if managed:
            return frozenset(await self._property("_NET_CLIENT_LIST"))
        tree = await self._ask(struct.pack("<BxHI", 15, 2, self._root))
        (count,) = struct.unpack_from("<H", tree, 16)
        children = struct.unpack_from(f"<{count}I", tree, 32)
        return frozenset([window for window in children if await self._is_shown(window)])

    async def window_after(self, known: frozenset[int], *, managed: bool) -> None:
        """Return once there is a window that is none of `known`."""

        async def is_there() -> bool:
            new = await self.windows(managed=managed) - known
            return bool(new)

        nudging = asyncio.create_task(self._nudge())
        try:
            await self._until(is_there)
        finally:
            nudging.cancel()
            await asyncio.wait([nudging])

    async def _nudge(self) -> None:
        """Change a property of the root now and then, for a window manager that has dozed off.

        What reached Openbox while it was starting lies in a queue of its own, and it looks there
        only when something new arrives; a window that asked to be shown would wait for ever.
        """
        name = b"desktop\0"
        while True:
            await asyncio.sleep(_NUDGE_S)
            self._writer.write(
                struct.pack("<BBHIII", 18, 0, 8, self._root, _WM_NAME, _STRING)
                + struct.pack("<BxxxI", 8, len(name) - 1)
                + name
            )

    async def focus_among(self, known: frozenset[int]) -> None:
        """Return once the active window is none of `known`."""

        async def is_active() -> bool:
            return bool(set(await self._property("_NET_ACTIVE_WINDOW")) - known - {0})

        await self._until(is_active)

    async def furnish(self, resources: str, background: int) -> int:
        """Set default resources, the root's colour, and free the keys that no keyboard has.

        Servers type a character that no key has by giving it to a key without a meaning. A
        keyboard layout has about 20 of these, and about 100 with meanings such as "launch mail".

        Returns how many keys have no meaning now.
        """
        data = resources.encode()
        padding = b"\0" * (-len(data) % 4)
        size = 6 + (len(data) + len(padding)) // 4
        self._writer.write(
            struct.pack("<BBHIII", 18, 0, size, self._root, _RESOURCE_MANAGER, _STRING)
            + struct.pack("<BxxxI", 8, len(data))
            + data
            + padding
            + struct.pack("<BxHIII", 2, 4, self._root, _BACK_PIXEL, background)
            + struct.pack("<BxHIHHHH", 61, 4, self._root, 0, 0, 0, 0)
        )
        return await self._free_keys()

    async def _free_keys(self) -> int:
        low, high = self._keycodes
        count = high - low + 1
        reply = await self._ask(struct.pack("<BxHBBxx", 101, 2, low, count))
        each = reply[1]
        free = 0
        for index in range(count):
            held = struct.unpack_from(f"<{each}I", reply, 32 + index * each * 4)
            meanings = [keysym for keysym in held if keysym]
            if all(keysym in _VENDOR for keysym in meanings):
                free += 1
                if meanings:
                    self._writer.write(struct.pack("<BBHBBxxI", 100, 1, 3, low + index, 1, 0))
        await self._sync()
        return free

    async def _greet(self) -> None:
        self._writer.write(struct.pack("<BxHHHHxx", 0x6C, 11, 0, 0, 0))
        head = await self._read(8)
        body = await self._read(struct.unpack_from("<H", head, 6)[0] * 4)
        if head[0] != 1:
            reason = body[: head[1]].decode("latin-1")
            raise CapabilityFault(f"the X server refused a connection: {reason}")
        (vendor,) = struct.unpack_from("<H", body, 16)
        formats = body[21]
        self._keycodes = (body[26], body[27])
        screens = 32 + vendor + -vendor % 4 + 8 * formats
        (self._root,) = struct.unpack_from("<I", body, screens)
        mask = _PROPERTY_CHANGES | _CHILDREN_CHANGES
        self._writer.write(struct.pack("<BxHIII", 2, 4, self._root, _EVENT_MASK, mask))
        await self._sync()

    async def _has_window_manager(self) -> bool:
        return any(await self._property("_NET_SUPPORTING_WM_CHECK"))

    async def _property(self, name: str) -> tuple[int, ...]:
        if name not in self._atoms:
            data = name.encode()
            padding = b"\0" * (-len(data) % 4)
            size = 2 + (len(data) + len(padding)) // 4
            asked = struct.pack("<BBHHxx", 16, 0, size, len(data)) + data + padding
            (self._atoms[name],) = struct.unpack_from("<I", await self._ask(asked), 8)
        asked = struct.pack("<BBHIIIII", 20, 0, 6, self._root, self._atoms[name], _WINDOW, 0, 4096)
        reply = await self._ask(asked)
        (count,) = struct.unpack_from("<I", reply, 16)
        if reply[1] != 32:
            return ()
        return struct.unpack_from(f"<{count}I", reply, 32)

    async def _is_shown(self, window: int) -> bool:
        reply = await self._ask(struct.pack("<BxHI", 3, 2, window), may_fail=True)
        return len(reply) > 27 and reply[26] == _VIEWABLE and not reply[27]

    async def _sync(self) -> None:
        await self._ask(struct.pack("<BxH", 43, 1))

    async def _until(self, is_so: Callable[[], Awaitable[bool]]) -> None:
        """Return once `is_so`, asked again after each event."""
        while True:
            seen = self._events
            if await is_so():
                return
            if self._events != seen:
                continue
            message = await self._message()
            if message[0] == _ERROR:
                raise CapabilityFault(f"the X server reported error {message[1]}")

    async def _ask(self, request: bytes, *, may_fail: bool = False) -> bytes:
        """Return the reply to a request; events that came before it are counted, not kept."""
        self._writer.write(request)
        while True:
            message = await self._message()
            if message[0] == _REPLY:
                return message
            if message[0] == _ERROR:
                if may_fail:
                    return b""
                raise CapabilityFault(f"the X server reported error {message[1]}")
            self._events += 1

    async def _message(self) -> bytes:
        head = await self._read(32)
        if head[0] != _REPLY:
            return head
        (units,) = struct.unpack_from("<I", head, 4)
        if units * 4 > _MAX_REPLY:
            raise CapabilityFault(f"the X server sent a reply of {units * 4} bytes")
        return head + await self._read(units * 4) if units else head

    async def _read(self, count: int) -> bytes:
        try:
            return await self._reader.readexactly(count)
        except (EOFError, OSError) as error:
            raise CapabilityFault("the X server closed the connection") from error
