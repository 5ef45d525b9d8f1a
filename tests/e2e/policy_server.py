"""A policy server on openpi's wire, for tests: its metadata, then a chunk for each observation."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable
from typing import Any

from hud.agents.robot import RemoteModel
from hud.protocol.openpi import pack, unpack

Answer = Callable[[dict[str, Any]], Any]


class PolicyServer:
    """Answers with what `answer` returns: a map, or a text as it is, which is an error.

    None hangs up, `...` says nothing until the client has gone.

    Attributes:
        begun: Set by the first observation.
        left: Set when a client has gone.
        asked: Every observation it was shown.
        connections: How many clients have come so far.
    """

    def __init__(self, answer: Answer, *, greeting: bytes | str | None = None) -> None:
        self.answer = answer
        self.asked: list[dict[str, Any]] = []
        self.connections = 0
        self.port = 0
        self.begun = asyncio.Event()
        self.left = asyncio.Event()
        self._greeting = pack({"policy": "scripted"}) if greeting is None else greeting

    @contextlib.asynccontextmanager
    async def serving(self, port: int = 0) -> AsyncGenerator[RemoteModel]:
        """Serve for a block, on a port of its own; yield a model that asks it."""
        from websockets.asyncio.server import serve

        async with serve(self._serve, "127.0.0.1", port, compression=None) as server:
            self.port = next(iter(server.sockets)).getsockname()[1]
            model = RemoteModel("127.0.0.1", self.port, connect_timeout_s=30.0)
            try:
                yield model
            finally:
                await asyncio.to_thread(model.close)

    async def _serve(self, connection: Any) -> None:
        self.connections += 1
        try:
            await self._converse(connection)
        finally:
            self.left.set()

    async def _converse(self, connection: Any) -> None:
        await connection.send(self._greeting)
        async for message in connection:
            observation = unpack(message)
            self.asked.append(observation)
            self.begun.set()
            found = self.answer(observation)
            if found is ...:
                await connection.wait_closed()
                return
            if found is None:
                await connection.close(1011)
                return
            is_plain = isinstance(found, str | bytes)
            await connection.send(found if is_plain else pack(found))
