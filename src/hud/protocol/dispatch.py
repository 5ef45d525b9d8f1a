"""The server's side of a control session as a state machine: lines in, actions out.

Sans-I/O, so TCP, Unix sockets and memory share it. Deciding what a method may do at this moment
happens here; doing it (running user code, writing replies) belongs to the environment.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec
from msgspec import UNSET

from hud._core.errors import bounded
from hud.protocol import frames, methods
from hud.protocol.frames import HudProtocolError, RequestId


@dataclass(frozen=True, slots=True)
class Call:
    """A valid request to carry out. `id` is None for a notification, which gets no reply."""

    id: RequestId | None
    method: str
    params: methods.Params


@dataclass(frozen=True, slots=True)
class Refuse:
    """A frame that cannot be carried out: send `frame` if there is one, then close if asked."""

    frame: bytes | None
    close: bool = False


Action = Call | Refuse

_CONCURRENT = frozenset({methods.TASKS_CANCEL, methods.BYE, methods.HELLO})
_decoders = {name: msgspec.json.Decoder(kind) for name, kind in methods.PARAMS.items()}


class ServerSession:
    """Decide what each received line means, given what came before it on this connection.

    `busy` is set by the owner while a `tasks.start` or `tasks.grade` runs user code: until it is
    cleared only `tasks.cancel`, `bye` and a heartbeat are let through.
    """

    __slots__ = ("_first", "busy")

    def __init__(self) -> None:
        self._first = True
        self.busy = False

    def receive(self, line: bytes) -> Action:
        """Return what to do about one received line."""
        first, self._first = self._first, False
        try:
            return self._read(line, first)
        except HudProtocolError as error:
            known = frames.request_id(line) if error.code == frames.INVALID_REQUEST else None
            return Refuse(frames.error_frame(known, error.code, error.message), first)

    def _read(self, line: bytes, first: bool) -> Action:
        frame = frames.parse(line)
        if frame.method is UNSET:
            raise HudProtocolError(
                frames.INVALID_REQUEST, 'invalid request: no "method" in the frame'
            )
        request_id = None if frame.id is UNSET else frame.id
        wants_reply = frame.id is not UNSET

        def refuse(code: int, message: str) -> Refuse:
            reply = frames.error_frame(request_id, code, message) if wants_reply else None
            return Refuse(reply)

        method = frame.method
        decoder = _decoders.get(method)
        if decoder is None:
            return refuse(frames.METHOD_NOT_FOUND, f"unknown method: {bounded(method)}")
        if method == methods.TUNNEL_OPEN and not first:
            return refuse(
                frames.INVALID_REQUEST, "tunnel.open must be a connection's first request"
            )
        raw = b"{}" if frame.params is UNSET else bytes(frame.params)
        try:
            params = decoder.decode(b"{}" if raw == b"null" else raw)
        except UnicodeDecodeError as error:
            raise HudProtocolError(frames.PARSE_ERROR, f"frame is not UTF-8: {error}") from error
        except (msgspec.DecodeError, RecursionError) as error:
            return refuse(frames.INVALID_PARAMS, f"{method}: {bounded(str(error))}")
        if self.busy and method not in _CONCURRENT:
            return refuse(
                frames.INVALID_REQUEST, f"{method}: a task call is still running on this session"
            )
        return Call(request_id if wants_reply else None, method, params)
