"""A run as the few kinds of events that existing command lines render, in order.

`agent_message`, `tool_call` and `environment`; everything else of a step is in the step itself.
A step is read leniently: what has no sense is left out, never the rest of the run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, cast

from hud._core import json
from hud._core.errors import HudError
from hud.platform.reading.steps import every_step
from hud.platform.times import iso
from hud.store import RunRecord, StepRecord, Store

EVENTS_BYTES = 32 * 1024 * 1024
"""What one reply holds; the rest is behind its `next_cursor`."""
TEXT_LIMIT = 256 * 1024

Event = dict[str, Any]
Fetch = Callable[[str], bytes]


def read_events(store: Store, run: RunRecord, *, after: int = 0) -> tuple[list[Event], int | None]:
    """Return the events of the steps after the number `after`, and where the rest begins."""

    def fetch(sha256: str) -> bytes:
        return store.read_blob(sha256, team=run.team)

    events: list[Event] = []
    size = 0
    for step in every_step(store, run, after=after, resolve=False):
        for event in _events(step, fetch):
            event = {**event, "seq": step.seq, "timestamp": iso(step.started_at)}
            size += len(json.encode(event))
            events.append(event)
        if size >= EVENTS_BYTES:
            return events, step.seq
    return events, None


def _events(record: StepRecord, fetch: Fetch) -> Iterator[Event]:
    try:
        value = json.decode(record.payload)
    except ValueError:
        return
    step = _table(value)
    match step.get("source"):
        case "agent":
            yield _agent(step, fetch)
        case "tool":
            yield _tool(step, fetch)
        case "subagent":
            said = _text(_table(step.get("subagent")).get("content"), fetch)
            yield _environment(f"a subagent answered: {said}" if said else "a subagent ran")
        case "user":
            texts = [_message(message, fetch) for message in _list(step.get("messages"))]
            if any(texts):
                yield _environment("\n\n".join(text for text in texts if text))
        case _:
            yield from _others(step, fetch)


def _agent(step: Event, fetch: Fetch) -> Event:
    return {
        "kind": "agent_message",
        "text": _text(step.get("content"), fetch),
        "reasoning": _text(step.get("reasoning"), fetch),
        "tool_calls": [_call(call, fetch) for call in _list(step.get("tool_calls"))],
        "error": _text(step.get("error"), fetch),
    }


def _tool(step: Event, fetch: Fetch) -> Event:
    call, result = _call(step.get("call"), fetch), _table(step.get("result"))
    blocks = [_table(block) for block in _list(result.get("content"))]
    texts = [_text(block.get("text"), fetch) or _shown(block) for block in blocks]
    said = "\n".join(text for text in texts if text)
    error = _text(step.get("error"), fetch)
    return {
        "kind": "tool_call",
        "tool_name": call["name"],
        "arguments": call["arguments"],
        "result_text": said,
        "error": error or (said or "the call failed" if result.get("isError") is True else None),
    }


def _others(step: Event, fetch: Fetch) -> Iterator[Event]:
    call = _table(step.get("task_call"))
    if call:
        phase, result = call.get("phase"), _table(call.get("result"))
        name = _text(call.get("name"), fetch) or "the task"
        if phase == "setup":
            yield _environment(f"{name} was set up")
        elif phase == "evaluate":
            yield _environment(f"{name} was graded: {json.encode(result.get('score')).decode()}")
    elif paths := _paths(step):
        yield _environment("files changed: " + ", ".join(paths))
    error = _text(step.get("error"), fetch)
    if error:
        yield _environment(error)


def _paths(step: Event) -> list[str]:
    files = _table(_table(step.get("extra")).get("files"))
    paths = [_table(patch).get("path") for patch in _list(files.get("patches"))]
    return [path for path in paths if isinstance(path, str)][:100]


def _environment(text: str) -> Event:
    return {"kind": "environment", "text": text}


def _call(value: Any, fetch: Fetch) -> dict[str, Any]:
    call = _table(value)
    arguments: Any = call.get("arguments")
    if not isinstance(arguments, dict):
        said = _text(arguments, fetch)
        arguments = {} if said is None else {"arguments": said}
    return {"name": _text(call.get("name"), fetch) or "?", "arguments": arguments}


def _message(value: Any, fetch: Fetch) -> str:
    content = _table(_table(value).get("content"))
    return _text(content.get("text"), fetch) or _shown(content)


def _shown(block: Event) -> str:
    kind = block.get("type")
    return f"[{kind}]" if isinstance(kind, str) and kind not in ("", "text") else ""


def _text(value: Any, fetch: Fetch) -> str | None:
    """Return a text, also one that was moved to a blob; a long one ends with an ellipsis."""
    if isinstance(value, dict):
        held = cast("dict[str, Any]", value)
        if not isinstance(held.get("$blob"), str) or held.get("encoding") is not None:
            return None
        try:
            value = fetch(held["$blob"]).decode("utf-8", "replace")
        except HudError:
            return "…"
    if not isinstance(value, str) or not value:
        return None
    return value if len(value) <= TEXT_LIMIT else value[:TEXT_LIMIT] + "…"


def _table(value: Any) -> dict[str, Any]:
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return cast("list[Any]", value) if isinstance(value, list) else []
