"""JSON-RPC 2.0 frames: how requests, replies and errors look on the wire.

Typed and sans-I/O. The meaning of methods is `methods`; the order they may come in is `dispatch`.
"""

from __future__ import annotations

import json as stdlib_json
from typing import Any, cast

import msgspec
from msgspec import UNSET, Raw, UnsetType

from hud._core import json
from hud._core.errors import HudError, bounded
from hud._core.outcome import Outcome
from hud._core.redact import redact
from hud.protocol.framing import MAX_FRAME_BYTES

RequestId = int | str

PARSE_ERROR = -32700
INVALID_REQUEST = -32600
METHOD_NOT_FOUND = -32601
INVALID_PARAMS = -32602
SERVER_ERROR = -32000


class ErrorData(msgspec.Struct, frozen=True, omit_defaults=True):
    """What our servers add to an error: which boundary broke. Older peers send none."""

    boundary: str | None = None
    code: str | None = None
    hint: str | None = None


class ErrorBody(msgspec.Struct, frozen=True):
    """The `error` member of a reply. `code` and `message` are always sent."""

    code: int = SERVER_ERROR
    message: str = ""
    data: Any = UNSET


class Incoming(msgspec.Struct, frozen=True):
    """Any frame as received: a request, a notification, a reply or an error reply."""

    jsonrpc: str | UnsetType = UNSET
    id: RequestId | UnsetType | None = UNSET
    method: str | UnsetType = UNSET
    params: Raw | UnsetType = UNSET
    result: Raw | UnsetType = UNSET
    error: ErrorBody | UnsetType | None = UNSET


class Request(msgspec.Struct, frozen=True):
    """A request as sent."""

    id: RequestId
    method: str
    params: Any
    jsonrpc: str = "2.0"


class Reply(msgspec.Struct, frozen=True):
    """A successful reply as sent."""

    id: RequestId
    result: Any
    jsonrpc: str = "2.0"


class ErrorReply(msgspec.Struct, frozen=True):
    """An error reply as sent; `id` is None when the request's own id is unknown."""

    id: RequestId | None
    error: ErrorBody
    jsonrpc: str = "2.0"


class HudProtocolError(HudError, RuntimeError):
    """The peer answered with an error, or sent something that is not this protocol.

    Attributes:
        code: The JSON-RPC error code (not the stable name other errors carry).
        boundary: The outcome the peer named for it, or None.
    """

    def __init__(
        self,
        code: int,
        message: str,
        *,
        boundary: Outcome | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        if code == INVALID_PARAMS:
            self.exit_code = 2
        self.code: int = code  # type: ignore[misc]
        self.boundary = boundary

    @classmethod
    def from_body(cls, body: ErrorBody) -> HudProtocolError:
        """Build the exception for a received error, reading our extra data where present."""
        try:
            held = isinstance(body.data, dict)
            data = msgspec.convert(body.data, ErrorData) if held else ErrorData()
            boundary = Outcome(data.boundary) if data.boundary else None
        except (msgspec.ValidationError, ValueError):
            data, boundary = ErrorData(), None
        return cls(body.code, body.message, boundary=boundary, hint=data.hint)


_incoming = msgspec.json.Decoder(Incoming)


def parse(line: bytes) -> Incoming:
    """Read one frame.

    What Python's own `json` writes beyond the standard is understood, because peers use it: NaN
    and the infinities become null, lone surrogates become U+FFFD.

    Raises:
        HudProtocolError: -32700 for what is not JSON, -32600 for JSON that is no frame.
    """
    try:
        try:
            frame = _incoming.decode(line)
        except msgspec.ValidationError:
            raise
        except msgspec.DecodeError:
            frame = _incoming.decode(_standard(line))
    except msgspec.ValidationError as error:
        raise HudProtocolError(INVALID_REQUEST, f"invalid request: {error}") from error
    except (ValueError, RecursionError) as error:
        raise HudProtocolError(PARSE_ERROR, f"frame is not JSON: {bounded(str(error))}") from error
    if frame.jsonrpc != "2.0":
        raise HudProtocolError(INVALID_REQUEST, 'invalid request: "jsonrpc" must be "2.0"')
    return frame


def request_id(line: bytes) -> RequestId | None:
    """Return the id in a frame that is otherwise unusable, so that its sender gets an answer."""
    try:
        frame = json.decode(line)
    except ValueError:
        return None
    found = cast("dict[str, Any]", frame).get("id") if isinstance(frame, dict) else None
    return found if isinstance(found, int | str) and not isinstance(found, bool) else None


def _standard(line: bytes) -> bytes:
    """Rewrite a frame in Python's dialect of JSON as standard JSON.

    Raises:
        ValueError: when it is not JSON in that dialect either.
        RecursionError: when it is nested too deeply.
    """
    return json.encode(stdlib_json.loads(line.decode("utf-8")))


def encode(frame: Request | Reply | ErrorReply) -> bytes:
    """Return the frame as one line with its newline.

    Raises:
        HudProtocolError: when the frame exceeds 16 MiB or holds something JSON cannot.
    """
    try:
        data = json.encode(frame)
    except (TypeError, ValueError) as error:
        raise HudProtocolError(SERVER_ERROR, f"frame cannot be sent: {error}") from error
    if len(data) > MAX_FRAME_BYTES:
        raise HudProtocolError(
            SERVER_ERROR, f"frame of {len(data)} bytes exceeds the limit of {MAX_FRAME_BYTES}"
        )
    return data + b"\n"


def error_frame(
    request_id: RequestId | None,
    code: int,
    message: str,
    *,
    boundary: Outcome | None = None,
    hint: str | None = None,
) -> bytes:
    """Return an error reply as one line, without secrets."""
    data: Any = UNSET
    if boundary or hint:
        data = ErrorData(boundary=boundary and boundary.value, hint=hint and redact(hint))
    return encode(ErrorReply(request_id, ErrorBody(code, redact(bounded(message, 8_000)), data)))
