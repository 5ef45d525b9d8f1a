"""What a provider's error becomes for the client: its own words where they are about the call.

What is about the platform's own key is not: a client would look for the fault in its key. Answers
that are no error of the dialect (a page of HTML from a proxy) are told in one sentence.
"""

from __future__ import annotations

from typing import Any, cast

from hud._core import json
from hud.models.asgi import Refusal
from hud.models.passed_on import RefusedByApi
from hud.models.provider import Dialect
from hud.models.wire import Asked, response_headers
from hud.platform.gateway.claude_chat.reply import chat_error
from hud.platform.gateway.plan import Plan
from hud.platform.gateway.served import Route

_KEY_CODES = (b"API_KEY_INVALID", b"API_KEY_EXPIRED")


def told(
    refused: RefusedByApi, asked: Asked, plan: Plan, route: Route
) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    """Return the status, the headers and the body to answer with.

    Raises:
        Refusal: in place of an error that would mislead.
    """
    where = f"the provider {route.provider.name!r}"
    if refused.status == 401 or any(code in refused.body for code in _KEY_CODES):
        message = (
            f"{where} refuses the key this platform has for it (status {refused.status}); "
            "whoever runs the platform gives it anew with hud providers add"
        )
        raise Refusal(502, "provider_key_refused", message)
    if _lacks_responses(refused, asked):
        message = (
            f"{where} has no Responses API (it answered status {refused.status}): "
            f"ask for {route.model!r} through /chat/completions"
        )
        raise Refusal(400, "unsupported_dialect", message)
    headers = response_headers(refused.headers.items())
    if not _is_error_object(refused.body):
        failure = refused.failure
        message = f"{where} answered status {refused.status}: {failure.detail}"
        again = failure.may_pass
        seconds = failure.retry_after_s
        raise Refusal(
            refused.status, "provider_error", message, may_pass=again, retry_after_s=seconds
        )
    body = chat_error(refused.body) if plan.is_translated else refused.body
    return refused.status, headers, body


def error_event(dialect: Dialect, message: str) -> bytes:
    """Return the event by which a stream that has begun says that it failed."""
    match dialect:
        case Dialect.MESSAGES:
            error: dict[str, Any] = {"type": "api_error", "message": message}
            return (
                b"event: error\ndata: " + json.encode({"type": "error", "error": error}) + b"\n\n"
            )
        case Dialect.RESPONSES:
            said = {"type": "error", "code": "server_error", "message": message, "param": None}
            return b"event: error\ndata: " + json.encode(said) + b"\n\n"
        case Dialect.GEMINI:
            error = {"code": 502, "message": message, "status": "UNAVAILABLE"}
            return b"data: " + json.encode({"error": error}) + b"\n\n"
        case Dialect.CHAT:
            error = {"message": message, "type": "server_error", "code": "provider_broke_off"}
            return b"data: " + json.encode({"error": error}) + b"\n\n"


def _lacks_responses(refused: RefusedByApi, asked: Asked) -> bool:
    """Tell a server without that API from one that knows no such model or reply."""
    if asked.dialect is not Dialect.RESPONSES or refused.status not in (404, 405, 501):
        return False
    text = refused.body.lower()
    return b"model" not in text and b"previous_response" not in text


def _is_error_object(body: bytes) -> bool:
    try:
        read: Any = json.decode(body)
    except ValueError:
        return False
    if isinstance(read, list):  # Google's, to a stream that is no stream of events
        held = cast("list[Any]", read)
        read = held[0] if held else None
    return isinstance(read, dict) and bool({"error", "message", "detail"} & read.keys())
