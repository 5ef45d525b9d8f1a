"""One connection to a served environment: a control session, or a capability's byte stream.

Carries out what `protocol.dispatch` allows: user code runs beside the read side, so a cancel or
a bye on the same connection reaches and interrupts it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, Literal, cast

from hud._core.errors import EnvironmentFault, Fault, HudError, InputError
from hud._core.outcome import Outcome
from hud._core.relay import Relay
from hud.environment.episode import Episode
from hud.environment.sessions import NoSuchSession, Session
from hud.protocol import frames, methods
from hud.protocol.dispatch import Call, Refuse, ServerSession
from hud.protocol.frames import HudProtocolError, RequestId
from hud.protocol.framing import FrameBuffer, FrameTooLong
from hud.protocol.version import PROTOCOL_VERSION

if TYPE_CHECKING:
    from hud.environment.server import EnvironmentServer

logger = logging.getLogger(__name__)

CANCEL_GRACE_S = 5.0


class ServerConnection(asyncio.Protocol):
    """Serve one peer. The server that made it owns its tasks and closes it."""

    def __init__(self, server: EnvironmentServer) -> None:
        self._server = server
        self._dispatch = ServerSession()
        self._buffer = FrameBuffer()
        self._transport: asyncio.Transport | None = None
        self._session: Session | None = None
        self._running: asyncio.Task[None] | None = None
        self._phase: Literal["idle", "start", "grade"] = "idle"
        self._tunnel: Relay | None = None
        self._done = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._server.opened(self)

    def data_received(self, data: bytes) -> None:
        self._buffer.feed(data)
        while not self._done and self._tunnel is None:
            try:
                line = self._buffer.next()
            except FrameTooLong as error:
                self._send(frames.error_frame(None, frames.PARSE_ERROR, error.message))
                self.close()
                return
            if line is None:
                return
            self._receive(line)

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._done = True
        if self._tunnel is not None:
            self._tunnel.connection_lost(exc)
            return
        self._server.closed(self)
        if self._running is not None and self._phase == "grade":
            self._running.cancel()
        elif self._running is None:
            self._leave()

    def pause_writing(self) -> None:
        if self._transport is not None:
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    def close(self) -> None:
        """Close the stream once what was sent is out; the session parks or ends as usual."""
        self._done = True
        if self._transport is not None:
            self._transport.close()

    async def abort_call(self) -> None:
        """Interrupt user code that runs for this connection and wait for it, bounded."""
        running = self._running
        if running is not None:
            running.cancel()
            await asyncio.wait([running], timeout=CANCEL_GRACE_S)

    def _receive(self, line: bytes) -> None:
        action = self._dispatch.receive(line)
        if isinstance(action, Refuse):
            if action.frame is not None:
                self._send(action.frame)
            if action.close:
                self.close()
            return
        params = action.params
        match params:
            case methods.HelloParams():
                self._hello(action, params)
            case methods.ListParams():
                self._list(action)
            case methods.StartParams():
                self._begin("start", action.id, self._start(params))
            case methods.GradeParams():
                self._begin("grade", action.id, self._grade(params))
            case methods.CancelParams():
                self._server.spawn(self._cancel(action.id))
            case methods.ByeParams():
                self._server.spawn(self._bye(action.id))
            case methods.TunnelParams():
                self._open_tunnel(action.id, params)

    def _reply(self, request_id: RequestId | None, result: Any) -> None:
        if request_id is None:
            return
        try:
            self._send(frames.encode(frames.Reply(request_id, result)))
        except HudProtocolError as error:
            self._send(
                frames.error_frame(
                    request_id, error.code, error.message, boundary=Outcome.ENVIRONMENT
                )
            )

    def _fail(self, request_id: RequestId | None, error: BaseException) -> None:
        if request_id is not None:
            self._send(_error_reply(request_id, error))

    def _send(self, frame: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(frame)

    def _hello(self, call: Call, params: methods.HelloParams) -> None:
        wanted = params.session_id
        try:
            if wanted is not None and (self._session is None or wanted != self._session.id):
                resumed = self._server.sessions.resume(wanted)
                self._leave()
                self._session = resumed
        except NoSuchSession as error:
            self._fail(call.id, error)
            return
        session = self._attached()
        env = self._server.env
        result = methods.HelloResult(
            session.id,
            methods.EnvInfo(env.name, env.version),
            list(env.capabilities),
            PROTOCOL_VERSION,
        )
        self._reply(call.id, result)

    def _list(self, call: Call) -> None:
        try:
            self._reply(call.id, {"tasks": self._server.env.manifest()})
        except TypeError as error:
            self._fail(call.id, EnvironmentFault(str(error)))

    def _attached(self) -> Session:
        if self._session is None:
            self._session = self._server.sessions.open()
        return self._session

    def _begin(
        self,
        phase: Literal["start", "grade"],
        request_id: RequestId | None,
        work: Coroutine[Any, Any, dict[str, Any]],
    ) -> None:
        self._dispatch.busy = True
        self._phase = phase
        self._running = self._server.spawn(self._run(request_id, work))

    async def _run(
        self, request_id: RequestId | None, work: Coroutine[Any, Any, dict[str, Any]]
    ) -> None:
        phase = self._phase
        failure: BaseException | None = None
        result: dict[str, Any] | None = None
        try:
            result = await work
        except asyncio.CancelledError:
            failure = EnvironmentFault(f"tasks.{phase} was cancelled")
        except Exception as error:
            failure = error
        self._running = None
        self._phase = "idle"
        self._dispatch.busy = False
        if failure is not None:
            self._fail(request_id, failure)
        else:
            self._reply(request_id, result)
        if self._done:
            self._leave()

    async def _start(self, params: methods.StartParams) -> dict[str, Any]:
        session = self._attached()
        previous = session.take()
        if previous is not None:
            await previous.close()
        episode = Episode(self._server.env.find(params.id), params.args)
        try:
            frame = await episode.start()
        except BaseException:
            await episode.close()
            raise
        session.episode = episode
        return frame

    async def _grade(self, params: methods.GradeParams) -> dict[str, Any]:
        session = self._session
        if session is None:
            session = self._session = self._server.sessions.resume_only()
        episode = session.take()
        if episode is None:
            raise NoSuchSession("no task in progress")
        try:
            return await episode.grade(params.answer)
        finally:
            await episode.close()

    async def _cancel(self, request_id: RequestId | None) -> None:
        await self.abort_call()
        if self._session is not None:
            episode = self._session.take()
            if episode is not None:
                await episode.close()
        self._reply(request_id, methods.CancelResult())

    async def _bye(self, request_id: RequestId | None) -> None:
        await self.abort_call()
        session, self._session = self._session, None
        if session is not None:
            episode = self._server.sessions.forget(session)
            if episode is not None:
                await episode.close()
        self._reply(request_id, methods.ByeResult())
        self.close()

    def _leave(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            evicted = self._server.sessions.disconnect(session)
            if evicted is not None:
                self._server.spawn(evicted.close())

    def _open_tunnel(self, request_id: RequestId | None, params: methods.TunnelParams) -> None:
        address = self._server.env.capability_address(params.capability)
        if address is None:
            self._fail(
                request_id,
                HudProtocolError(
                    frames.INVALID_PARAMS,
                    f"no capability {params.capability[:120]!r} with a host and port",
                ),
            )
            self.close()
            return
        self._tunnel = Relay()
        if self._transport is not None:
            self._tunnel.connection_made(self._transport)
        self._server.spawn(self._splice(request_id, params.capability, address, self._tunnel))

    async def _splice(
        self, request_id: RequestId | None, name: str, address: tuple[str, int], near: Relay
    ) -> None:
        loop = asyncio.get_running_loop()
        transport = self._transport
        if transport is None:
            return
        transport.pause_reading()
        far = Relay()
        try:
            await loop.create_connection(lambda: far, *address)
        except OSError as error:
            fault = HudProtocolError(
                frames.SERVER_ERROR,
                f"capability {name!r} is not reachable: {error}",
                boundary=Outcome.CAPABILITY,
            )
            self._fail(request_id, fault)
            self.close()
            return
        self._reply(request_id, methods.TunnelResult(name))
        transport.set_protocol(near)
        early = self._buffer.rest()
        if early:
            near.data_received(early)
        near.join(far)
        try:
            if self._done:
                far.close()
            else:
                transport.resume_reading()
            await asyncio.wait([near.closed, far.closed], return_when=asyncio.ALL_COMPLETED)
        finally:
            near.close()
            far.close()
            self._server.closed(self)


def _error_reply(request_id: RequestId, error: BaseException) -> bytes:
    """Spell an exception as the error reply the protocol asks for, with its boundary."""
    match error:
        case HudProtocolError():
            return frames.error_frame(
                request_id, error.code, error.message, boundary=error.boundary, hint=error.hint
            )
        case InputError():
            code, boundary = frames.INVALID_PARAMS, Outcome.ENVIRONMENT
        case NoSuchSession():
            code, boundary = frames.INVALID_REQUEST, None
        case Fault():
            code, boundary = frames.SERVER_ERROR, error.outcome
        case HudError():
            code, boundary = frames.SERVER_ERROR, Outcome.ENVIRONMENT
        case _:
            text = f"{type(error).__qualname__}: {error}"
            return frames.error_frame(
                request_id, frames.SERVER_ERROR, text, boundary=Outcome.ENVIRONMENT
            )
    return frames.error_frame(request_id, code, error.message, boundary=boundary, hint=error.hint)
