"""A provider that streams: every piece carries the moment it was written, on the system's clock.

Prints `PORT=<n>`. A request gets its first piece at once and the others at a fixed pace, each
stream on its own beat, so that pieces of many streams are spread over time as real ones are.
"""

from __future__ import annotations

import asyncio
import re
import time
from typing import cast

import uvloop

_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
_WHOLE = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
_PIECE = (
    b'data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"bench",'
    b'"choices":[{"index":0,"delta":{"content":"t=%d"},"logprobs":null,"finish_reason":null}],'
    b'"usage":null}\n\n'
)
_LAST = (
    b'data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"bench",'
    b'"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":%d,"total_tokens":10}}\n\n'
    b"data: [DONE]\n\n"
)
_LENGTH = re.compile(rb"content-length: (\d+)", re.IGNORECASE)
_ASKS = re.compile(rb'"pieces": ?(\d+), ?"pace_ms": ?(\d+)')


class Provider(asyncio.Protocol):
    def __init__(self) -> None:
        self._held = bytearray()
        self._timer: asyncio.TimerHandle | None = None
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self._timer is not None:
            self._timer.cancel()

    def data_received(self, data: bytes) -> None:
        self._held += data
        head, found, body = bytes(self._held).partition(b"\r\n\r\n")
        if not found:
            return
        length = _LENGTH.search(head)
        if len(body) < (int(length.group(1)) if length else 0):
            return
        self._held.clear()
        asks = _ASKS.search(body)
        assert self._transport is not None
        if asks is None:
            said = b'{"object":"list","data":[]}'
            self._transport.write(_WHOLE % len(said) + said)
            return
        pieces, pace_s = int(asks.group(1)), int(asks.group(2)) / 1000
        self._transport.write(_HEAD)
        self._next(pieces, pieces, pace_s, asyncio.get_running_loop().time())

    def _next(self, left: int, pieces: int, pace_s: float, due: float) -> None:
        if self._transport is None:
            return
        if not left:
            self._send(_LAST % pieces)
            self._transport.write(b"0\r\n\r\n")
            return
        self._send(_PIECE % time.monotonic_ns())
        due += pace_s
        loop = asyncio.get_running_loop()
        self._timer = loop.call_at(due, self._next, left - 1, pieces, pace_s, due)

    def _send(self, event: bytes) -> None:
        assert self._transport is not None
        self._transport.write(b"%x\r\n%b\r\n" % (len(event), event))


async def main() -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Provider, "127.0.0.1", 0, backlog=4096)
    print(f"PORT={server.sockets[0].getsockname()[1]}", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main())
