"""How followers are told of changed files: a bounded backlog, and one connection's conversation.

Newline-delimited JSON. A follower says `{"after": SEQ}` to go on behind a batch it has, or
`{"after": null}` to have the present episode from its beginning; then it is sent
`{"seq": N, "episode": E, "batch": {…}}` as changes are found, `{"lost": N}` in the place of batches
that were dropped before it took them, and `{"failed": TEXT}` when the files cannot be looked at.
`{"flush": ID}` has the files looked at once more; `{"flushed": ID}` follows what that found.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, cast

from hud._core import json
from hud._core.errors import bounded
from hud.trace.file_steps import PROTOCOL

logger = logging.getLogger(__name__)

MAX_REQUEST_BYTES = 64 * 1024
KEPT_BATCHES = 1_000
KEPT_BYTES = 32 * 1024 * 1024
HELLO_S = 30.0


@dataclass(frozen=True, slots=True)
class Message:
    """One numbered message, as it goes over the wire."""

    seq: int
    episode: int
    line: bytes


class Backlog:
    """The newest messages, numbered from 1. Used from one event loop."""

    def __init__(self, max_messages: int = KEPT_BATCHES, max_bytes: int = KEPT_BYTES) -> None:
        self._max_messages = max_messages
        self._max_bytes = max_bytes
        self._held: deque[Message] = deque()
        self._bytes = 0
        self._episode_began = 0
        self._grown = asyncio.Event()
        self.seq = 0
        self.episode = 1

    def begin_episode(self) -> None:
        """Count what is added from now on to the next episode."""
        self.episode += 1
        self._episode_began = self.seq

    def add(self, message: dict[str, Any]) -> None:
        """Add a message for every follower, and drop the oldest beyond the limits."""
        self.seq += 1
        line = json.encode({"seq": self.seq, "episode": self.episode, **message}) + b"\n"
        self._held.append(Message(self.seq, self.episode, line))
        self._bytes += len(line)
        while len(self._held) > self._max_messages or self._bytes > self._max_bytes:
            self._bytes -= len(self._held.popleft().line)
        self.wake()

    def wake(self) -> None:
        """Let whoever waits look again."""
        self._grown.set()
        self._grown = asyncio.Event()

    @property
    def grown(self) -> asyncio.Event:
        """Set when the next message is added."""
        return self._grown

    def first_seq(self, after: int | None) -> int:
        """Return the number behind which a follower begins."""
        return self._episode_began if after is None else min(max(after, 0), self.seq)

    def next(self, after: int) -> tuple[int, Message | None]:
        """Return how many messages behind `after` were dropped, and the next one that was not."""
        if after >= self.seq:
            return 0, None
        if not self._held:
            return self.seq - after, None
        oldest = self._held[0].seq
        if after + 1 < oldest:
            return oldest - after - 1, self._held[0]
        return 0, self._held[after + 1 - oldest]


class Following:
    """One follower's connection, from its first line to its end."""

    def __init__(self, backlog: Backlog, flush: Callable[[], Awaitable[None]]) -> None:
        self._backlog = backlog
        self._flush = flush
        self._after = 0
        self._flushed: deque[tuple[int, Any]] = deque()

    async def serve(self, sock: socket.socket) -> None:
        """Talk over `sock`, which is closed at the end."""
        reader, writer = await asyncio.open_connection(sock=sock, limit=MAX_REQUEST_BYTES)
        try:
            with contextlib.suppress(ConnectionError, TimeoutError, ValueError):
                if await self._greeted(reader, writer):
                    await self._converse(reader, writer)
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    async def _greeted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Take the first line in; return False for a peer that speaks something else."""
        async with asyncio.timeout(HELLO_S):
            request = await _request(reader)
        after = request.get("after", ...)
        if after is None or (isinstance(after, int) and not isinstance(after, bool)):
            self._after = self._backlog.first_seq(after)
            return True
        # A client may know only a protocol of requests and replies: it waits for a reply to this.
        message = f"this is {PROTOCOL}, whose first line is {{'after': null}}"
        error = {"code": -32601, "message": message}
        writer.write(json.encode({"jsonrpc": "2.0", "id": request.get("id"), "error": error}))
        writer.write(b"\n")
        await writer.drain()
        return False

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        sending = asyncio.create_task(self._send(writer))
        try:
            while request := await _request(reader):
                if "flush" in request:
                    await self._flush()
                    self._flushed.append((self._backlog.seq, request["flush"]))
                    self._backlog.wake()
        finally:
            sending.cancel()
            await asyncio.wait([sending])
            if not sending.cancelled() and (error := sending.exception()) is not None:
                logger.debug("a follower of files was lost: %s", error)

    async def _send(self, writer: asyncio.StreamWriter) -> None:
        while True:
            grown = self._backlog.grown
            while self._after < self._backlog.seq:
                lost, message = self._backlog.next(self._after)
                if lost:
                    writer.write(json.encode({"lost": lost}) + b"\n")
                if message is not None:
                    writer.write(message.line)
                self._after = self._backlog.seq if message is None else message.seq
                await writer.drain()
            while self._flushed and self._flushed[0][0] <= self._after:
                _, name = self._flushed.popleft()
                writer.write(json.encode({"flushed": name}) + b"\n")
            await writer.drain()
            if grown is self._backlog.grown:
                await grown.wait()


async def _request(reader: asyncio.StreamReader) -> dict[str, Any]:
    """Return the next line's object; an empty one is the end.

    Raises:
        ValueError: for a line that is too long, or no JSON object.
    """
    line = await reader.readline()
    if not line:
        return {}
    value = json.decode(line)
    if not isinstance(value, dict):
        raise ValueError(f"no request: {bounded(value)}")
    return cast("dict[str, Any]", value)
