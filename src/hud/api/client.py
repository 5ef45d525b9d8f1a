"""The clients of a platform: one for an event loop, one that blocks; both send `calls`.

Opened and closed with `async with` and `with`. The key goes to the platform's addresses only, and
redirects are not followed.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Iterable
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import urlsplit

import httpx

from hud.api.calls import Call, Listing
from hud.api.errors import PlatformUnreachable
from hud.api.exchange import Exchange, Patience, Wait
from hud.api.place import PlatformPlace
from hud.api.replies import Page

T = TypeVar("T")

_SILENT_S = 60.0
_LONGEST_EVENT_BYTES = 8 * 1024 * 1024
_ROWS_AT_MOST = 1_000_000
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


def _options(place: PlatformPlace, connections: int) -> dict[str, Any]:
    # A proxy is asked for the world outside, not for this machine.
    is_local = urlsplit(place.api_url).hostname in _LOOPBACK
    limits = httpx.Limits(max_connections=connections, max_keepalive_connections=connections)
    return {"follow_redirects": False, "trust_env": not is_local, "limits": limits}


class PlatformClient:
    """Asks a platform from an event loop, any number of calls at once.

    Args:
        connections: How many it has open at most; further calls wait.
    """

    def __init__(
        self, place: PlatformPlace, *, patience: Patience | None = None, connections: int = 20
    ) -> None:
        self.place = place
        self._patience = patience or Patience()
        self._http = httpx.AsyncClient(**_options(place, connections))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._http.aclose()

    async def send(self, call: Call[T]) -> T:
        """Send one call and return its reply.

        Raises:
            PlatformError: when it cannot be reached, or answers anything but success.
            InputError: when there is no key, and the call needs one.
        """
        exchange = Exchange(self.place, call, self._patience)
        while True:
            try:
                request = self._http.build_request(**exchange.request())
                reply = await self._http.send(request, stream=True)
                try:
                    body = await _read(reply, exchange.limit_bytes)
                finally:
                    await reply.aclose()
            except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:
                outcome: T | Wait = exchange.failed(error)
            else:
                outcome = exchange.answered(reply.status_code, reply.headers, body)
            if not isinstance(outcome, Wait):
                return outcome
            await asyncio.sleep(outcome.seconds)

    async def events(self, path: str) -> AsyncGenerator[tuple[str, bytes]]:
        """Yield what a live stream of the API says, name and data, until it ends.

        Raises:
            PlatformError: when there is no such stream, it breaks, or falls silent.
        """
        call = Call("GET", path, dict[str, Any], timeout_s=_SILENT_S)
        request = Exchange(self.place, call, self._patience).request()
        request["headers"]["Accept"] = "text/event-stream"
        try:
            async with self._http.stream(**request) as reply:
                if reply.status_code != 200:
                    raise PlatformUnreachable(f"{path} answers HTTP {reply.status_code}")
                async for one in _events(reply):
                    yield one
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise PlatformUnreachable(f"{path}: {type(error).__name__}") from error

    async def collect(self, listing: Listing[T]) -> list[T]:
        """Return the rows of a listing, page by page.

        Raises:
            PlatformError: as `send`.
        """
        rows: list[T] = []
        while (call := _next_page(listing, rows)) is not None:
            if _is_last(listing, rows, await self.send(call)):
                break
        return rows[: listing.limit]


class BlockingPlatformClient:
    """Asks a platform and waits for the answer."""

    def __init__(self, place: PlatformPlace, *, patience: Patience | None = None) -> None:
        self.place = place
        self._patience = patience or Patience()
        self._http = httpx.Client(**_options(place, 1))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._http.close()

    def send(self, call: Call[T]) -> T:
        """Do as `PlatformClient.send`."""
        exchange = Exchange(self.place, call, self._patience)
        while True:
            try:
                request = self._http.build_request(**exchange.request())
                reply = self._http.send(request, stream=True)
                try:
                    body = _joined(reply.iter_bytes(), exchange.limit_bytes)
                finally:
                    reply.close()
            except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:
                outcome: T | Wait = exchange.failed(error)
            else:
                outcome = exchange.answered(reply.status_code, reply.headers, body)
            if not isinstance(outcome, Wait):
                return outcome
            time.sleep(outcome.seconds)

    def collect(self, listing: Listing[T]) -> list[T]:
        """Do as `PlatformClient.collect`."""
        rows: list[T] = []
        while (call := _next_page(listing, rows)) is not None:
            if _is_last(listing, rows, self.send(call)):
                break
        return rows[: listing.limit]


async def _events(reply: httpx.Response) -> AsyncGenerator[tuple[str, bytes]]:
    """Read server-sent events; one longer than the limit ends the stream."""
    buffer = bytearray()
    async for chunk in reply.aiter_raw():
        buffer += chunk
        while (end := buffer.find(b"\n\n")) >= 0:
            lines = bytes(buffer[:end]).splitlines()
            del buffer[: end + 2]
            name, data = "message", b""
            for line in lines:
                field, _, value = line.partition(b":")
                if field == b"event":
                    name = value.strip().decode("utf-8", "replace")
                elif field == b"data":
                    data += value.removeprefix(b" ")
            if data:
                yield name, data
        if len(buffer) > _LONGEST_EVENT_BYTES:
            raise PlatformUnreachable("a live stream sent an event that is too long")


async def _read(reply: httpx.Response, limit_bytes: int) -> bytes | None:
    body = bytearray()
    async for chunk in reply.aiter_bytes():
        body += chunk
        if len(body) > limit_bytes:
            return None
    return bytes(body)


def _joined(chunks: Iterable[bytes], limit_bytes: int) -> bytes | None:
    body = bytearray()
    for chunk in chunks:
        body += chunk
        if len(body) > limit_bytes:
            return None
    return bytes(body)


def _next_page(listing: Listing[T], rows: list[T]) -> Call[Page[T]] | None:
    """Return the call for the page after `rows`, None when there are enough."""
    limit = _ROWS_AT_MOST if listing.limit is None else listing.limit
    wanted = min(listing.page, limit - len(rows))
    if wanted <= 0:
        return None
    query = (*listing.query, ("limit", wanted), ("offset", len(rows)))
    kind: Any = listing.item
    return Call("GET", listing.path, Page[kind], query=query)


def _is_last(listing: Listing[T], rows: list[T], page: Page[T]) -> bool:
    """Add a page to `rows`; tell whether there are no more."""
    known = rows[-listing.page :]  # a platform that knows no offset gives the same page again
    fresh = [row for row in page.items if row not in known]
    rows += fresh
    if not fresh:
        return True
    return len(page.items) != listing.page if page.total is None else len(rows) >= page.total
