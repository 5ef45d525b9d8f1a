"""The provider's side of the proxy: a request sent well, and the reply while it comes.

Which requests are sent is decided in `proxy`.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from typing import Any

import httpx

from hud.agents.connections import CONNECT_TIMEOUT_S, CONNECTIONS_PER_CLIENT, REPLY_TIMEOUT_S
from hud.models.calling import ModelCall, ask
from hud.models.endpoint import Endpoint
from hud.models.failure import CallFailure, excerpt, plain_reason
from hud.models.passed_on import ERROR_BYTES, Outgoing, RefusedByApi, without_key


class Upstream:
    """Connections to one endpoint; close it when the run is over."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self._http = httpx.AsyncClient(
            timeout=httpx.Timeout(REPLY_TIMEOUT_S, connect=CONNECT_TIMEOUT_S),
            limits=httpx.Limits(max_connections=CONNECTIONS_PER_CLIENT),
            verify=_tls(),
            follow_redirects=False,
        )

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    @asynccontextmanager
    async def reply(
        self, request: Outgoing, model: str, dialect: str, *, retries: int
    ) -> AsyncGenerator[httpx.Response]:
        """Send a request and yield the reply, whose body is still to come.

        What fails before there is a reply is tried again where that may help.

        Raises:
            ModelFault: when it fails for good; from `RefusedByApi` where the API said so.
        """
        opened: list[httpx.Response] = []

        async def send() -> dict[str, Any]:
            sent = self._http.build_request(
                request.method, request.url, headers=request.headers, content=request.body
            )
            reply = await self._http.send(sent, stream=True)
            if reply.status_code >= 300:
                raise await self._refusal(reply)
            opened.append(reply)
            return {}

        call = ModelCall(self.endpoint, model, dialect, {})
        try:
            # Kept nowhere: nobody could say which of a program's calls are meant to be equal.
            await ask(call, send, read_failure, retries=retries, cache=False)
            yield opened[-1]
        finally:
            for reply in opened:
                await reply.aclose()

    async def _refusal(self, reply: httpx.Response) -> RefusedByApi:
        try:
            body = bytearray()
            async for data in reply.aiter_bytes():
                body += data
                if len(body) > ERROR_BYTES:
                    break
        finally:
            await reply.aclose()
        said = without_key(bytes(body[:ERROR_BYTES]), self.endpoint.api_key)
        return RefusedByApi(reply.status_code, reply.headers, said)


async def passing(reply: httpx.Response) -> AsyncIterator[bytes]:
    """Yield a reply's body as it comes.

    Raises:
        httpx.TransportError: when it breaks off.
    """
    async for data in reply.aiter_bytes():
        if data:
            yield data


def read_failure(error: BaseException) -> CallFailure | None:
    """Read an exception of a call; None for any other."""
    match error:
        case RefusedByApi():
            return error.failure
        case httpx.TimeoutException():
            return CallFailure("timeout", "no answer in time")
        case httpx.ConnectError() | httpx.ProxyError() | httpx.UnsupportedProtocol():
            return CallFailure("unreachable", plain_reason(error))
        case httpx.TransportError():
            return CallFailure("cut", plain_reason(error))
        case httpx.HTTPError() | httpx.InvalidURL():
            return CallFailure("other", excerpt(str(error)))
        case _:
            return None


@cache
def _tls() -> ssl.SSLContext:
    """Return the TLS settings, which take long to make."""
    return httpx.create_ssl_context()
