"""What a reply says, read while it passes: streamed or whole, in any of the four dialects.

Reading never holds a reply up nor changes it; what cannot be read is told as not known.
"""

from __future__ import annotations

import contextlib
from typing import Any, cast

from hud._core import json
from hud._core.errors import Fault
from hud.agents.messages_stream import ReplyDraft
from hud.models.failure import excerpt
from hud.models.provider import Dialect
from hud.models.sse import EventCutter, EventTooLong, event_data
from hud.models.usage import read_usage
from hud.trace.steps import AgentStep

MAX_REPLY_BYTES = 64 * 1024 * 1024


class ReplyReader:
    """Reads one reply.

    Attributes:
        error: What the API said went wrong after it had begun to answer, None for nothing.
    """

    def __init__(self, dialect: Dialect, content_type: str) -> None:
        self._dialect = dialect
        self._cutter = EventCutter() if "event-stream" in content_type.lower() else None
        self._whole = bytearray()
        self._draft = _DRAFTS[dialect]()
        self._size = 0
        self._is_lost = False
        self.error: str | None = None

    def feed(self, data: bytes) -> None:
        """Take in more of the reply."""
        self._size += len(data)
        if self._is_lost or self._size > MAX_REPLY_BYTES:
            self._lose()
        elif self._cutter is None:
            self._whole += data
        else:
            try:
                for event in self._cutter.cut(data):
                    self._take(event_data(event))
            except EventTooLong:
                self._lose()

    def step(self, where: str) -> AgentStep:
        """Return the reply as a step, as far as it came.

        Args:
            where: How messages name the API.
        """
        if self._is_lost:
            return AgentStep()
        if self._cutter is not None:
            self._take(event_data(self._cutter.rest()))
            reply = self._draft.reply()
        else:
            reply = self._read_whole()
        if not reply:
            return AgentStep()
        step = _read(self._dialect, reply, where) if self._draft.is_readable else None
        if step is None:
            step = AgentStep(usage=read_usage(self._dialect, reply))
        step.model = step.model or _text(reply.get("model") or reply.get("modelVersion"))
        return step

    def _take(self, data: bytes) -> None:
        if not data or data == b"[DONE]":
            return
        try:
            event = json.decode(data)
        except ValueError:
            return
        if not isinstance(event, dict):
            return
        held = cast("dict[str, Any]", event)
        failed = _mapping(held.get("response")).get("error")
        if held.get("type") in ("error", "response.failed") or held.get("error"):
            self.error = excerpt(failed or held)
        try:
            self._draft.add(held)
        except (ValueError, KeyError, TypeError, AttributeError, IndexError):
            self._draft.is_readable = False

    def _read_whole(self) -> dict[str, Any]:
        try:
            read = json.decode(bytes(self._whole))
        except ValueError:
            return {}
        if isinstance(read, list):  # Gemini streams a list where it is not asked for events
            for event in cast("list[Any]", read):
                self._draft.add(_mapping(event))
            return self._draft.reply()
        reply = _mapping(read)
        if reply.get("error") and reply.get("status") == "failed":
            self.error = excerpt(reply)
        return reply

    def _lose(self) -> None:
        self._is_lost = True
        self._whole.clear()


class Draft:
    """A streamed reply put together.

    Attributes:
        is_readable: Whether more than its usage is known.
    """

    def __init__(self) -> None:
        self.is_readable = True

    def add(self, event: dict[str, Any]) -> None:
        """Take in the next event."""
        raise NotImplementedError

    def reply(self) -> dict[str, Any]:
        """Return the reply as it would have come whole, empty when nothing came."""
        raise NotImplementedError


class _ChatDraft(Draft):
    def __init__(self) -> None:
        super().__init__()
        self._reply: dict[str, Any] = {}
        self._texts: dict[str, list[str]] = {}
        self._calls: dict[int, dict[str, Any]] = {}
        self._choice: dict[str, Any] = {}

    def add(self, event: dict[str, Any]) -> None:
        for name in ("id", "model", "usage", "error"):
            if event.get(name):
                self._reply[name] = event[name]
        for item in _listed(event.get("choices")):
            if item.get("index", 0) != 0:
                continue
            if item.get("finish_reason"):
                self._choice["finish_reason"] = item["finish_reason"]
            for name, value in _mapping(item.get("delta")).items():
                if name == "tool_calls":
                    for call in _listed(value):
                        self._add_call(call)
                elif isinstance(value, str) and name != "role":
                    self._texts.setdefault(name, []).append(value)

    def _add_call(self, piece: dict[str, Any]) -> None:
        call = self._calls.setdefault(
            piece.get("index", len(self._calls)), {"function": {"name": "", "arguments": ""}}
        )
        if piece.get("id"):
            call["id"] = piece["id"]
        said = _mapping(piece.get("function"))
        call["function"]["name"] += said.get("name") or ""
        call["function"]["arguments"] += said.get("arguments") or ""

    def reply(self) -> dict[str, Any]:
        if not self._reply and not self._choice and not self._texts:
            return {}
        message: dict[str, Any] = {name: "".join(texts) for name, texts in self._texts.items()}
        if self._calls:
            message["tool_calls"] = [self._calls[index] for index in sorted(self._calls)]
        return {**self._reply, "choices": [{**self._choice, "message": message}]}


class _ResponsesDraft(Draft):
    def __init__(self) -> None:
        super().__init__()
        self._reply: dict[str, Any] = {}
        self._items: list[dict[str, Any]] = []

    def add(self, event: dict[str, Any]) -> None:
        if event.get("type") == "response.output_item.done":
            self._items.append(_mapping(event.get("item")))
        response = event.get("response")
        if isinstance(response, dict):
            self._reply = cast("dict[str, Any]", response)

    def reply(self) -> dict[str, Any]:
        if not self._reply:
            return {}
        return {**self._reply, "output": self._reply.get("output") or self._items}


class _MessagesDraft(Draft):
    def __init__(self) -> None:
        super().__init__()
        self._inner = ReplyDraft()

    def add(self, event: dict[str, Any]) -> None:
        self._inner.add(event)

    def reply(self) -> dict[str, Any]:
        with contextlib.suppress(ValueError):  # it has not begun
            return self._inner.reply()
        return {}


class _GeminiDraft(Draft):
    def __init__(self) -> None:
        super().__init__()
        self._reply: dict[str, Any] = {}
        self._candidate: dict[str, Any] = {}
        self._parts: list[dict[str, Any]] = []

    def add(self, event: dict[str, Any]) -> None:
        self._reply |= {name: value for name, value in event.items() if name != "candidates"}
        for candidate in _listed(event.get("candidates"))[:1]:
            for part in _listed(_mapping(candidate.get("content")).get("parts")):
                self._add_part(part)
            self._candidate |= candidate

    def _add_part(self, part: dict[str, Any]) -> None:
        """Join a text to the one before it, where nothing but the text tells them apart."""
        last = self._parts[-1] if self._parts else {}
        text, before = part.get("text"), last.get("text")
        rest = {name: value for name, value in part.items() if name != "text"}
        known = {name: value for name, value in last.items() if name != "text"}
        if isinstance(text, str) and isinstance(before, str) and rest == known:
            last["text"] = before + text
            return
        self._parts.append(dict(part))

    def reply(self) -> dict[str, Any]:
        if not self._candidate:
            return self._reply
        content = {"role": "model", "parts": self._parts}
        return {**self._reply, "candidates": [{**self._candidate, "content": content}]}


_DRAFTS: dict[Dialect, type[Draft]] = {
    Dialect.CHAT: _ChatDraft,
    Dialect.RESPONSES: _ResponsesDraft,
    Dialect.MESSAGES: _MessagesDraft,
    Dialect.GEMINI: _GeminiDraft,
}


def _read(dialect: Dialect, reply: dict[str, Any], where: str) -> AgentStep | None:
    """Read a reply as the dialect's own agent does; None where that cannot be done."""
    # Imported by the first reply that needs them: a proxy is mostly asked in one dialect.
    try:
        match dialect:
            case Dialect.CHAT:
                from hud.agents.chat_format import read_completion

                return read_completion(reply, where)
            case Dialect.RESPONSES:
                return _read_response(reply, where)
            case Dialect.MESSAGES:
                from hud.agents import messages_format

                blocks = messages_format.reply_blocks(reply, where)
                return messages_format.read_reply(reply, blocks)
            case Dialect.GEMINI:
                from hud.agents import gemini_reply

                return gemini_reply.read_reply(reply, where, citations_enabled=True)[1]
    except (Fault, AttributeError, TypeError, ValueError, KeyError):
        return None


def _read_response(reply: dict[str, Any], where: str) -> AgentStep | None:
    from hud.agents.responses_reply import FailedReply, read_body, read_response

    try:
        body = read_body(json.encode(reply), where)
    except FailedReply:
        return None
    return read_response(body, where, citations_enabled=True)


def _mapping(value: Any) -> dict[str, Any]:
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def _listed(value: Any) -> list[dict[str, Any]]:
    if not isinstance(value, list):
        return []
    return [_mapping(item) for item in cast("list[Any]", value)]


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None
