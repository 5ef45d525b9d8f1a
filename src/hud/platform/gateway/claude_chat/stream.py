"""A streamed answer of the Messages API as one of Chat Completions, event by event."""

from __future__ import annotations

import time
from typing import Any

from hud._core import json
from hud.models.sse import EventCutter, EventTooLong, event_data
from hud.platform.gateway.claude_chat.reply import chat_error, chat_usage, finish_reason, mapping

_DONE = b"data: [DONE]\n\n"


class ChatStream:
    """Translates one answer.

    Args:
        tells_usage: Whether the client asked for a last event with the tokens.
    """

    def __init__(self, *, tells_usage: bool) -> None:
        self._tells_usage = tells_usage
        self._cutter = EventCutter()
        self._head: dict[str, Any] = {}
        self._usage: dict[str, Any] = {}
        self._stop_reason: Any = None
        self._blocks: dict[int, dict[str, Any]] = {}
        self._thoughts: dict[int, list[str]] = {}
        self._calls: dict[int, int] = {}

    def feed(self, data: bytes) -> bytes:
        """Take in more of the answer and return what the client gets of it."""
        try:
            events = [self._translated(event_data(event)) for event in self._cutter.cut(data)]
        except EventTooLong:
            error = {"message": "an event without an end", "type": "api_error"}
            return chat_event({"error": error})
        return b"".join(events)

    def _translated(self, data: bytes) -> bytes:
        try:
            read: Any = json.decode(data)
        except ValueError:
            return b""
        event = mapping(read)
        match event.get("type"):
            case "message_start":
                message = mapping(event.get("message"))
                self._head = {
                    "id": f"chatcmpl-{message.get('id') or ''}",
                    "object": "chat.completion.chunk",
                    "created": int(time.time()),
                    "model": message.get("model"),
                }
                self._usage |= mapping(message.get("usage"))
                return self._delta({"role": "assistant", "content": ""})
            case "content_block_start":
                return self._begun(_index(event), mapping(event.get("content_block")))
            case "content_block_delta":
                return self._more(_index(event), mapping(event.get("delta")))
            case "content_block_stop":
                return self._ended(_index(event))
            case "message_delta":
                said = mapping(event.get("usage"))
                self._usage |= {name: value for name, value in said.items() if value is not None}
                self._stop_reason = mapping(event.get("delta")).get("stop_reason")
                return b""
            case "message_stop":
                return self._over()
            case "error":
                return b"data: " + chat_error(data) + b"\n\n"
            case _:
                return b""

    def _begun(self, index: int, block: dict[str, Any]) -> bytes:
        self._blocks[index] = dict(block)
        if block.get("type") != "tool_use":
            return self._delta({"content": block["text"]}) if block.get("text") else b""
        place = self._calls[index] = len(self._calls)
        function = {"name": block.get("name"), "arguments": ""}
        call = {"index": place, "id": block.get("id"), "type": "function", "function": function}
        return self._delta({"tool_calls": [call]})

    def _more(self, index: int, delta: dict[str, Any]) -> bytes:
        block = self._blocks.setdefault(index, {})
        match delta.get("type"):
            case "text_delta":
                return self._delta({"content": delta.get("text")})
            case "input_json_delta":
                piece = delta.get("partial_json")
                block["has_arguments"] = block.get("has_arguments") or bool(piece)
                return self._arguments(index, piece)
            case "thinking_delta":
                self._thoughts.setdefault(index, []).append(str(delta.get("thinking") or ""))
                return self._delta({"reasoning_content": delta.get("thinking")})
            case "signature_delta":
                block["signature"] = delta.get("signature")
                return b""
            case _:
                return b""

    def _ended(self, index: int) -> bytes:
        block = self._blocks.pop(index, {})
        match block.get("type"):
            case "tool_use":
                if block.get("has_arguments"):
                    return b""
                return self._arguments(index, json.encode(block.get("input") or {}).decode())
            case "thinking" | "redacted_thinking":
                if (pieces := self._thoughts.pop(index, None)) is not None:
                    block["thinking"] = "".join(pieces)
                return self._delta({"reasoning_details": [block]})
            case _:
                return b""

    def _arguments(self, index: int, piece: Any) -> bytes:
        call = {"index": self._calls.get(index, 0), "function": {"arguments": piece}}
        return self._delta({"tool_calls": [call]})

    def _over(self) -> bytes:
        choice: dict[str, Any] = {
            "index": 0,
            "delta": {},
            "finish_reason": finish_reason(self._stop_reason) or "stop",
            "logprobs": None,
        }
        events = chat_event({**self._head, "choices": [choice]})
        if self._tells_usage:
            usage = chat_usage(self._usage)
            events += chat_event({**self._head, "choices": [], "usage": usage})
        return events + _DONE

    def _delta(self, delta: dict[str, Any]) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": None, "logprobs": None}
        return chat_event({**self._head, "choices": [choice]})


def chat_event(value: dict[str, Any]) -> bytes:
    """Return an event of a stream."""
    return b"data: " + json.encode(value) + b"\n\n"


def _index(event: dict[str, Any]) -> int:
    index: Any = event.get("index")
    return index if isinstance(index, int) else 0
