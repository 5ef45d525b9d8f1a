"""The client of `line/1`: the daemon greets with its name, then answers each line with a line.

All a package needs to bring a protocol along: this class, and an entry point that names it.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import ClassVar, Self

from hud.capabilities import Capability, CapabilityClient
from hud.errors import CapabilityFault, InputError

GREETING = b"line/1\n"
CONNECT_TIMEOUT_S = 10.0
ANSWER_TIMEOUT_S = 10.0


class LineClient(CapabilityClient):
    """Ask a daemon line by line."""

    protocol: ClassVar[str] = "line"

    def __init__(
        self, capability: Capability, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.capability = capability
        self._reader = reader
        self._writer = writer

    @classmethod
    async def connect(
        cls, cap: Capability, *, connect_timeout_s: float = CONNECT_TIMEOUT_S
    ) -> Self:
        if cap.address is None:
            raise InputError(f"capability {cap.name!r}: {cap.url!r} has no host and port")
        writer: asyncio.StreamWriter | None = None
        try:
            async with asyncio.timeout(connect_timeout_s):
                reader, writer = await asyncio.open_connection(*cap.address, limit=1 << 16)
                greeting = await reader.readline()
            if greeting != GREETING:
                raise ValueError(f"it greets with {greeting[:40]!r}")
        except BaseException as error:
            if writer is not None:
                writer.transport.abort()
            if isinstance(error, (OSError, ValueError)):
                raise CapabilityFault(f"cannot connect to {cap.url}: {error!r}") from error
            raise
        return cls(cap, reader, writer)

    async def ask(self, line: str) -> str:
        """Send one line and return the answer to it."""
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                self._writer.write(f"{line}\n".encode())
                await self._writer.drain()
                answer = await self._reader.readline()
        except (OSError, ValueError) as error:
            raise CapabilityFault(f"{self.capability.name!r} failed: {error!r}") from error
        if not answer.endswith(b"\n"):
            raise CapabilityFault(f"{self.capability.name!r} closed the connection")
        return answer[:-1].decode("utf-8", "replace")

    async def close(self) -> None:
        self._writer.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()
