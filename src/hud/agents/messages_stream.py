"""Put a streamed reply of the Messages API together, event by event, as plain JSON.

The SDK's own accumulator reads a call's arguments as far as they go, so that a reply that is cut
in the middle of them leaves a shorter call that looks whole, and it gives up the reply where they
are no JSON. Here such arguments stay text.
"""

from __future__ import annotations

from typing import Any, cast

from hud._core import json


class ReplyDraft:
    """A reply under way; any field of an event that is not known here is kept."""

    def __init__(self) -> None:
        self._reply: dict[str, Any] | None = None
        self._blocks: dict[int, dict[str, Any]] = {}
        self._pieces: dict[tuple[int, str], list[str]] = {}
        self._is_over = False

    @property
    def is_whole(self) -> bool:
        """Whether everything up to why the model stopped has come."""
        return self._reply is not None and (
            self._is_over or self._reply.get("stop_reason") is not None
        )

    def add(self, event: dict[str, Any]) -> None:
        """Take in the next event.

        Raises:
            ValueError: when it is none of the API's.
        """
        try:
            self._add(event)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"an event nobody can place: {event}") from error

    def reply(self) -> dict[str, Any]:
        """Return the reply so far.

        Raises:
            ValueError: when it has not begun.
        """
        if self._reply is None:
            raise ValueError("no event that begins a reply")
        for (index, name), pieces in self._pieces.items():
            block, text = self._blocks[index], "".join(pieces)
            if name == "input":
                block[name] = _arguments(text, block.get(name))
            else:
                block[name] = text
        content = [self._blocks[index] for index in sorted(self._blocks)]
        return {**self._reply, "content": content or self._reply.get("content") or []}

    def _add(self, event: dict[str, Any]) -> None:
        match event.get("type"):
            case "message_start":
                self._reply = dict(event["message"])
            case "content_block_start":
                self._blocks[event["index"]] = dict(event["content_block"])
            case "content_block_delta":
                self._add_delta(event["index"], event["delta"])
            case "message_delta":
                reply = cast("dict[str, Any]", self._reply)
                reply |= _said(event["delta"])
                reply["usage"] = {**(reply.get("usage") or {}), **_said(event.get("usage") or {})}
            case "message_stop":
                self._is_over = True
            case _:
                pass  # `ping`, and whatever the API may add

    def _add_delta(self, index: int, delta: dict[str, Any]) -> None:
        block = self._blocks[index]
        for name, value in delta.items():
            if name == "type":
                continue
            if name == "citation":
                block["citations"] = [*(block.get("citations") or []), value]
            elif name == "partial_json":
                self._pieces.setdefault((index, "input"), []).append(value)
            elif isinstance(value, str):
                begun = block.get(name)
                start = [begun] if isinstance(begun, str) else []
                self._pieces.setdefault((index, name), start).append(value)
            elif value is not None:
                block[name] = value


def _arguments(text: str, begun: Any) -> Any:
    """Return the object a call's arguments spell; the text where they spell none."""
    if not text.strip():
        return begun if begun is not None else {}
    try:
        value = json.decode(text)
    except ValueError:
        return text
    return cast("Any", value) if isinstance(value, dict) else text


def _said(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}
