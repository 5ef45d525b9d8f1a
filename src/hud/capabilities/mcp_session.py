"""One initialized MCP session in a task of its own, and its failures as faults.

The SDK's task groups must be left by the task that entered them, while a client is connected,
used and closed in different ones. What callers see of it is `mcp`.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any, TypeVar, cast
from urllib.parse import urlsplit

import mcp.types as wire
from mcp.client.session import ClientSession, IncomingMessage
from mcp.shared.exceptions import MCPError
from pydantic import BaseModel, ValidationError

from hud._core.errors import CapabilityFault, bounded
from hud._version import __version__
from hud.capabilities.mcp_transport import Link, Reply, check_row, expected, open_streams
from hud.protocol.capability import Capability

CLOSE_GRACE_S = 5.0
_UNWIND_S = 0.2

# Answers that are about the connection or the session, and never about what was asked.
_BROKEN = {
    wire.CONNECTION_CLOSED,
    wire.REQUEST_TIMEOUT,
    wire.PARSE_ERROR,
    wire.INVALID_REQUEST,
}

# The SDK logs what it also raises. Without this, Python prints it where nobody set up logging.
logging.getLogger("mcp").addHandler(logging.NullHandler())

R = TypeVar("R", bound=BaseModel)


class Rejected(Exception):
    """The server's answer to a request is an error.

    Attributes:
        message: What the server says, untrusted.
        is_unknown_method: Whether it does not serve requests of this kind at all.
    """

    def __init__(self, message: str, *, is_unknown_method: bool = False) -> None:
        super().__init__(message)
        self.message = message
        self.is_unknown_method = is_unknown_method


class Session:
    """A connection to one MCP server, initialized.

    Attributes:
        has_new_tools: Whether the server said that its tools changed; reset it after listing.
    """

    def __init__(self, row: Capability) -> None:
        self.has_new_tools = False
        self._row = row
        self._link = Link()
        self._closing = asyncio.Event()
        self._ready: asyncio.Future[ClientSession] = asyncio.get_running_loop().create_future()
        self._owner: asyncio.Task[None] | None = None

    @classmethod
    async def open(cls, row: Capability, timeout_s: float) -> Session:
        """Connect and initialize; `close` it. Cancelling leaves nothing open.

        Raises:
            CapabilityFault: when the server cannot be reached or is no MCP server.
            InputError: when the row cannot be used.
        """
        check_row(row)
        session = cls(row)
        owner = session._owner = asyncio.create_task(session._run(), name=f"mcp {row.name}")
        try:
            waited = {owner, session._ready}
            await asyncio.wait(waited, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            await session._end()
            raise
        if session._ready.done():
            return session
        if not owner.done():
            await session._end()
            raise session._fault(f"gave no answer within {timeout_s:g} s")
        raise session._fault("cannot be connected to", session._link.failure)

    async def _run(self) -> None:
        try:
            async with (
                open_streams(self._row, self._link) as (read, write),
                ClientSession(
                    read,
                    write,
                    client_info=wire.Implementation(name="hud", version=__version__),
                    message_handler=self._heard,
                ) as session,
            ):
                await session.initialize()
                self._ready.set_result(session)
                await self._closing.wait()
        except Exception as error:
            if self._link.failure is None:
                self._link.failure = _cause(error)

    async def _heard(self, message: IncomingMessage) -> None:
        if isinstance(message, wire.ToolListChangedNotification):
            self.has_new_tools = True

    def serves(self, kind: str) -> bool:
        """Return whether the server said in `initialize` that it has `prompts` or `resources`."""
        capabilities = self._live().server_capabilities
        return getattr(capabilities, kind, None) is not None

    async def request(self, request: wire.Request[Any, Any], result_type: type[R]) -> R:
        """Send a request and return its result, read as `result_type`.

        Cancelling it tells the server.

        Raises:
            CapabilityFault: when the connection broke or the answer is against the protocol.
            Rejected: when the server answers with an error, or with more than is read.
        """
        session = self._live()
        reply = Reply()
        token = expected.set(reply)
        try:
            return await session.send_request(request, result_type)
        except MCPError as error:
            if reply.is_too_large:
                raise Rejected("the result is larger than what is accepted") from error
            if error.code in _BROKEN:
                await self._settled()
                raise self._fault("broke off", self._link.failure or error) from error
            unknown = error.code == wire.METHOD_NOT_FOUND
            raise Rejected(error.message, is_unknown_method=unknown) from error
        except ValidationError as error:
            problem = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(str(part) for part in problem["loc"])
            raise self._fault(
                f"answered against the protocol: {where}: {problem['msg']}"
            ) from error
        finally:
            expected.reset(token)

    def _live(self) -> ClientSession:
        if self._closing.is_set():
            raise self._fault("is closed")
        assert self._owner is not None
        if self._owner.done():
            raise self._fault("broke off", self._link.failure)
        return self._ready.result()

    async def _settled(self) -> None:
        """Give the connection's own task the moment it needs to say why it broke."""
        if self._owner is not None and self._link.failure is None:
            await asyncio.wait({self._owner}, timeout=_UNWIND_S)

    async def close(self) -> None:
        """End the session; what still waits for an answer gets a fault."""
        self._closing.set()
        if self._owner is not None:
            done, _ = await asyncio.wait({self._owner}, timeout=CLOSE_GRACE_S)
            if not done:
                await self._end()

    async def _end(self) -> None:
        assert self._owner is not None
        self._closing.set()
        self._owner.cancel()
        await asyncio.wait({self._owner}, timeout=CLOSE_GRACE_S)

    def _fault(self, what: str, cause: BaseException | None = None) -> CapabilityFault:
        parts = urlsplit(self._row.url)
        host = parts.netloc.rpartition("@")[2]
        reason = (
            "" if cause is None else f": {bounded(str(cause) or type(cause).__qualname__, 400)}"
        )
        hint = None
        if " 401 " in f"{reason} " or " 403 " in f"{reason} ":
            hint = "its row's auth_token is missing or not the server's"
        return CapabilityFault(
            f"capability {self._row.name!r}: the mcp server at "
            f"{parts.scheme}://{host}{parts.path} {what}{reason}",
            hint=hint,
        )


def _cause(error: BaseException) -> Exception:
    """Return the innermost reason: what broke the transport before what that broke in turn."""
    leaves = list(_leaves(error))
    own = [leaf for leaf in leaves if not isinstance(leaf, MCPError)]
    return (own or leaves or [ConnectionError(type(error).__name__)])[0]


def _leaves(error: BaseException) -> list[Exception]:
    if isinstance(error, BaseExceptionGroup):
        inner = cast("BaseExceptionGroup[BaseException]", error).exceptions
        return [leaf for one in inner for leaf in _leaves(one)]
    return [error] if isinstance(error, Exception) else []
