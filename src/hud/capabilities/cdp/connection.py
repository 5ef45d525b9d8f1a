"""One websocket to a browser: numbered calls, replies, events, and the end of all of them.

Which page a session belongs to, and what is done when the connection is lost, is decided above.
"""

from __future__ import annotations

import asyncio
import itertools
import json as plain_json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from hud._core import json
from hud.capabilities.cdp.endpoint import FRAME_LIMIT
from hud.capabilities.cdp.errors import CDPError

logger = logging.getLogger(__name__)

CLOSE_LIMIT_S = 3.0
_TOO_BIG = 1009

Params = dict[str, Any]
OnEvent = Callable[[str | None, str, Params], None]
"""Called with the session (None for the browser itself), the method and the parameters."""


class ConnectionLost(Exception):
    """The connection ended before the reply came. Never leaves this package."""


@dataclass(slots=True)
class _Pending:
    method: str
    session_id: str | None
    reply: asyncio.Future[Params]


class Connection:
    """Calls and events over one open websocket. `close` it in every case.

    Attributes:
        lost: Completes, with the reason, when the connection has ended.
    """

    def __init__(self, websocket: ClientConnection, on_event: OnEvent) -> None:
        loop = asyncio.get_running_loop()
        self._websocket = websocket
        self._on_event = on_event
        self._ids = itertools.count(1)
        self._pending: dict[int, _Pending] = {}
        self._outbox: asyncio.Queue[bytes] = asyncio.Queue()
        self.lost: asyncio.Future[str] = loop.create_future()
        self._reader = loop.create_task(self._read())
        self._writer = loop.create_task(self._write())

    def post(
        self, method: str, params: Params | None = None, session_id: str | None = None
    ) -> asyncio.Future[Params]:
        """Send a call and return the future of its reply; calls are sent in this order.

        The future fails with `CDPError` when the browser refuses, and with `ConnectionLost`.

        Raises:
            TypeError: when the parameters have no JSON form.
        """
        reply: asyncio.Future[Params] = asyncio.get_running_loop().create_future()
        reply.add_done_callback(_seen)
        number = next(self._ids)
        frame: Params = {"id": number, "method": method, "params": params or {}}
        if session_id is not None:
            frame["sessionId"] = session_id
        data = json.encode(frame)
        if self.lost.done():
            reply.set_exception(ConnectionLost(self.lost.result()))
            return reply
        self._pending[number] = _Pending(method, session_id, reply)
        reply.add_done_callback(lambda _: self._pending.pop(number, None))
        self._outbox.put_nowait(data)
        return reply

    def fail_session(
        self, session_id: str, error: Callable[[], CDPError], *, sparing: str = ""
    ) -> int:
        """Fail every pending call of a session but those of method `sparing`; how many."""
        failing = [
            call
            for call in self._pending.values()
            if call.session_id == session_id and call.method != sparing and not call.reply.done()
        ]
        for call in failing:
            call.reply.set_exception(error())
        return len(failing)

    async def unless_lost(self, event: asyncio.Future[None]) -> None:
        """Wait for `event`.

        Raises:
            ConnectionLost: when the connection ends first.
        """
        await asyncio.wait([event, self.lost], return_when=asyncio.FIRST_COMPLETED)
        if self.lost.done() and not event.done():
            raise ConnectionLost(self.lost.result())

    async def close(self) -> None:
        """Close the websocket and fail what is pending; bounded in time, safe to call twice."""
        self._end("the client was closed")
        self._reader.cancel()
        self._writer.cancel()
        await asyncio.gather(self._reader, self._writer, return_exceptions=True)
        try:
            async with asyncio.timeout(CLOSE_LIMIT_S):
                await self._websocket.close()
        except TimeoutError:
            self._websocket.transport.abort()

    async def _write(self) -> None:
        try:
            while True:
                await self._websocket.send(await self._outbox.get(), text=True)
        except (ConnectionClosed, OSError) as error:
            self._end(_reason(error))

    async def _read(self) -> None:
        try:
            while True:
                self._receive(await self._websocket.recv(decode=False))
        except (ConnectionClosed, OSError) as error:
            self._end(_reason(error))
        except ValueError as error:
            self._end(f"it sent what is no message: {error}")

    def _receive(self, data: bytes) -> None:
        message = _decode(data)
        number = message.get("id")
        if number is None:
            self._event(message)
            return
        call = self._pending.get(number) if isinstance(number, int) else None
        if call is None or call.reply.done():
            return
        error = message.get("error")
        result = message.get("result")
        if isinstance(error, dict):
            call.reply.set_exception(CDPError.from_reply(call.method, cast("Params", error)))
        else:
            call.reply.set_result(cast("Params", result) if isinstance(result, dict) else {})

    def _event(self, message: Params) -> None:
        method, params, session = (message.get(key) for key in ("method", "params", "sessionId"))
        if not isinstance(method, str) or not isinstance(params, dict):
            return
        try:
            self._on_event(
                session if isinstance(session, str) else None, method, cast("Params", params)
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            logger.debug("event %s is not what it should be: %r", method, error)

    def _end(self, reason: str) -> None:
        if self.lost.done():
            return
        self.lost.set_result(reason)
        for call in list(self._pending.values()):
            if not call.reply.done():
                call.reply.set_exception(ConnectionLost(reason))


def _decode(data: bytes) -> Params:
    """Read one message; what a page wrote into it may hold half a surrogate pair.

    Raises:
        ValueError: when it is no JSON object.
    """
    try:
        message = json.decode(data)
    except ValueError:
        try:
            message = plain_json.loads(data)
        except RecursionError:
            raise ValueError("nested too deeply") from None
        message = json.decode(json.encode(message))
    if not isinstance(message, dict):
        raise ValueError("not a JSON object")
    return cast("Params", message)


def _reason(error: Exception) -> str:
    sent = error.sent if isinstance(error, ConnectionClosed) else None
    if sent is not None and sent.code == _TOO_BIG:
        return f"it sent a message of more than {FRAME_LIMIT >> 20} MiB"
    return str(error) or type(error).__name__


def _seen(reply: asyncio.Future[Params]) -> None:
    """Mark a failure as seen: nobody awaits the replies to calls that are only posted."""
    if not reply.cancelled():
        reply.exception()
