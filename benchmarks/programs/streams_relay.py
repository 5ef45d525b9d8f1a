"""The least a gateway can be: a bare relay on uvicorn, with one of the HTTP clients there are.

Prints `PORT=<n>`. It reads nothing of what passes, checks no key and counts nothing.
"""

from __future__ import annotations

import contextlib
import socket
import sys
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

import uvicorn


@contextlib.asynccontextmanager
async def with_aiohttp(url: str, body: bytes) -> AsyncGenerator[AsyncIterator[bytes]]:
    import aiohttp

    if "aiohttp" not in _clients:
        _clients["aiohttp"] = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
    async with _clients["aiohttp"].post(url, data=body) as reply:
        yield reply.content.iter_any()


@contextlib.asynccontextmanager
async def with_httpx(url: str, body: bytes) -> AsyncGenerator[AsyncIterator[bytes]]:
    import httpx

    if "httpx" not in _clients:
        limits = httpx.Limits(max_connections=None)
        _clients["httpx"] = httpx.AsyncClient(limits=limits, timeout=60, trust_env=False)
    async with _clients["httpx"].stream("POST", url, content=body) as reply:
        yield reply.aiter_raw()


@contextlib.asynccontextmanager
async def with_httpx2(url: str, body: bytes) -> AsyncGenerator[AsyncIterator[bytes]]:
    import httpx2

    if "httpx2" not in _clients:
        limits = httpx2.Limits(max_connections=None)
        _clients["httpx2"] = httpx2.AsyncClient(limits=limits, timeout=60, trust_env=False)
    async with _clients["httpx2"].stream("POST", url, content=body) as reply:
        yield reply.aiter_raw()


CLIENTS = {"aiohttp": with_aiohttp, "httpx": with_httpx, "httpx2": with_httpx2}
_clients: dict[str, Any] = {}


def relay(name: str, upstream: str) -> Any:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        body = bytearray()
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        headers = [(b"content-type", b"text/event-stream")]
        async with CLIENTS[name](f"{upstream}/chat/completions", bytes(body)) as pieces:
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            async for data in pieces:
                await send({"type": "http.response.body", "body": data, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    return app


if __name__ == "__main__":
    listener = socket.create_server(("127.0.0.1", 0), backlog=4096)
    print(f"PORT={listener.getsockname()[1]}", flush=True)
    app = relay(sys.argv[1], sys.argv[2])
    config = uvicorn.Config(
        app, log_config=None, access_log=False, lifespan="off", loop=sys.argv[3]
    )
    uvicorn.Server(config).run(sockets=[listener])
