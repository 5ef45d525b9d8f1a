"""What a command-line agent said, read from its standard output."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

from hud._core import json
from hud.agents.command_line.command import CommandLine
from hud.trace.steps import StopReason

# What Claude Code names as the author of messages that it made up itself, such as of errors.
_NOT_A_MODEL = "<synthetic>"


@dataclass(frozen=True, slots=True)
class Answer:
    """What it said.

    Attributes:
        error: What it says went wrong, None where it does not.
        stop_reason: The limit of its own that it says it reached.
    """

    text: str = ""
    error: str | None = None
    stop_reason: StopReason | None = None


def read_answer(command: CommandLine, output: str) -> Answer:
    """Read the answer of a command that has ended, whole or not."""
    readers: dict[str, Callable[[str, Sequence[str]], Answer]] = {
        "text": lambda text, _: Answer(text.strip()),
        "last_json": _last_json,
        "claude": _claude,
        "codex": _codex,
    }
    return readers[command.answer](output, command.answer_keys)


def _last_json(output: str, keys: Sequence[str]) -> Answer:
    for held in _objects(output, newest_first=True):
        return Answer(next((text for key in keys if (text := _text(held.get(key)))), ""))
    return Answer(output.strip())


def _claude(output: str, keys: Sequence[str]) -> Answer:
    """Read `--output-format stream-json` (or `json`): the line of the type `result` comes last."""
    said = ""
    for held in _objects(output, newest_first=True):
        if held.get("type") == "result":
            text = _text(held.get("result")) or said
            if held.get("subtype") == "error_max_turns":
                return Answer(text or _claude_said(output), stop_reason="max_steps")
            if held.get("is_error"):
                errors = held.get("errors")
                told = cast("list[Any]", errors) if isinstance(errors, list) else []
                reason = text or "; ".join(str(one) for one in told) or str(held.get("subtype"))
                return Answer(_claude_said(output), error=reason)
            return Answer(text)
    return Answer(_claude_said(output))


def _claude_said(output: str) -> str:
    """Return the newest text of the model."""
    for held in _objects(output, newest_first=True):
        if held.get("type") != "assistant":
            continue
        message = _mapping(held.get("message"))
        if message.get("model") == _NOT_A_MODEL:
            continue
        content = message.get("content")
        blocks = cast("list[Any]", content) if isinstance(content, list) else []
        texts = [_text(_mapping(block).get("text")) for block in blocks]
        if text := "".join(text for text in texts if text):
            return text
    return ""


def _codex(output: str, keys: Sequence[str]) -> Answer:
    """Read `codex exec --json`: the newest message of the agent is its answer."""
    text, error, is_failed = "", "", False
    for held in _objects(output):
        item = _mapping(held.get("item"))
        match held.get("type"):
            case "item.completed" if item.get("type") == "agent_message":
                text = _text(item.get("text")) or text
            case "error":
                error = _text(held.get("message")) or error
            case "turn.failed":
                is_failed = True
                error = _text(_mapping(held.get("error")).get("message")) or error
            case _:
                pass
    return Answer(text, error=(error or "its turn failed") if is_failed else None)


def _objects(output: str, *, newest_first: bool = False) -> Iterator[dict[str, Any]]:
    lines = output.splitlines()
    for line in reversed(lines) if newest_first else lines:
        if not line.lstrip().startswith("{"):
            continue
        try:
            read: Any = json.decode(line)
        except ValueError:
            continue
        if isinstance(read, dict):
            yield cast("dict[str, Any]", read)


def _mapping(value: Any) -> dict[str, Any]:
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
