"""The `openai` SDK: clients, failures and requests, for Chat Completions and for Responses.

It takes a third of a second to import, so agents import this module once per process, before
their first request.
"""

from __future__ import annotations

import inspect
from typing import Any, cast

import openai
from openai import AsyncOpenAI
from openai.resources.chat.completions import AsyncCompletions

from hud.agents import stainless
from hud.agents.connections import ClientMaker
from hud.agents.responses_reply import FailedReply
from hud.models.endpoint import Endpoint
from hud.models.failure import CallFailure

_KNOWN = frozenset(inspect.signature(AsyncCompletions.create).parameters)


def _make(endpoint: Endpoint) -> AsyncOpenAI:
    return stainless.make_client(AsyncOpenAI, endpoint, openai)


CLIENTS: ClientMaker[AsyncOpenAI] = ClientMaker(_make, stainless.close_client)


def read_failure(error: BaseException) -> CallFailure | None:
    """Read an exception of the SDK, or a reply that says it failed; None for any other."""
    if isinstance(error, FailedReply):
        return error.failure
    return stainless.read_failure(error, openai)


def request_arguments(completion_kwargs: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of a `create` call; what it has no argument for goes into the body."""
    extra = {key: value for key, value in completion_kwargs.items() if key not in _KNOWN}
    if not extra:
        return dict(completion_kwargs)
    known = {key: value for key, value in completion_kwargs.items() if key in _KNOWN}
    known["extra_body"] = {**extra, **(known.get("extra_body") or {})}
    return known


async def complete(client: AsyncOpenAI, arguments: dict[str, Any]) -> bytes:
    """Ask for a chat completion and return the reply's body, unread.

    Leaving the SDK's typed reply unbuilt saves CPU time, and fields it does not know are kept.
    Messages and tools are sent as they are: walking a long conversation by the SDK's types
    changes nothing about it and costs more than all else.

    Raises:
        OpenAIError: when the request fails.
    """
    rest = dict(arguments)
    body = {name: rest.pop(name) for name in ("messages", "tools") if name in rest}
    rest["extra_body"] = {**body, **(rest.get("extra_body") or {})}
    create = cast("Any", client.chat.completions.with_raw_response.create)
    reply = await create(messages=(), **rest)
    return cast("bytes", reply.http_response.content)


async def respond(client: AsyncOpenAI, body: dict[str, Any], headers: dict[str, str]) -> bytes:
    """Ask for a response and return the reply's body, unread.

    The body is sent as it is: walking a long conversation by the SDK's types changes nothing
    about it and costs more than all else.

    Raises:
        OpenAIError: when the request fails.
    """
    create = cast("Any", client.responses.with_raw_response.create)
    reply = await create(extra_body=body, extra_headers=headers or None)
    return cast("bytes", reply.http_response.content)
