"""A small web site on loopback for tests of browsers: pages by path, and what was asked for."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field

from tests.wire.harness import until

Answer = str | bytes | tuple[int, dict[str, str], bytes]


@dataclass
class Site:
    """Pages by path.

    Attributes:
        url: Where it is, without a slash at the end.
        pages: What each path answers: HTML, or status, headers and body, or a function of the
            request's body that returns one of them.
        asked: The requests that came, as `METHOD /path`.
        hold: Paths whose answers wait until the event is set.
        open: Connections being served.
    """

    url: str = ""
    pages: dict[str, Answer | Callable[[bytes], Answer]] = field(default_factory=dict)  # pyright: ignore[reportUnknownVariableType]
    asked: list[str] = field(default_factory=list[str])
    hold: dict[str, asyncio.Event] = field(default_factory=dict[str, asyncio.Event])
    open: set[asyncio.StreamWriter] = field(default_factory=set[asyncio.StreamWriter])

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open.add(writer)
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            method, target, _ = head.split(" ", 2)
            size = 0
            for line in head.split("\r\n"):
                name, _, value = line.partition(":")
                if name.lower() == "content-length":
                    size = int(value)
            body = await reader.readexactly(size)
            path = target.partition("?")[0]
            self.asked.append(f"{method} {target}")
            if path in self.hold:
                await self.hold[path].wait()
            status, headers, data = self._answer(path, body)
            headers = {
                "Content-Length": str(len(data)),
                "Connection": "close",
                "Cache-Control": "no-store",
                **headers,
            }
            named = (f"{name}: {value}" for name, value in headers.items())
            lines = [f"HTTP/1.1 {status} Status", *named]
            writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + data)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self.open.discard(writer)
            writer.close()

    def _answer(self, path: str, body: bytes) -> tuple[int, dict[str, str], bytes]:
        found = self.pages.get(path, (404, {}, b"no such page"))
        answer = found(body) if callable(found) else found
        if isinstance(answer, tuple):
            return answer
        data = answer.encode() if isinstance(answer, str) else answer
        return 200, {"Content-Type": "text/html; charset=utf-8"}, data


@contextlib.asynccontextmanager
async def site(**pages: str) -> AsyncGenerator[Site]:
    """Serve pages on a free loopback port; each keyword is the page at that path."""
    served = Site(pages={f"/{name}": text for name, text in pages.items()})
    server = await asyncio.start_server(served.serve, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()[:2]
    served.url = f"http://{host}:{port}"
    try:
        yield served
    finally:
        for event in served.hold.values():
            event.set()
        server.close()
        for writer in served.open:
            writer.close()
        await until(lambda: not served.open)
