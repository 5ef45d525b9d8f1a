"""What models and tools said, in the message form of OpenTelemetry's GenAI conventions.

Only asked for where somebody opted in. Pictures and sounds are named, not sent; long texts are
cut. The form follows `gen_ai.input.messages` and `gen_ai.output.messages` of the conventions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from hud._core import json

_TEXT_LIMIT = 20_000
_ATTRIBUTE_LIMIT = 200_000
_MAX_DEPTH = 40
_MEDIA = ("image", "audio")


def as_object(value: object) -> Mapping[str, Any]:
    """Return a JSON object as it is, anything else as an empty one."""
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def as_list(value: object) -> Sequence[Any]:
    """Return a JSON array as it is, anything else as an empty one."""
    return cast("list[Any]", value) if isinstance(value, list) else ()


def input_messages(payload: Mapping[str, Any]) -> str | None:
    """Return the prompt a step gave, as JSON; None when it gave none."""
    messages = [
        {"role": _role(message), "parts": _parts(message.get("content"))}
        for message in map(as_object, as_list(payload.get("messages")))
    ]
    return encoded(messages) if messages else None


def output_messages(payload: Mapping[str, Any]) -> str | None:
    """Return what a model's turn said and called, as JSON; None when it said nothing."""
    parts: list[dict[str, Any]] = []
    for kind, name in (("reasoning", "reasoning"), ("text", "content")):
        said = payload.get(name)
        if isinstance(said, str) and said:
            parts.append({"type": kind, "content": _cut(said)})
    for call in map(as_object, as_list(payload.get("tool_calls"))):
        part = {"type": "tool_call", "id": call.get("id"), "name": call.get("name")}
        parts.append({**part, "arguments": _plain(call.get("arguments"))})
    if not parts:
        return None
    reason = payload.get("finish_reason")
    finish = reason if isinstance(reason, str) else "stop"
    return encoded([{"role": "assistant", "parts": parts, "finish_reason": finish}])


def call_arguments(payload: Mapping[str, Any]) -> str | None:
    """Return what a tool was called with, as JSON."""
    arguments = as_object(payload.get("call")).get("arguments")
    return None if arguments is None else encoded(_plain(arguments))


def call_result(payload: Mapping[str, Any]) -> str | None:
    """Return what a tool answered, as JSON."""
    result = as_object(payload.get("result"))
    if not result:
        return None
    return encoded({"content": _parts(result.get("content")), "is_error": result.get("isError")})


def encoded(value: Any) -> str | None:
    """Return `value` as JSON for an attribute; None when it is too long for one."""
    text = json.encode(value).decode()
    return text if len(text) <= _ATTRIBUTE_LIMIT else None


def _role(message: Mapping[str, Any]) -> str:
    role = message.get("role")
    return role if isinstance(role, str) else "user"


def _parts(content: object) -> list[dict[str, Any]]:
    blocks = as_list(content) or ([content] if isinstance(content, dict | str) else [])
    return [_part(block) for block in blocks]


def _part(block: object) -> dict[str, Any]:
    if isinstance(block, str):
        return {"type": "text", "content": _cut(block)}
    fields = as_object(block)
    kind = fields.get("type")
    if kind == "text":
        return {"type": "text", "content": _plain(fields.get("text"))}
    if kind in _MEDIA:
        return {"type": kind, "mime_type": fields.get("mimeType"), "left_out": True}
    return {"type": kind if isinstance(kind, str) else "unknown", "content": _plain(fields)}


def _plain(value: Any, depth: int = 0) -> Any:
    """Return JSON with its long texts cut and its media left out."""
    if isinstance(value, str):
        return _cut(value)
    if depth == _MAX_DEPTH:
        return "…"
    if isinstance(value, list):
        return [_plain(item, depth + 1) for item in cast("list[Any]", value)]
    if isinstance(value, dict):
        fields = cast("dict[str, Any]", value)
        if fields.get("type") in _MEDIA:
            return {"type": fields["type"], "left_out": True}
        return {key: _plain(item, depth + 1) for key, item in fields.items()}
    return value


def _cut(text: str) -> str:
    return text if len(text) <= _TEXT_LIMIT else f"{text[: _TEXT_LIMIT - 1]}…"
