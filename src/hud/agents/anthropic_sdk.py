"""The `anthropic` SDK: clients, failures and streamed requests.

It takes long to import, so agents import this module once per process, before their first
request.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import anthropic
from anthropic import AsyncAnthropic, AsyncStream, BadRequestError

from hud._core import json
from hud.agents import stainless
from hud.agents.connections import ClientMaker
from hud.agents.messages_stream import ReplyDraft
from hud.models.endpoint import Endpoint
from hud.models.failure import CallFailure, excerpt

BEDROCK = "aws"
BEDROCK_TOKEN = "AWS_BEARER_TOKEN_BEDROCK"

_LARGEST_BODY = 64 << 20
_STATUS = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "timeout_error": 504,
    "overloaded_error": 529,
    "throttlingException": 429,
    "modelTimeoutException": 504,
    "serviceUnavailableException": 503,
    "validationException": 400,
}


class StreamFailed(Exception):
    """A stream that ended in a failure instead of a reply."""

    def __init__(self, failure: CallFailure) -> None:
        super().__init__(failure.detail)
        self.failure = failure


class NotAReply(Exception):
    """An answer that is none of the Messages API; the message is an excerpt of it."""


def _make(endpoint: Endpoint) -> Any:
    if endpoint.provider == BEDROCK:
        return _make_bedrock(endpoint)
    # The SDK itself adds /v1, which users are used to writing.
    base_url = endpoint.base_url.rstrip("/").removesuffix("/v1")
    return stainless.make_client(AsyncAnthropic, replace(endpoint, base_url=base_url), anthropic)


def _make_bedrock(endpoint: Endpoint) -> Any:
    from anthropic.lib.bedrock import AsyncAnthropicBedrock

    from hud._core.settings import read_settings
    from hud.models.endpoint import setting

    settings = read_settings()
    keys: dict[str, Any] = {"api_key": endpoint.api_key}
    if endpoint.key_variable != BEDROCK_TOKEN:
        keys = {
            "api_key": None,
            "aws_access_key": settings.aws_access_key_id,
            "aws_secret_key": endpoint.api_key,
            "aws_session_token": setting(settings, "AWS_SESSION_TOKEN"),
        }
    region = endpoint.base_url.split(".")[1]
    return stainless.make_client(
        AsyncAnthropicBedrock, endpoint, anthropic, aws_region=region, **keys
    )


CLIENTS: ClientMaker[Any] = ClientMaker(_make, stainless.close_client)


def read_failure(error: BaseException) -> CallFailure | None:
    """Read an exception of the SDK, or of `stream`; None for any other."""
    if isinstance(error, StreamFailed):
        return error.failure
    failure = stainless.read_failure(error, anthropic)
    if failure is None or not isinstance(error, anthropic.APIStatusError):
        return failure
    return _named(failure, error.body)


def is_picture_refused(error: BaseException) -> bool:
    """Tell whether a request was refused for a picture in it."""
    if not isinstance(error, BadRequestError):
        return False
    return "image" in excerpt(error.body if error.body is not None else "").lower()


async def stream(
    client: Any, request: dict[str, Any], *, betas: list[str], headers: dict[str, str]
) -> dict[str, Any]:
    """Ask for a message, streamed, and return the whole of it as JSON.

    Features in beta are asked for through the SDK's beta resource.

    Raises:
        AnthropicError: when the request fails.
        StreamFailed: when the reply breaks off.
        NotAReply: when what comes is no reply.
    """
    arguments: dict[str, Any] = {**request, "stream": True}
    if headers:
        arguments["extra_headers"] = headers
    if betas:
        events: Any = await client.beta.messages.create(**arguments, betas=betas)
    else:
        events = await client.messages.create(**arguments)
    try:
        return await _whole(events)
    finally:
        await events.close()


async def _whole(events: Any) -> dict[str, Any]:
    kind = events.response.headers.get("content-type", "")
    if "text/event-stream" in kind:
        draft = await _from_lines(events.response)
    elif "application/vnd.amazon.eventstream" in kind:
        draft = ReplyDraft()
        async for event in events:
            _take(draft, event.to_dict())
    else:
        return await _unstreamed(events.response)
    if not draft.is_whole:
        raise StreamFailed(CallFailure("cut", "the stream ended before the reply did"))
    return draft.reply()


async def _from_lines(response: Any) -> ReplyDraft:
    """Read the SDK's lines without its models, which cost more than all the rest."""
    draft = ReplyDraft()
    async for line in AsyncStream.raw_events(response):
        if not line.data:
            continue
        try:
            event = json.decode(line.data)
        except ValueError:
            raise NotAReply(f"an event that is not JSON: {excerpt(line.data)}") from None
        if not isinstance(event, dict):
            raise NotAReply(excerpt(line.data))
        _take(draft, cast("dict[str, Any]", event))
    return draft


def _take(draft: ReplyDraft, event: dict[str, Any]) -> None:
    if event.get("type") == "error":
        raise StreamFailed(_named(CallFailure("status", excerpt(event), status=200), event))
    try:
        draft.add(event)
    except ValueError as error:
        raise NotAReply(excerpt(str(error))) from error


async def _unstreamed(response: Any) -> dict[str, Any]:
    """Return the reply of a server that does not stream."""
    body = bytearray()
    async for piece in response.aiter_bytes():
        body += piece
        if len(body) > _LARGEST_BODY:
            raise NotAReply(f"more than {_LARGEST_BODY} bytes")
    try:
        reply = json.decode(bytes(body))
    except ValueError:
        raise NotAReply(f"not JSON: {excerpt(bytes(body))}") from None
    if not isinstance(reply, dict):
        raise NotAReply(excerpt(bytes(body)))
    return cast("dict[str, Any]", reply)


def _named(failure: CallFailure, body: object) -> CallFailure:
    """Return a failure with the API's own word for it, and that word's status in a stream."""
    held = cast("dict[str, Any]", body) if isinstance(body, dict) else {}
    inner = held.get("error")
    said = cast("dict[str, Any]", inner) if isinstance(inner, dict) else {}
    kind = said.get("type")
    if not isinstance(kind, str):
        return failure
    status = failure.status or 0
    return replace(
        failure,
        status=status if status >= 400 else _STATUS.get(kind, 500),
        code=kind,
    )
