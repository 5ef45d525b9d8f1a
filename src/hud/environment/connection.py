"""One connection to a served environment: a control session, or a capability's byte stream.

Carries out what `protocol.dispatch` allows: user code runs beside the read side, so a cancel or
a bye on the same connection reaches and interrupts it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, cast

from hud._core.errors import EnvironmentFault, RolloutCancelled
from hud._core.relay import Relay
from hud.environment import tunnel
from hud.environment.daemon import Daemon
from hud.environment.episode import Episode
from hud.environment.replies import error_line, result_line
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
LINGER_S = 2.0

Phase = Literal["start", "grade"]


@dataclass(slots=True, eq=False)
class _Running:
    """A `tasks.start` or `tasks.grade` whose user code runs now."""

    phase: Phase
    id: RequestId | None
    task: asyncio.Task[None] | None = None
    interrupted: bool = False

    def fault(self) -> RolloutCancelled:
        return RolloutCancelled(f"tasks.{self.phase} was cancelled")


class ServerConnection(asyncio.Protocol):
    """Serve one peer. The server that made it owns its tasks and closes it."""

    def __init__(self, server: EnvironmentServer) -> None:
        self._server = server
        self._dispatch = ServerSession()
        self._buffer = FrameBuffer()
        self._transport: asyncio.Transport | None = None
        self._session: Session | None = None
        self._running: _Running | None = None
        self._cancelling = 0
        self._used = False
        self._tunnel: Relay | None = None
        self._deaf = False
        self._done = False
        self._linger: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._server.opened(self)
        if self._server.env.daemons.bar(transport):
            logger.warning("a connection from an agent's own process was refused")
            self._deaf = True
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        if self._deaf:
            return
        self._buffer.feed(data)
        while not self._deaf and self._tunnel is None:
            try:
                line = self._buffer.next()
            except FrameTooLong as error:
                self._send(frames.error_frame(None, frames.PARSE_ERROR, error.message))
                self._hang_up()
                return
            if line is None:
                return
            self._receive(line)

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._done = self._deaf = True
        if self._linger is not None:
            self._linger.cancel()
        self._server.closed(self)
        if self._tunnel is not None:
            self._tunnel.connection_lost(exc)
            return
        running = self._running
        if running is None:
            self._leave()
        elif running.phase == "grade":
            running.interrupted = True
            self._server.spawn(self.abort_call(), cleanup=True)

    def pause_writing(self) -> None:
        if self._transport is not None:
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    def close(self) -> None:
        """Close the stream once what was sent is out; the session parks or ends as usual."""
        self._done = self._deaf = True
        if self._transport is not None:
            self._transport.close()

    def stop(self) -> None:
        """Close the stream because the server stops; what runs does not park either."""
        if self._running is not None:
            self._running.interrupted = True
        self.close()

    def _hang_up(self) -> None:
        """Close after an error, reading on for a moment.

        Closing a socket with unread input resets it, which could take the error reply with it.
        """
        self._deaf = True
        self._buffer.rest()
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        if not transport.can_write_eof():
            self.close()
            return
        transport.write_eof()
        self._linger = asyncio.get_running_loop().call_later(LINGER_S, self.close)

    async def abort_call(self) -> None:
        """Interrupt user code that runs for this connection and wait for it, bounded.

        Code that swallows its cancellation is left behind: the call is answered and the session
        goes on without it.
        """
        running = self._running
        if running is None or running.task is None:
            return
        running.interrupted = True
        running.task.cancel()
        await asyncio.wait([running.task], timeout=CANCEL_GRACE_S)
        if not running.task.done():
            logger.warning("tasks.%s goes on after it was cancelled", running.phase)
            self._finish(running, error_line(running.id, running.fault()))

    def _receive(self, line: bytes) -> None:
        action = self._dispatch.receive(line)
        if isinstance(action, Refuse):
            if action.frame is not None:
                self._send(action.frame)
            if action.close:
                self._hang_up()
            return
        params = action.params
        match params:
            case methods.HelloParams():
                self._answer(action, lambda: self._hello(params))
            case methods.ListParams():
                self._answer(action, self._list)
            case methods.StartParams():
                self._prepare(action.id, params)
            case methods.GradeParams():
                running = _Running("grade", action.id)
                self._begin(running, self._grade(running, params))
            case methods.CancelParams():
                self._cancel(action.id)
            case methods.ByeParams():
                self._bye(action.id)
            case methods.TunnelParams():
                self._open_tunnel(action.id, params.capability)

    def _answer(self, call: Call, work: Callable[[], Any]) -> None:
        """Reply with what `work()` returns, or with the error it raises."""
        try:
            reply = result_line(call.id, work())
        except Exception as error:
            reply = error_line(call.id, error)
        self._send(reply)

    def _send(self, frame: bytes) -> None:
        if frame and self._transport is not None and not self._transport.is_closing():
            self._transport.write(frame)

    def _hello(self, params: methods.HelloParams) -> methods.HelloResult:
        wanted = params.session_id
        if wanted is not None and (self._session is None or wanted != self._session.id):
            if self._dispatch.busy:
                raise HudProtocolError(
                    frames.INVALID_REQUEST, "hello: a task call is still running on this session"
                )
            resumed = self._server.sessions.resume(wanted)
            self._leave()
            self._session = resumed
            self._used = True
        session = self._attached()
        env = self._server.env
        return methods.HelloResult(
            session.id,
            methods.EnvInfo(env.name, env.version),
            list(env.capabilities),
            PROTOCOL_VERSION,
        )

    def _list(self) -> dict[str, Any]:
        return {"tasks": self._server.env.manifest()}

    def _attached(self) -> Session:
        if self._session is None:
            self._session = self._server.sessions.open()
        return self._session

    def _begin(self, running: _Running, work: Coroutine[Any, Any, bytes]) -> None:
        self._running = running
        self._set_busy()
        running.task = self._server.spawn(self._run(running, work))

    async def _run(self, running: _Running, work: Coroutine[Any, Any, bytes]) -> None:
        try:
            reply = await work
        except asyncio.CancelledError:
            reply = error_line(running.id, running.fault() if running.interrupted else _cancelled())
        except Exception as error:
            failure = running.fault() if running.interrupted else error
            reply = error_line(running.id, failure)
        self._finish(running, reply)

    def _finish(self, running: _Running, reply: bytes) -> None:
        if self._running is not running:
            return
        self._running = None
        self._set_busy()
        self._send(reply)
        if self._done:
            self._leave()

    def _set_busy(self) -> None:
        self._dispatch.busy = self._running is not None or self._cancelling > 0

    def _prepare(self, request_id: RequestId | None, params: methods.StartParams) -> None:
        """Begin a task; a request that names none, or not its arguments, changes nothing."""
        try:
            episode = Episode(self._server.env.find(params.id), params.args)
            episode.bind()
        except Exception as error:
            self._send(error_line(request_id, error))
            return
        running = _Running("start", request_id)
        self._begin(running, self._start(running, episode))

    async def _start(self, running: _Running, episode: Episode) -> bytes:
        session = self._attached()
        self._used = True
        previous = session.take()
        if previous is not None:
            await previous.close()
        if self._server.env.daemons.is_exclusive:
            # One workspace or browser cannot wait in the middle of one episode and serve another.
            for parked in self._server.sessions.forget_parked():
                logger.warning("a parked task gives way to a new one")
                await parked.close()
        try:
            reply = result_line(running.id, await episode.start())
            if running.interrupted:
                raise running.fault()
        except BaseException:
            await episode.close()
            raise
        session.episode = episode
        return reply

    async def _grade(self, running: _Running, params: methods.GradeParams) -> bytes:
        session = self._attached()
        episode = session.take()
        if episode is None:
            if self._used:
                raise NoSuchSession("no task in progress")
            episode = self._server.sessions.adopt()
        self._used = True
        try:
            frame = await episode.grade(params.answer)
            if running.interrupted:
                raise running.fault()
            return result_line(running.id, frame)
        finally:
            await episode.close()

    def _cancel(self, request_id: RequestId | None) -> None:
        episode = None if self._session is None else self._session.take()
        self._cancelling += 1
        self._set_busy()
        self._server.spawn(self._cancel_all(request_id, episode), cleanup=True)

    async def _cancel_all(self, request_id: RequestId | None, episode: Episode | None) -> None:
        try:
            await self.abort_call()
            if episode is not None:
                await episode.close()
        finally:
            self._cancelling -= 1
            self._set_busy()
        self._send(result_line(request_id, methods.CancelResult()))

    def _bye(self, request_id: RequestId | None) -> None:
        self._deaf = True
        session, self._session = self._session, None
        episode = None if session is None else self._server.sessions.forget(session)
        self._server.spawn(self._end(request_id, episode), cleanup=True)

    async def _end(self, request_id: RequestId | None, episode: Episode | None) -> None:
        await self.abort_call()
        if episode is not None:
            await episode.close()
        self._send(result_line(request_id, methods.ByeResult()))
        self.close()

    def _leave(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            evicted = self._server.sessions.disconnect(session)
            if evicted is not None:
                self._server.spawn(evicted.close(), cleanup=True)

    def _open_tunnel(self, request_id: RequestId | None, name: str) -> None:
        transport = self._transport
        address = self._server.env.capability_address(name)
        daemon = self._server.env.daemons.find(name)
        if transport is None or (address is None and daemon is None):
            self._send(error_line(request_id, _no_such_capability(name)))
            self._hang_up()
            return
        near = self._tunnel = Relay()
        near.connection_made(transport)
        transport.pause_reading()
        self._server.spawn(self._stream(request_id, name, address, daemon, near))

    async def _stream(
        self,
        request_id: RequestId | None,
        name: str,
        address: tuple[str, int] | None,
        daemon: Daemon | None,
        near: Relay,
    ) -> None:
        try:
            far = await tunnel.dial(name, address, daemon)
        except HudProtocolError as error:
            self._send(error_line(request_id, error))
            self._tunnel = None
            self.resume_writing()
            self._hang_up()
            return
        self._send(result_line(request_id, methods.TunnelResult(name)))
        try:
            await tunnel.splice(near, far, self._buffer.rest)
        finally:
            self._server.closed(self)


def _cancelled() -> EnvironmentFault:
    return EnvironmentFault("the environment's code was cancelled by itself")


def _no_such_capability(name: str) -> HudProtocolError:
    return HudProtocolError(
        frames.INVALID_PARAMS, f"no capability {name[:120]!r} with a host and port"
    )
