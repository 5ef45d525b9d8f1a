"""The provider's side of a call: a request sent, tried again only where nothing can be billed.

The rule: a call goes out again when no connection was made, or when the provider answered 429, 503
or 529, by which it says that it did not take it. Whatever fails after the request was sent
otherwise (a broken connection, a time limit, status 500, 502 or 504) may have been worked on and
billed, so it is not repeated here; the client is told and decides. Nothing is repeated once a byte
of an answer has come. HTTP is aiohttp's: measured against the others in `benchmarks/gateway.py`.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
from collections.abc import AsyncGenerator, Callable
from typing import Self

import aiohttp

from hud.models.asgi import Refusal
from hud.models.failure import plain_reason
from hud.models.passed_on import ERROR_BYTES, Outgoing, RefusedByApi, without_key
from hud.models.throttle import Throttle, backoff
from hud.platform.gateway.addresses import ForbiddenAddress, open_socket
from hud.platform.gateway.served import Route

CONNECT_TIMEOUT_S = 15.0
SILENCE_TIMEOUT_S = 600.0
PATIENCE_S = 10.0
"""How long the gateway waits in all because a provider asks to; more is left to the client."""
RETRIES = 3
# Servers of one's own close idle connections after 5 s, and one that is being closed breaks a call
# that cannot be repeated; a provider's stay open for minutes, and are costly to make.
_IDLE_S = {"http": 4.0, "https": 50.0}
_READ_BYTES = 1 << 16
_IN_PIECES_BYTES = 1 << 18


class Upstream:
    """Connections to all providers of this process, open while its block is."""

    def __init__(self) -> None:
        self._sessions: dict[str, aiohttp.ClientSession] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        sessions, self._sessions = self._sessions, {}
        for session in sessions.values():
            await session.close()

    @contextlib.asynccontextmanager
    async def reply(
        self,
        request: Outgoing,
        route: Route,
        throttle: Throttle,
        on_sending: Callable[[], None] = lambda: None,
    ) -> AsyncGenerator[aiohttp.ClientResponse]:
        """Send a request and yield the answer, whose body is still to come.

        Leaving the block before the body's end closes the connection, which stops the provider.

        Args:
            on_sending: Told before every attempt.

        Raises:
            RefusedByApi: when the provider says no, for good or for longer than the gateway waits.
            Refusal: when it cannot be asked.
        """
        ticket = throttle.draw_ticket()
        attempt, waited_s = 0, 0.0
        while True:
            attempt += 1
            slot = await throttle.enter(ticket, PATIENCE_S - waited_s)
            if slot is None:
                raise _busy(route, throttle)
            try:
                on_sending()
                response = await self._sent(request, route, throttle, slot)
                if isinstance(response, aiohttp.ClientResponse):
                    try:
                        yield response
                    finally:
                        response.close()
                    return
                pause_s = self._pause(response, throttle, slot, attempt, waited_s)
            finally:
                throttle.leave()
            if pause_s is None:
                raise response
            await asyncio.sleep(pause_s)
            waited_s += pause_s

    async def get(
        self, request: Outgoing, route: Route, *, timeout_s: float, limit_bytes: int = ERROR_BYTES
    ) -> tuple[int, bytes]:
        """Ask something that costs nothing and return the status and the body, without the key.

        Raises:
            Refusal: when the provider cannot be asked, or does not answer in time, or with more
                than `limit_bytes`.
        """
        try:
            async with asyncio.timeout(timeout_s):
                response = await self._request(request, route)
                try:
                    body = await _read_some(response, limit_bytes)
                finally:
                    response.close()
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            raise _unreachable(route, error) from error
        if len(body) > limit_bytes:
            message = f"the provider {route.provider.name!r} answers with too much"
            raise Refusal(502, "provider_error", message)
        return response.status, without_key(body, route.provider.endpoint.api_key)

    async def _sent(
        self, request: Outgoing, route: Route, throttle: Throttle, slot: int
    ) -> aiohttp.ClientResponse | RefusedByApi | Refusal:
        """Return the answer, or the error that it is; what may be repeated is the caller's part."""
        try:
            response = await self._request(request, route)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            refusal = _unreachable(route, error)
            if refusal.code != "provider_unreachable":
                raise refusal from error
            return refusal
        if response.status < 300:
            throttle.succeeded(slot)
            return response
        try:
            if response.status < 400:
                throttle.answered()
                raise _redirected(route, response.status)
            body = (await _read_some(response, ERROR_BYTES))[:ERROR_BYTES]
        except (aiohttp.ClientError, TimeoutError, OSError):
            body = b""
        finally:
            response.close()
        key = route.provider.endpoint.api_key
        headers = {name.lower(): value for name, value in response.headers.items()}
        return RefusedByApi(response.status, headers, without_key(body, key))

    def _pause(
        self,
        failed: RefusedByApi | Refusal,
        throttle: Throttle,
        slot: int,
        attempt: int,
        waited_s: float,
    ) -> float | None:
        """Return how long to wait before the next attempt, None when there is to be none."""
        if isinstance(failed, Refusal):
            pause_s = backoff(attempt, throttle.jitter(), is_told=True)
            return pause_s if attempt <= RETRIES else None
        failure = failed.failure
        if not failure.is_overload:
            throttle.answered()
            return None
        told_s = failure.retry_after_s
        own_s = backoff(attempt, throttle.jitter(), is_told=told_s is not None)
        pause_s = max(told_s or 0.0, own_s)
        is_too_long = waited_s + pause_s > PATIENCE_S
        throttle.refused(slot, failure, None if is_too_long else told_s)
        is_over = attempt > RETRIES or is_too_long
        return None if is_over else pause_s

    async def _request(self, request: Outgoing, route: Route) -> aiohttp.ClientResponse:
        session = self._session(request.url)
        return await session.request(
            request.method,
            request.url,
            headers=request.headers,
            data=_payload(request.body),
            allow_redirects=False,
            proxy=route.provider.proxy,
        )

    def _session(self, url: str) -> aiohttp.ClientSession:
        scheme = url.partition(":")[0]
        session = self._sessions.get(scheme)
        if session is None:
            session = self._sessions[scheme] = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    limit=0, keepalive_timeout=_IDLE_S.get(scheme), socket_factory=open_socket
                ),
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(
                    total=None, sock_connect=CONNECT_TIMEOUT_S, sock_read=SILENCE_TIMEOUT_S
                ),
                skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
                read_bufsize=_READ_BYTES,
            )
        return session


def _payload(body: bytes) -> bytes | io.BytesIO | None:
    """Return a body as the client wants it: a long one is written in pieces."""
    return io.BytesIO(body) if len(body) > _IN_PIECES_BYTES else body or None


async def _read_some(response: aiohttp.ClientResponse, limit_bytes: int) -> bytes:
    """Return a body; of one that is longer than the limit a little more than that."""
    body = bytearray()
    while data := await response.content.readany():
        body += data
        if len(body) > limit_bytes:
            break
    return bytes(body)


def _unreachable(route: Route, error: BaseException) -> Refusal:
    """Return what to tell a client; the code says whether anything was sent."""
    where = f"the provider {route.provider.name!r} at {route.provider.endpoint.shown}"
    match error:
        case ForbiddenAddress() | aiohttp.ClientConnectorError(os_error=ForbiddenAddress()):
            return Refusal(502, "provider_forbidden", f"{where} leads to an address never asked")
        case aiohttp.ConnectionTimeoutError():
            message = f"{where} cannot be reached: no connection in {CONNECT_TIMEOUT_S:g} s"
            return Refusal(504, "provider_timeout", message, may_pass=True)
        case aiohttp.ClientConnectorError():
            reason = plain_reason(error)
            message = f"{where} cannot be reached: {reason}"
            return Refusal(502, "provider_unreachable", message, may_pass=True)
        case TimeoutError():
            return Refusal(504, "provider_timeout", f"{where} did not answer in time")
        case _:
            message = f"{where} broke off before it answered: {plain_reason(error)}"
            return Refusal(502, "provider_broke_off", message, may_pass=True)


def _redirected(route: Route, status: int) -> Refusal:
    where = f"the provider {route.provider.name!r} at {route.provider.endpoint.shown}"
    message = f"{where} answered status {status}, a redirect, which is not followed"
    return Refusal(502, "provider_redirected", message)


def _busy(route: Route, throttle: Throttle) -> Refusal:
    failure = throttle.refusal
    message = f"the provider {route.provider.name!r} asks to wait"
    if failure is not None:
        message += f": status {failure.status}, {failure.detail}"
    seconds = failure.retry_after_s if failure is not None else None
    return Refusal(429, "provider_busy", message, may_pass=True, retry_after_s=seconds or 1.0)
