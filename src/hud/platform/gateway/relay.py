"""An answer passed on while it comes: piece by piece, as fast as the client takes it.

Nothing is held but the piece in hand: a slow client slows the provider down through both
connections' buffers, and one that goes away ends the call.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

import aiohttp

from hud._core.http_sockets import Send
from hud.models.asgi import Refusal, part_of, start_of
from hud.models.failure import plain_reason
from hud.models.passed_on import without_key
from hud.models.provider import Dialect
from hud.models.usage import UsageReader
from hud.models.wire import response_headers
from hud.platform.gateway.claude_chat.reply import chat_reply
from hud.platform.gateway.claude_chat.stream import ChatStream
from hud.platform.gateway.refusals import error_event

_WHOLE_AT_MOST = 64 * 1024 * 1024


class Translator(Protocol):
    """Makes what the client gets of what the provider sends."""

    def feed(self, data: bytes) -> bytes:
        """Take in more and return what there is to send."""
        ...

    def end(self) -> bytes:
        """Return what is left to send."""
        ...


class StreamTranslator:
    """Claude's events as those of Chat Completions."""

    def __init__(self, *, tells_usage: bool) -> None:
        self._stream = ChatStream(tells_usage=tells_usage)

    def feed(self, data: bytes) -> bytes:
        return self._stream.feed(data)

    def end(self) -> bytes:
        return b""


class WholeTranslator:
    """Claude's message as a completion; it can be told only when it is whole."""

    def __init__(self) -> None:
        self._held = bytearray()

    def feed(self, data: bytes) -> bytes:
        self._held += data
        if len(self._held) > _WHOLE_AT_MOST:
            raise Refusal(502, "provider_error", "the answer is longer than 64 MiB")
        return b""

    def end(self) -> bytes:
        return chat_reply(bytes(self._held))


class Passing:
    """One answer on its way.

    Args:
        dialect: The client's.
        keep: Takes what the client got when it came to its end without an error, before the
            client knows that it did.

    Attributes:
        has_begun: Whether the client was sent a byte.
        is_whole: Whether the answer came to its end.
        failure: What went wrong on the way, None for nothing.
    """

    def __init__(
        self,
        dialect: Dialect,
        reader: UsageReader,
        key: str,
        translator: Translator | None = None,
        keep: Callable[[bytes], Awaitable[None]] | None = None,
    ) -> None:
        self.has_begun = False
        self.is_whole = False
        self.failure: str | None = None
        self._keep = keep
        self._kept: list[bytes] = []
        self._dialect = dialect
        self._reader = reader
        self._key = key
        self._translator = translator
        self._ends_event = True

    async def run(
        self, reply: aiohttp.ClientResponse, send: Send, more: list[tuple[bytes, bytes]]
    ) -> None:
        """Pass the answer on; one that the provider broke off is broken off here, too.

        Args:
            more: Further headers.
        """
        headers = [*response_headers(reply.headers.items()), *more]
        await send(start_of(reply.status, headers))
        self.has_begun = True
        content, reader = reply.content, self._reader
        try:
            while data := await content.readany():
                shown = reader.take(without_key(data, self._key))
                if self._translator is not None:
                    shown = self._translator.feed(shown)
                if shown:
                    await self._send(send, shown)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            reader.rest()
            self.failure = f"the provider broke off: {plain_reason(error)}"
            await self._say_broken(reply, send)
            return
        rest = reader.rest()
        if self._translator is not None:
            rest = self._translator.feed(rest) + self._translator.end()
        self.is_whole = True
        self.failure = reader.error
        if self._keep is not None and self.failure is None:
            await self._keep(b"".join([*self._kept, rest]))
        await send(part_of(rest, more=False))

    async def _send(self, send: Send, shown: bytes) -> None:
        if self._keep is not None:
            self._kept.append(shown)
        self._ends_event = shown.endswith((b"\n\n", b"\r\n\r\n"))
        await send(part_of(shown, more=True))

    async def _say_broken(self, reply: aiohttp.ClientResponse, send: Send) -> None:
        """Say so inside a stream of events; the missing end of the body says it to everybody."""
        is_stream = "event-stream" in reply.headers.get("content-type", "").lower()
        if is_stream and self._ends_event:
            message = "the provider broke off before its answer was whole"
            await send(part_of(error_event(self._dialect, message), more=True))
