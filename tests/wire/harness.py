"""A raw peer and a served environment over every transport, for the tests of the wire.

The peer here knows lines and JSON and nothing else of the package, so what it sees is the wire.
"""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

from hud._core.streams import LISTENERS
from hud.environment import Environment
from hud.environment.server import EnvironmentServer, bind

TRANSPORTS = ("tcp", "unix", "memory")
LIMIT = 16 * 1024 * 1024
DEADLINE_S = 60.0
_names = itertools.count()

Reply = dict[str, Any]
Steps = AsyncGenerator[Any, Any]
"""What a template is: it yields a prompt, then a grade."""


class Wire:
    """One raw connection: send bytes, read lines."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self._ids = itertools.count(1)

    @classmethod
    async def open(cls, url: str) -> Wire:
        parts = urlsplit(url)
        limit = 4 * LIMIT
        if parts.scheme == "tcp":
            return cls(*await asyncio.open_connection(parts.hostname, parts.port, limit=limit))
        if parts.scheme == "unix":
            return cls(*await asyncio.open_unix_connection(parts.path, limit=limit))
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(limit=limit, loop=loop)
        protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
        seen = _Seen(protocol)
        LISTENERS.connect(parts.netloc, seen)
        return cls(reader, asyncio.StreamWriter(seen.made(), protocol, reader, loop))

    def send_bytes(self, data: bytes) -> None:
        self.writer.write(data)

    def send(self, method: str, params: Any = None, *, id: Any = None) -> Any:
        """Send a request and return its id."""
        number = next(self._ids) if id is None else id
        frame: Reply = {"jsonrpc": "2.0", "id": number, "method": method, "params": params or {}}
        self.send_bytes(json.dumps(frame).encode() + b"\n")
        return number

    def notify(self, method: str, params: Any = None) -> None:
        frame: Reply = {"jsonrpc": "2.0", "method": method, "params": params or {}}
        self.send_bytes(json.dumps(frame).encode() + b"\n")

    async def line(self) -> bytes:
        """Return the next line; empty at the end of the stream."""
        async with asyncio.timeout(DEADLINE_S):
            return await self.reader.readline()

    async def reply(self) -> Reply:
        line = await self.line()
        assert line.endswith(b"\n"), f"the stream ended: {line[:200]!r}"
        return cast("Reply", json.loads(line))

    async def call(self, method: str, params: Any = None) -> Reply:
        """Send a request and return the reply to it; other replies must not come before it."""
        number = self.send(method, params)
        reply = await self.reply()
        assert reply["id"] == number, reply
        return reply

    async def result(self, method: str, params: Any = None) -> Any:
        reply = await self.call(method, params)
        assert "result" in reply, reply
        return reply["result"]

    async def error(self, method: str, params: Any = None) -> Reply:
        reply = await self.call(method, params)
        assert "error" in reply, reply
        return cast("Reply", reply["error"])

    async def ended(self) -> bytes:
        """Wait for the end of the stream and return what still came before it."""
        async with asyncio.timeout(DEADLINE_S):
            return await self.reader.read()

    async def close(self) -> None:
        self.writer.close()
        async with asyncio.timeout(DEADLINE_S):
            with suppress(ConnectionError):
                await self.writer.wait_closed()


class _Seen(asyncio.Protocol):
    """Pass everything on to another protocol, keeping the transport it was given."""

    def __init__(self, inner: asyncio.StreamReaderProtocol) -> None:
        self._inner = inner
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_protocol(self._inner)
        self._inner.connection_made(transport)

    def made(self) -> asyncio.Transport:
        assert self._transport is not None
        return self._transport


class Place:
    """Where one environment is served, for as long as the test runs."""

    def __init__(self, kind: str, folder: Path, stack: AsyncExitStack) -> None:
        self.kind = kind
        self._folder = folder
        self._stack = stack

    async def serve(self, env: Environment) -> str:
        """Serve `env` until the test ends, or until `stop`; return the address."""
        if self.kind == "memory":
            return await self._stack.enter_async_context(_in_memory(env))
        path = str(self._folder / f"{next(_names)}.sock") if self.kind == "unix" else None
        return await self._stack.enter_async_context(bind(env, path=path))

    async def connect(self, url: str) -> Wire:
        wire = await Wire.open(url)
        self._stack.push_async_callback(wire.close)
        return wire

    async def stop(self) -> None:
        """Close every connection opened here and stop serving."""
        await self._stack.aclose()


class _in_memory:  # noqa: N801 -- used as a function
    def __init__(self, env: Environment) -> None:
        self._server = EnvironmentServer(env)
        self._name = f"wire-{next(_names)}"

    async def __aenter__(self) -> str:
        await self._server.start()
        LISTENERS.listen(self._name, self._server.connection)
        return f"memory://{self._name}"

    async def __aexit__(self, *exc: object) -> None:
        LISTENERS.close(self._name)
        await self._server.aclose()


async def until(holds: Callable[[], bool]) -> None:
    """Let the loop turn until `holds()`; a deadline ends the test, not the behaviour."""
    async with asyncio.timeout(DEADLINE_S):
        while not holds():  # noqa: ASYNC110 -- the condition has no event of its own
            await asyncio.sleep(0)


async def waited(event: asyncio.Event) -> None:
    async with asyncio.timeout(DEADLINE_S):
        await event.wait()


def own_tasks() -> set[asyncio.Task[Any]]:
    """Return every task of the loop but the caller's."""
    return asyncio.all_tasks() - {asyncio.current_task()}
