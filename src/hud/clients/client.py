"""The drive side: one control session with a served environment.

Dialling until the environment is ready is `connect`; what an agent does with it is `hud.agents`.
"""

from __future__ import annotations

import asyncio
import functools
import logging
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeVar, cast, overload

import msgspec

from hud._core import json
from hud._core.errors import HudError, InputError
from hud.capabilities.base import CapabilityClient
from hud.capabilities.registry import client_class
from hud.clients.channel import Channel
from hud.clients.dial import dial
from hud.clients.forward import Forwarder
from hud.clients.opened import OpenedClients
from hud.protocol import frames, methods
from hud.protocol.capability import Capability
from hud.protocol.frames import HudProtocolError
from hud.protocol.version import PROTOCOL_VERSION

logger = logging.getLogger(__name__)

HEARTBEAT_S = 120.0
CLOSE_GRACE_S = 5.0

C = TypeVar("C", bound=CapabilityClient)


@dataclass(frozen=True)
class ServerInfo:
    """Name and version of the environment behind a connection."""

    name: str
    version: str


@dataclass(frozen=True)
class Manifest:
    """What an environment said of itself in `hello`."""

    session_id: str
    protocol_version: str
    server_info: ServerInfo
    bindings: list[Capability] = field(default_factory=list[Capability])


class HudClient:
    """Drive one environment over one control connection.

    Attributes:
        manifest: What the environment said in the last `hello`, or None before it.
    """

    PROTOCOL_VERSION: ClassVar[str] = PROTOCOL_VERSION

    def __init__(
        self,
        reader: asyncio.StreamReader | None = None,
        writer: asyncio.StreamWriter | None = None,
        *,
        endpoint: tuple[str, int] | None = None,
        channel: Channel | None = None,
        url: str | None = None,
    ) -> None:
        """Wrap an open connection: either asyncio's (reader, writer), or a `Channel`.

        Args:
            endpoint: Host and port that further connections (capability streams) dial.
            url: The same as an address of any scheme.
        """
        if channel is None:
            if writer is None:
                raise TypeError("HudClient: give a reader and a writer, or a channel")
            channel = Channel()
            transport = writer.transport
            transport.set_protocol(channel)
            channel.connection_made(transport)
        # A StreamWriter that is collected closes its transport, so both are kept.
        self._streams = (reader, writer)
        self._channel = channel
        self._url = url or (f"tcp://{endpoint[0]}:{endpoint[1]}" if endpoint else None)
        self._forwarders: list[Forwarder] = []
        self._local: dict[str, Capability] = {}
        self._opened = OpenedClients()
        self._heartbeat: asyncio.TimerHandle | None = None
        self.manifest: Manifest | None = None

    @property
    def lost(self) -> asyncio.Future[None]:
        """Completes when the connection has ended."""
        return self._channel.lost

    async def hello(self, session_id: str | None = None) -> Manifest:
        """Begin a session, or resume the parked one of that id, and return the manifest.

        Raises:
            HudProtocolError: when the session is unknown or the peer is no environment.
            RuntimeFault: when the connection ends.
        """
        raw = await self._channel.call(methods.HELLO, methods.HelloParams(session_id))
        try:
            result = msgspec.json.decode(raw, type=methods.HelloResult)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise HudProtocolError(
                frames.INVALID_REQUEST, f"hello: the peer is no environment: {error}"
            ) from error
        self.manifest = Manifest(
            result.session_id,
            result.protocol_version or PROTOCOL_VERSION,
            ServerInfo(result.env.name, result.env.version),
            result.bindings,
        )
        if result.bindings and not self._local:
            await self._forward(result.bindings)
        return self.manifest

    async def _forward(self, bindings: list[Capability]) -> None:
        for row in bindings:
            if row.address is None or self._url is None:
                self._local[row.name] = row
                continue
            forwarder = Forwarder(row, functools.partial(dial, self._url))
            self._forwarders.append(forwarder)
            self._local[row.name] = await forwarder.start()

    def binding(self, ref: str) -> Capability:
        """Return a capability's row with a local url, by name, protocol family or protocol id.

        Raises:
            InputError: when nothing matches, or several do.
        """
        rows = list(self._local.values())
        if ref in self._local:
            return self._local[ref]
        matches = [row for row in rows if ref in (row.protocol, row.family)]
        if len(matches) == 1:
            return matches[0]
        names = ", ".join(f"{row.name} ({row.protocol})" for row in matches or rows) or "none"
        if matches:
            raise InputError(f"{ref!r} matches {len(matches)} capabilities: {names}")
        raise InputError(f"no capability {ref!r}", hint=f"the environment exposes: {names}")

    @overload
    async def open(self, ref: str) -> CapabilityClient: ...
    @overload
    async def open(self, ref: str, client: type[C], **options: Any) -> C: ...
    @overload
    async def open(self, ref: str, client: None = None, **options: Any) -> CapabilityClient: ...
    async def open(
        self, ref: str, client: type[CapabilityClient] | None = None, **options: Any
    ) -> CapabilityClient:
        """Return a live client of a capability; `ref` as for `binding`.

        It is connected through this connection and shared by everyone who opens the same
        capability with the same class and options; this connection closes it.

        Args:
            client: The class to use; otherwise the one that `hud.capabilities.registry` knows
                for the row's protocol.
            options: Passed on to its `connect`. What a template says of a capability for one
                episode is in `run.bindings`, so a robot is opened with
                `client.open("robot", token=run.bindings["robot"]["token"])`.

        Raises:
            InputError: when `ref` does not name one capability, or nothing drives its protocol.
            CapabilityFault: when its daemon cannot be reached, or is not what the row says.
            RuntimeFault: when this connection is closed.
        """
        row = self.binding(ref)
        return await self._opened.open(row, client or client_class(row), options)

    async def list_tasks(self) -> list[dict[str, Any]]:
        """Return the manifest entries of the environment's templates."""
        result = await self._call(methods.TASKS_LIST, {})
        return cast("list[dict[str, Any]]", result.get("tasks") or [])

    async def start_task(self, task_id: str, args: dict[str, Any] | None = None) -> dict[str, Any]:
        """Start a task and return its prompt frame; a task already suspended is replaced.

        Raises:
            HudProtocolError: when the task is unknown, its arguments are wrong, or it raised.
            RuntimeFault: when the connection ends.
        """
        frame = await self._call(methods.TASKS_START, {"id": task_id, "args": args or {}})
        if "prompt" not in frame:
            raise HudProtocolError(frames.INVALID_REQUEST, "tasks.start answered without a prompt")
        return frame

    async def grade(self, payload: dict[str, Any]) -> dict[str, Any]:
        """Send the answer (`{"answer": …}`) and return the grade frame.

        Raises:
            HudProtocolError: when no task is suspended, or grading raised.
            RuntimeFault: when the connection ends.
        """
        return await self._call(methods.TASKS_GRADE, payload)

    async def cancel(self) -> None:
        """Cancel the suspended or running task."""
        await self._call(methods.TASKS_CANCEL, {})

    async def bye(self) -> None:
        """End the session and its suspended task; the environment closes the connection."""
        await self._call(methods.BYE, {})

    async def close(self) -> None:
        """Close the connection without saying bye: a suspended task stays parked.

        The capability clients opened over it are closed before.
        """
        self._stop_heartbeat()
        try:
            await self._opened.aclose()
        finally:
            self._channel.close()
            forwarders, self._forwarders = self._forwarders, []
            for forwarder in forwarders:
                await forwarder.aclose()
            await self._channel.wait_lost(CLOSE_GRACE_S)

    def abort(self) -> None:
        """Drop the connection at once."""
        self._stop_heartbeat()
        self._channel.abort()

    def start_heartbeat(self, interval_s: float = HEARTBEAT_S) -> None:
        """Say `hello` with the session's own id every `interval_s` until closed."""
        loop = asyncio.get_running_loop()

        def beat() -> None:
            if self.manifest is None or self._channel.lost.done():
                return
            params = methods.HelloParams(self.manifest.session_id)
            try:
                reply = self._channel.send(methods.HELLO, params)
            except HudError:
                return
            reply.add_done_callback(_ignore)
            self._heartbeat = loop.call_later(interval_s, beat)

        self._heartbeat = loop.call_later(interval_s, beat)

    def _stop_heartbeat(self) -> None:
        if self._heartbeat is not None:
            self._heartbeat.cancel()
            self._heartbeat = None

    async def _call(self, method: str, params: Any) -> dict[str, Any]:
        raw = await self._channel.call(method, params)
        try:
            result: Any = json.decode(bytes(raw))
        except ValueError as error:
            raise HudProtocolError(
                frames.PARSE_ERROR, f"{method}: the reply is not JSON: {error}"
            ) from error
        if not isinstance(result, dict):
            raise HudProtocolError(frames.INVALID_REQUEST, f"{method}: the result is no object")
        return cast("dict[str, Any]", result)


def _ignore(reply: asyncio.Future[Any]) -> None:
    """Mark a heartbeat's reply as seen: peers that are busy may refuse one."""
    if not reply.cancelled():
        reply.exception()
