"""The connection to a browser that is made again when it ended, and what a failed call means.

A page's trouble is a `CDPError`; a browser that is gone is a `CapabilityFault`. A browser that
was started again behind the same address is reached again, and the call that found out says so.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from websockets.asyncio.client import ClientConnection

from hud._core.errors import CapabilityFault
from hud.capabilities.cdp.connection import Connection, ConnectionLost, OnEvent, Params
from hud.capabilities.cdp.endpoint import Dial, open_websocket
from hud.capabilities.cdp.errors import CDPError
from hud.protocol.capability import Capability

CALL_TIMEOUT_S = 30.0
_PULSE_TIMEOUT_S = 5.0
_PAUSES_S = (0.1, 0.4, 1.0)

T = TypeVar("T")

Welcome = Callable[[Connection], Awaitable[bool]]
"""Sets up a new connection; returns whether the page that was driven before is still there."""


class Link:
    """Calls to one browser. `open` it first, `close` it last."""

    def __init__(
        self,
        cap: Capability,
        websocket: ClientConnection,
        dial: Dial | None,
        on_event: OnEvent,
        welcome: Welcome,
    ) -> None:
        self.capability = cap
        self._dial = dial
        self._on_event = on_event
        self._welcome = welcome
        self._renewing = asyncio.Lock()
        self._closed = False
        self._connection = Connection(websocket, on_event)

    @property
    def connection(self) -> Connection:
        return self._connection

    async def open(self) -> None:
        """Set the first connection up.

        Raises:
            CapabilityFault: when it ends, or does not answer, meanwhile.
            CDPError: when the page that the row names does not exist.
        """
        await self._set_up(self._connection)

    async def close(self) -> None:
        self._closed = True
        await self._connection.close()

    async def call(
        self,
        method: str,
        params: Params | None = None,
        session_id: str | None = None,
        *,
        timeout_s: float = CALL_TIMEOUT_S,
    ) -> Params:
        """Call a method of the browser, or of one page's session, and return its result.

        Raises:
            CDPError: when it is refused, takes too long, or the browser had to be reached anew.
            CapabilityFault: when the browser is gone.
        """
        connection = self._connection
        return await self.result(connection, connection.post(method, params, session_id), timeout_s)

    async def result(self, connection: Connection, reply: Awaitable[T], timeout_s: float) -> T:
        """Wait for what depends on `connection`; errors as for `call`.

        Args:
            reply: Raises `ConnectionLost` when the connection ends.
        """
        try:
            async with asyncio.timeout(timeout_s):
                return await reply
        except ConnectionLost as error:
            raise await self._renew(connection) from error
        except TimeoutError as error:
            raise await self._diagnose(connection, timeout_s) from error

    async def _diagnose(self, connection: Connection, waited_s: float) -> CDPError:
        """Tell a page that does not answer from a browser that does not."""
        try:
            async with asyncio.timeout(_PULSE_TIMEOUT_S):
                await connection.post("Browser.getVersion")
        except ConnectionLost:
            return await self._renew(connection)
        except TimeoutError:
            raise self._fault(f"answers nothing any more (waited {waited_s:.3g} s)") from None
        except CDPError:
            pass
        return CDPError(
            f"the page did not answer within {waited_s:.3g} s",
            hint="its script may be busy: try again, or open another page",
        )

    async def _renew(self, lost: Connection) -> CDPError:
        """Reach the browser again and return what to tell whoever lost the connection.

        Raises:
            CapabilityFault: when it cannot be reached.
        """
        reason = lost.lost.result()
        async with self._renewing:
            if self._closed:
                raise self._fault("was asked something after its client was closed")
            if self._connection is not lost:
                return _renewed(reason, same=False)
            await lost.close()
            try:
                websocket = await self._reach()
            except CapabilityFault as error:
                raise self._fault(
                    f"ended the connection ({reason}), and {error.message}"
                ) from error
            self._connection = Connection(websocket, self._on_event)
            return _renewed(reason, same=await self._set_up(self._connection))

    async def _reach(self) -> ClientConnection:
        """Open a websocket; one that is cut at once may have reached a process that is dying."""
        for pause_s in _PAUSES_S:
            try:
                return await open_websocket(self.capability, self._dial)
            except CapabilityFault as error:
                if isinstance(error.__cause__, ConnectionRefusedError | TimeoutError):
                    raise
            await asyncio.sleep(pause_s)
        return await open_websocket(self.capability, self._dial)

    async def _set_up(self, connection: Connection) -> bool:
        try:
            async with asyncio.timeout(CALL_TIMEOUT_S):
                return await self._welcome(connection)
        except ConnectionLost as error:
            raise self._fault(f"ended the connection: {error}") from error
        except TimeoutError as error:
            raise self._fault(f"does not answer within {CALL_TIMEOUT_S:g} s") from error

    def _fault(self, what: str) -> CapabilityFault:
        return CapabilityFault(
            f"browser {self.capability.name!r} {what}",
            hint="its process has probably ended; see what the environment's log says",
        )


def _renewed(reason: str, *, same: bool) -> CDPError:
    if same:
        return CDPError(
            f"the connection to the browser had to be renewed: {reason}",
            hint="the page is still there; ask for less at once",
        )
    return CDPError(
        f"the browser was restarted or its connection was cut ({reason}); its pages are new",
        hint="look at the page as it is now and go on from there",
    )
