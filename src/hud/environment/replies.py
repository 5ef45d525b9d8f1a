"""Error replies of a served environment: which exception becomes which code and boundary.

Decides nothing about sessions; secrets are taken out where the frame is built.
"""

from __future__ import annotations

from typing import Any

from hud._core.errors import Fault, HudError, InputError
from hud._core.outcome import Outcome
from hud.environment.sessions import NoSuchSession
from hud.protocol import frames
from hud.protocol.frames import HudProtocolError, RequestId


def result_line(request_id: RequestId | None, result: Any) -> bytes:
    """Return a successful reply as one line; nothing for a notification.

    Raises:
        HudProtocolError: when the result exceeds the frame limit or cannot be JSON.
    """
    if request_id is None:
        return b""
    try:
        return frames.encode(frames.Reply(request_id, result))
    except HudProtocolError as error:
        raise HudProtocolError(
            error.code, error.message, boundary=Outcome.ENVIRONMENT, hint=error.hint
        ) from error


def error_line(request_id: RequestId | None, error: BaseException) -> bytes:
    """Return an exception as the error reply the protocol asks for; nothing for a notification."""
    if request_id is None:
        return b""
    boundary: Outcome | None
    match error:
        case HudProtocolError():
            code, boundary = error.code, error.boundary
        case InputError():
            code, boundary = frames.INVALID_PARAMS, Outcome.ENVIRONMENT
        case NoSuchSession():
            code, boundary = frames.INVALID_REQUEST, None
        case Fault():
            code, boundary = frames.SERVER_ERROR, error.outcome
        case _:
            code, boundary = frames.SERVER_ERROR, Outcome.ENVIRONMENT
    hinted = isinstance(error, HudError)
    text = error.message if hinted else f"{type(error).__qualname__}: {error}"
    hint = error.hint if hinted else None
    return frames.error_frame(request_id, code, text, boundary=boundary, hint=hint)
