"""How one turn of the model is spelled as items of the Responses API, whole and as events.

Shapes from `openai.types.responses`: a call of a native tool of the request is an item of its own
kind. Reading requests is `responses`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, cast

from hud.testing.model_server.reply import Call, Say, pieces, words
from hud.testing.model_server.seal import seal

Event = dict[str, Any]
Item = dict[str, Any]


def items(say: Say, kinds: Mapping[str, str], stem: str, *, is_sealed: bool) -> list[Item]:
    """Return the output items of a turn; calls must have ids.

    Args:
        kinds: The kind of each tool of the request, by name.
        stem: What makes the ids of the items unique.
        is_sealed: Whether reasoning carries `encrypted_content`.
    """
    made: list[Item] = []
    if say.reasoning is not None:
        summary = [{"type": "summary_text", "text": say.reasoning}] if say.reasoning else []
        item: Item = {"id": f"rs_{stem}", "type": "reasoning", "summary": summary}
        if is_sealed:
            item["encrypted_content"] = seal(say.reasoning)
        made.append(item)
    content: list[Item] = []
    if say.text or (not say.calls and say.refusal is None and say.text is not None):
        annotations = [
            {
                "type": "url_citation",
                "url": each.source,
                "title": each.title,
                "start_index": each.start_index,
                "end_index": each.end_index,
            }
            for each in say.citations
        ]
        content.append(
            {"type": "output_text", "text": say.text, "annotations": annotations, "logprobs": []}
        )
    if say.refusal is not None:
        content.append({"type": "refusal", "refusal": say.refusal})
    if content:
        message = {"id": f"msg_{stem}", "type": "message", "role": "assistant"}
        made.append({**message, "status": "completed", "content": content})
    for place, call in enumerate(say.calls):
        made.append(_call_item(call, kinds.get(call.name, "function"), f"{stem}_{place}"))
    return made


def _call_item(call: Call, kind: str, stem: str) -> Item:
    held = call.arguments_object
    base: Item = {"call_id": call.id, "status": "completed"}
    match kind:
        case "shell":
            action = _shell_action(held, call.arguments_text)
            return {"id": f"sh_{stem}", "type": "shell_call", **base, "action": action}
        case "local_shell":
            action: Item = {
                "type": "exec",
                "env": {},
                **(held or {"command": [call.arguments_text]}),
            }
            return {"id": f"lsh_{stem}", "type": "local_shell_call", **base, "action": action}
        case "apply_patch":
            operation = call.arguments if held is None else held.get("operation", held)
            return {"id": f"ap_{stem}", "type": "apply_patch_call", **base, "operation": operation}
        case "computer" | "computer_use_preview":
            item: Item = {
                "id": f"cu_{stem}",
                "type": "computer_call",
                **base,
                "pending_safety_checks": [],
            }
            return {**item, **_computer_actions(held, call.arguments_text, kind)}
        case "custom":
            text = call.arguments_text if held is None else str(held.get("input", held))
            item = {"id": f"ctc_{stem}", "type": "custom_tool_call", "call_id": call.id}
            return {**item, "name": call.name, "input": text}
        case _:
            item = {"id": f"fc_{stem}", "type": "function_call", **base, "name": call.name}
            return {**item, "arguments": call.arguments_text}


def _shell_action(held: dict[str, Any] | None, raw: str) -> Item:
    action: Item = {"timeout_ms": None, "max_output_length": None}
    if held is None:
        return {**action, "commands": [raw]}
    rest = {name: value for name, value in held.items() if name != "command"}
    commands = held.get("commands")
    if commands is None:
        command = held.get("command", "")
        commands = cast("list[Any]", command) if isinstance(command, list) else [command]
    return {**action, **rest, "commands": commands}


def _computer_actions(held: dict[str, Any] | None, raw: str, kind: str) -> Item:
    if held is None:
        actions: list[Any] = [{"type": raw}]
    else:
        actions = held.get("actions") or [held.get("action", held)]
    return {"actions": actions} if kind == "computer" else {"action": actions[0]}


def events(made: list[Item]) -> Iterator[Event]:
    """Yield the events of every item: begun empty, filled, done."""
    for index, item in enumerate(made):
        at: Event = {"output_index": index}
        yield {"type": "response.output_item.added", **at, "item": _begun(item)}
        match item["type"]:
            case "reasoning":
                yield from _summary_events(item, at)
            case "message":
                yield from _message_events(item, at)
            case "function_call":
                yield from _text_events(
                    "response.function_call_arguments", "arguments", item["arguments"],
                    {**at, "item_id": item["id"]}, pieces(item["arguments"]),
                )  # fmt: skip
            case "custom_tool_call":
                yield from _text_events(
                    "response.custom_tool_call_input", "input", item["input"],
                    {**at, "item_id": item["id"]}, pieces(item["input"]),
                )  # fmt: skip
            case "shell_call":
                yield from _command_events(item, at)
            case _:
                pass
        yield {"type": "response.output_item.done", **at, "item": item}


def _begun(item: Item) -> Item:
    empty: dict[str, Item] = {
        "reasoning": {"summary": []},
        "message": {"content": []},
        "function_call": {"arguments": ""},
        "custom_tool_call": {"input": ""},
        "shell_call": {"action": {**item.get("action", {}), "commands": []}},
    }
    begun = {**item, **empty.get(item["type"], {})}
    if "status" in item:
        begun["status"] = "in_progress"
    return begun


def _text_events(
    stem: str, field: str, text: str, at: Event, cut: Iterator[str] | list[str]
) -> Iterator[Event]:
    for piece in cut:
        yield {"type": f"{stem}.delta", **at, "delta": piece}
    yield {"type": f"{stem}.done", **at, field: text}


def _summary_events(item: Item, at: Event) -> Iterator[Event]:
    for number, part in enumerate(item["summary"]):
        spot = {**at, "item_id": item["id"], "summary_index": number}
        stem = "response.reasoning_summary"
        yield {"type": f"{stem}_part.added", **spot, "part": {**part, "text": ""}}
        yield from _text_events(f"{stem}_text", "text", part["text"], spot, words(part["text"]))
        yield {"type": f"{stem}_part.done", **spot, "part": part}


def _message_events(item: Item, at: Event) -> Iterator[Event]:
    for number, part in enumerate(item["content"]):
        spot: Event = {**at, "item_id": item["id"], "content_index": number}
        if part["type"] == "refusal":
            begun: Item = {**part, "refusal": ""}
            stem, field = "response.refusal", "refusal"
            more = spot
        else:
            begun = {**part, "text": "", "annotations": []}
            stem, field = "response.output_text", "text"
            more = {**spot, "logprobs": list[Any]()}
        texts = _text_events(stem, field, part[field], more, words(part[field]))
        yield {"type": "response.content_part.added", **spot, "part": begun}
        yield from texts
        for place, annotation in enumerate(part.get("annotations", ())):
            yield {
                "type": "response.output_text.annotation.added",
                **spot,
                "annotation_index": place,
                "annotation": annotation,
            }
        yield {"type": "response.content_part.done", **spot, "part": part}


def _command_events(item: Item, at: Event) -> Iterator[Event]:
    stem = "response.shell_call_command"
    for number, command in enumerate(item["action"]["commands"]):
        spot = {**at, "command_index": number}
        yield {"type": f"{stem}.added", **spot, "command": ""}
        yield from _text_events(stem, "command", str(command), spot, pieces(str(command)))
