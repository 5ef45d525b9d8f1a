"""Tokens that a reply says it took, read while it passes: streamed or whole, in any dialect.

The reply itself is neither kept nor changed, and an event that says nothing of tokens is not even
decoded: this runs for every piece of every answer a gateway passes on.
"""

from __future__ import annotations

from typing import Any, cast

import msgspec

from hud._core import json
from hud.models.failure import excerpt
from hud.models.provider import Dialect
from hud.models.sse import EventCutter, EventTooLong, event_data, is_said, is_usage_event
from hud.trace.steps import Usage

MAX_REPLY_BYTES = 64 * 1024 * 1024
_SAYS_ERROR = b'"error"'


class _Whole(msgspec.Struct):
    """What is read of a whole reply; the rest of it is skipped without being built."""

    model: Any = None
    modelVersion: Any = None
    id: Any = None
    status: Any = None
    error: Any = None
    usage: Any = None
    usageMetadata: Any = None


_wholes: msgspec.json.Decoder[_Whole | list[_Whole]] = msgspec.json.Decoder(_Whole | list[_Whole])


class UsageReader:
    """Reads the usage of one reply as its bytes pass.

    Args:
        content_type: The reply's; tells a stream of events from a whole answer.
        hides_usage: Whether the event that holds nothing but usage is kept from the client, who
            did not ask for it.

    Attributes:
        model: Which model answered, by the reply's own word.
        reply_id: The id of a reply of the Responses API, by which the next turn refers to it.
        error: What the API said went wrong after it had begun to answer, None for nothing.
        is_complete: Whether a stream came to the end that its dialect has.
        events: How many events of a stream came so far.
        size_bytes: How much of the reply came so far.
    """

    def __init__(self, dialect: Dialect, content_type: str, *, hides_usage: bool = False) -> None:
        self.model: str | None = None
        self.reply_id: str | None = None
        self.error: str | None = None
        self.is_complete = False
        self._dialect = dialect
        self._is_stream = "event-stream" in content_type.lower()
        self._cutter = EventCutter() if self._is_stream else None
        self._hides = hides_usage and self._is_stream
        self._field = b'"usageMetadata"' if dialect is Dialect.GEMINI else b'"usage"'
        self._usage: dict[str, Any] = {}
        self._whole = bytearray()
        self.events = 0
        self.size_bytes = 0
        self._has_model = False

    def take(self, data: bytes) -> bytes:
        """Take in the next piece of the reply and return what the client gets of it now."""
        self.size_bytes += len(data)
        cutter = self._cutter
        if cutter is None:
            if self._is_stream:
                return data
            if self.size_bytes <= MAX_REPLY_BYTES:
                self._whole += data
            else:
                self._whole.clear()
            return data
        try:
            if not self._hides:
                for event in cutter.cut(data):
                    self._look(event)
                return data
            return b"".join([event for event in cutter.cut(data) if self._is_shown(event)])
        except EventTooLong:
            self._cutter = None
            return cutter.rest() if self._hides else data

    def rest(self) -> bytes:
        """End the reading; return what was held back, which is an event without an end."""
        held = b"" if self._cutter is None else self._cutter.rest()
        if held:
            self._look(held)
        elif not self._is_stream:
            self._look_at_whole()
        return held if self._hides else b""

    def usage(self) -> Usage | None:
        """Return the tokens as far as they were told, None where they were not."""
        return usage_of(self._dialect, self._usage)

    def _is_shown(self, event: bytes) -> bool:
        return not (self._look(event) and is_usage_event(event))

    def _look(self, event: bytes) -> bool:
        """Decode an event only where it can say something that counts; tell if it says usage."""
        self.events += 1
        says_usage = is_said(self._field, event)
        if says_usage or not self._has_model or _SAYS_ERROR in event:
            self._read(event_data(event))
        elif b"[DONE]" in event or b"message_stop" in event:
            self.is_complete = True
        return says_usage

    def _read(self, data: bytes) -> None:
        if data == b"[DONE]":
            self.is_complete = True
        try:
            read: Any = json.decode(data)
        except ValueError:
            return
        if not isinstance(read, dict):
            return
        event = cast("dict[str, Any]", read)
        inner = _mapping(event.get("response")) or _mapping(event.get("message"))
        self._name(inner or event)
        kind = event.get("type")
        failed = inner.get("error")
        if kind in ("error", "response.failed") or event.get("error"):
            self.error = excerpt(failed or event)
        if kind in ("response.completed", "response.incomplete", "message_stop"):
            self.is_complete = True
        for holder in (inner, event):
            self._add(holder)

    def _add(self, holder: dict[str, Any]) -> None:
        """Later events say more, or the same again: what they leave out stands."""
        name = "usageMetadata" if self._dialect is Dialect.GEMINI else "usage"
        said = _mapping(holder.get(name))
        self._usage |= {key: value for key, value in said.items() if value is not None}

    def _name(self, holder: dict[str, Any]) -> None:
        model = holder.get("model") or holder.get("modelVersion")
        if isinstance(model, str) and model:
            self.model, self._has_model = model, True
        if self._dialect is Dialect.RESPONSES and isinstance(holder.get("id"), str):
            self.reply_id = holder["id"]

    def _look_at_whole(self) -> None:
        try:
            read = _wholes.decode(self._whole)
        except (msgspec.DecodeError, RecursionError):
            return
        finally:
            self._whole = bytearray()
        # Gemini streams a list where it is not asked for events.
        for reply in read if isinstance(read, list) else [read]:
            held = msgspec.structs.asdict(reply)
            self._name(held)
            self._add(held)
            if reply.error and reply.status in (None, "failed"):
                self.error = excerpt({"error": reply.error})
        self.is_complete = True


def read_usage(dialect: Dialect, reply: dict[str, Any]) -> Usage | None:
    """Return the tokens of a whole reply, None where it does not say."""
    return usage_of(
        dialect, _mapping(reply.get("usageMetadata" if dialect is Dialect.GEMINI else "usage"))
    )


def usage_of(dialect: Dialect, usage: dict[str, Any]) -> Usage | None:
    """Return the tokens that a dialect's usage object says, None where it says nothing.

    Prompt tokens are those of the whole prompt, the cache's included.
    """
    if not usage:
        return None
    match dialect:
        case Dialect.CHAT:
            prompt, completion = usage.get("prompt_tokens"), usage.get("completion_tokens")
            cached = _mapping(usage.get("prompt_tokens_details")).get("cached_tokens")
            written = None
        case Dialect.RESPONSES:
            prompt, completion = usage.get("input_tokens"), usage.get("output_tokens")
            cached = _mapping(usage.get("input_tokens_details")).get("cached_tokens")
            written = None
        case Dialect.MESSAGES:
            cached = usage.get("cache_read_input_tokens")
            written = usage.get("cache_creation_input_tokens")
            prompt = _sum(usage.get("input_tokens"), cached, written)
            completion = usage.get("output_tokens")
        case Dialect.GEMINI:
            cached, written = usage.get("cachedContentTokenCount"), None
            prompt = _sum(usage.get("promptTokenCount"), usage.get("toolUsePromptTokenCount"))
            completion = _sum(usage.get("candidatesTokenCount"), usage.get("thoughtsTokenCount"))
    return Usage(
        prompt_tokens=_count(prompt),
        completion_tokens=_count(completion),
        cached_tokens=_count(cached),
        cache_write_tokens=_count(written),
        llm_call_count=1,
    )


def _mapping(value: Any) -> dict[str, Any]:
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def _count(value: Any) -> int | None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return int(value) if is_number else None


def _sum(*values: Any) -> int | None:
    known = [count for value in values if (count := _count(value)) is not None]
    return sum(known) if known else None
