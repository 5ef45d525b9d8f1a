"""A whole answer of the Messages API as one of Chat Completions, and its errors."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, cast

from hud._core import json
from hud.models.failure import excerpt

_FINISH = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "pause_turn": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}
_THOUGHTS = ("thinking", "redacted_thinking")


def chat_reply(data: bytes) -> bytes:
    """Return the completion for a message; something that is no message comes back as it is."""
    try:
        read: Any = json.decode(data)
    except ValueError:
        return data
    if not isinstance(read, dict):
        return data
    message = cast("dict[str, Any]", read)
    if message.get("type") == "error":
        return chat_error(data)
    said = chat_message(objects(message.get("content")))
    choice = {
        "index": 0,
        "message": said,
        "finish_reason": finish_reason(message.get("stop_reason")),
        "logprobs": None,
    }
    return json.encode(
        {
            "id": f"chatcmpl-{message.get('id') or ''}",
            "object": "chat.completion",
            "created": int(time.time()),
            "model": message.get("model"),
            "choices": [choice],
            "usage": chat_usage(mapping(message.get("usage"))),
        }
    )


def chat_message(blocks: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the blocks of an answer as a message; thoughts can be given back with their seal."""
    texts = [str(block.get("text") or "") for block in blocks if block.get("type") == "text"]
    calls = [tool_call(block) for block in blocks if block.get("type") == "tool_use"]
    thoughts = [block for block in blocks if block.get("type") in _THOUGHTS]
    said: dict[str, Any] = {
        "role": "assistant",
        "content": "".join(texts) if texts or not calls else None,
        "refusal": None,
    }
    if calls:
        said["tool_calls"] = calls
    if thoughts:
        said["reasoning_content"] = "".join(str(each.get("thinking") or "") for each in thoughts)
        said["reasoning_details"] = thoughts
    return said


def tool_call(block: Mapping[str, Any]) -> dict[str, Any]:
    """Return a call of a tool."""
    arguments = json.encode(block.get("input") or {}).decode()
    function = {"name": block.get("name"), "arguments": arguments}
    return {"id": block.get("id"), "type": "function", "function": function}


def finish_reason(stop_reason: Any) -> str | None:
    """Return why the model stopped, in the other dialect's word."""
    return None if stop_reason is None else _FINISH.get(str(stop_reason), "stop")


def chat_usage(usage: Mapping[str, Any]) -> dict[str, Any]:
    """Return the tokens of an answer; the prompt's hold what came from the cache."""
    read = count(usage, "cache_read_input_tokens")
    written = count(usage, "cache_creation_input_tokens")
    prompt = count(usage, "input_tokens") + read + written
    completion = count(usage, "output_tokens")
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": read, "cache_write_tokens": written},
    }


def chat_error(data: bytes) -> bytes:
    """Return an error of the Messages API in the other dialect's shape."""
    try:
        read: Any = json.decode(data)
    except ValueError:
        read = data
    held = mapping(mapping(read).get("error"))
    kind = held.get("type")
    message = held.get("message")
    error = {
        "message": message if isinstance(message, str) else excerpt(read),
        "type": kind if isinstance(kind, str) else "api_error",
        "param": None,
        "code": kind if isinstance(kind, str) else None,
    }
    return json.encode({"error": error})


def count(usage: Mapping[str, Any], name: str) -> int:
    """Return a count of tokens, 0 where there is none."""
    value = usage.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) else 0


def objects(value: Any) -> list[dict[str, Any]]:
    """Return the objects of a list, none for anything else."""
    held = cast("list[Any]", value) if isinstance(value, list) else []
    return [cast("dict[str, Any]", item) for item in held if isinstance(item, dict)]


def mapping(value: Any) -> dict[str, Any]:
    """Return an object, an empty one for anything else."""
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}
