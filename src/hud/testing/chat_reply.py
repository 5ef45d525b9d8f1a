"""What a Chat Completions double may answer, and how each answer is spelled on the wire.

Serving the answers is `chat_server`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from hud._core import json


@dataclass(frozen=True, slots=True)
class ChatReply:
    """One completion.

    Token counts that are None are counted in words. `token_ids [T]`, `logprobs [T]` and
    `prompt_token_ids [P]` are sent when the request asks for token ids.
    """

    content: str | None = ""
    reasoning: str | None = None
    refusal: str | None = None
    finish_reason: str = "stop"
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cached_tokens: int = 0
    prompt_token_ids: Sequence[int] = ()
    token_ids: Sequence[int] = ()
    logprobs: Sequence[float] = ()
    latency_s: float = 0.0


@dataclass(frozen=True, slots=True)
class ChatError:
    """A refusal by the API: an HTTP status with the error object that providers send."""

    status: int
    message: str = "the test server was told to fail"
    code: str | None = None
    headers: dict[str, str] = field(default_factory=dict[str, str])
    latency_s: float = 0.0


@dataclass(frozen=True, slots=True)
class RawReply:
    """Any bytes at all: HTML from a proxy, JSON cut in the middle, a completion without choices."""

    body: bytes
    status: int = 200
    content_type: str = "application/json"
    latency_s: float = 0.0


@dataclass(frozen=True, slots=True)
class HangUp:
    """The connection drops, after the first `after_bytes` of an answer when that is not 0."""

    after_bytes: int = 0
    latency_s: float = 0.0


Reply = str | ChatReply | ChatError | RawReply | HangUp


def completion(reply: ChatReply, request: dict[str, Any], number: int) -> dict[str, Any]:
    """Return the completion object for one request; `number` makes its id unique."""
    message: dict[str, Any] = {"role": "assistant", "content": reply.content}
    if reply.reasoning is not None:
        message["reasoning_content"] = reply.reasoning
    if reply.refusal is not None:
        message["refusal"] = reply.refusal
    choice: dict[str, Any] = {
        "index": 0,
        "message": message,
        "finish_reason": reply.finish_reason,
        "logprobs": _logprobs(reply) if request.get("logprobs") else None,
    }
    if request.get("return_token_ids"):
        choice["prompt_token_ids"] = list(reply.prompt_token_ids)
        choice["token_ids"] = list(reply.token_ids)
    return {
        "id": f"chatcmpl-{number}",
        "object": "chat.completion",
        "created": 0,
        "model": request.get("model"),
        "choices": [choice],
        "usage": usage(reply, request),
    }


def chunks(reply: ChatReply, request: dict[str, Any], number: int) -> Iterator[dict[str, Any]]:
    """Yield the completion piece by piece, as a streamed reply sends it."""
    base: dict[str, Any] = {
        "id": f"chatcmpl-{number}",
        "object": "chat.completion.chunk",
        "created": 0,
        "model": request.get("model"),
    }

    def piece(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
        return {**base, "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}

    yield piece({"role": "assistant", "content": ""})
    if reply.reasoning is not None:
        yield piece({"reasoning_content": reply.reasoning})
    for word in re.findall(r"\S+\s*|\s+", reply.content or ""):
        yield piece({"content": word})
    if reply.refusal is not None:
        yield piece({"refusal": reply.refusal})
    yield piece({}, reply.finish_reason)
    options = request.get("stream_options")
    if isinstance(options, dict) and cast("dict[str, Any]", options).get("include_usage"):
        yield {**base, "choices": [], "usage": usage(reply, request)}


def usage(reply: ChatReply, request: dict[str, Any]) -> dict[str, Any]:
    """Return the token counts of a reply."""
    prompt, answer = reply.prompt_tokens, reply.completion_tokens
    if prompt is None:
        prompt = len(request_text(request).split())
    if answer is None:
        answer = len((reply.content or "").split())
    return {
        "prompt_tokens": prompt,
        "completion_tokens": answer,
        "total_tokens": prompt + answer,
        "prompt_tokens_details": {"cached_tokens": reply.cached_tokens},
    }


def error_object(error: ChatError) -> dict[str, Any]:
    """Return the body of a refusal."""
    return {
        "error": {
            "message": error.message,
            "type": "invalid_request_error" if error.status < 500 else "server_error",
            "param": None,
            "code": error.code,
        }
    }


def event_stream(pieces: Iterator[dict[str, Any]]) -> bytes:
    """Spell a streamed reply as server-sent events."""
    lines = [b"data: " + json.encode(piece) + b"\n\n" for piece in pieces]
    return b"".join([*lines, b"data: [DONE]\n\n"])


def request_text(request: dict[str, Any]) -> str:
    """Return the text of every message of a request, oldest first."""
    texts: list[str] = []
    for message in cast("list[dict[str, Any]]", request.get("messages") or []):
        content: Any = message.get("content")
        if isinstance(content, str):
            texts.append(content)
        elif isinstance(content, list):
            parts = cast("list[dict[str, Any]]", content)
            texts.extend(str(part.get("text")) for part in parts if part.get("type") == "text")
    return "\n".join(texts)


def letter_count(request: dict[str, Any]) -> str:
    """Answer "How many 'r's are in 'strawberry'?"; "I do not know" where nothing is to be counted.

    The letter and the word are what stands in quotes; without quotes, the first lone letter and
    the last word of two letters or more.
    """
    text = request_text(request)
    quoted = re.findall(r"['\"‘“`](\w+)['\"’”`]", text)
    letters = [word for word in quoted if len(word) == 1]
    words = [word for word in quoted if len(word) > 1]
    if not letters:
        letters = re.findall(r"\b([B-HJ-Zb-hj-z])(?:'?s)?\b", text)
    if not words:
        words = re.findall(r"\b(\w{2,})\b", text)
    if not letters or not words:
        return "I do not know"
    return str(words[-1].lower().count(letters[0].lower()))


def _logprobs(reply: ChatReply) -> dict[str, Any]:
    return {
        "content": [{"token": "", "logprob": value, "top_logprobs": []} for value in reply.logprobs]
    }
