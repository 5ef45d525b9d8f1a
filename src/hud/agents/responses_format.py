"""The Responses API as data: prompts, tools and results into items of a request's `input`.

Replies are `responses_reply`; sending and receiving is `openai`.
"""

from __future__ import annotations

import base64
import hashlib
import struct
import zlib
from collections.abc import Sequence
from typing import Any, cast

from hud._core import json
from hud._core.errors import AgentFault, bounded
from hud.agents.run import Run
from hud.agents.tools.base import AgentTool
from hud.trace.content import (
    ContentBlock,
    EmbeddedResource,
    ImageContent,
    MCPToolCall,
    MCPToolResult,
    PromptMessage,
    TextContent,
)

Item = dict[str, Any]

SHELL, APPLY_PATCH, COMPUTER = "shell", "apply_patch", "computer"
LEFT_OUT = "(left out to make room)"
_PDF = "application/pdf"
_BLANK_SIDE = 64


def prompt_items(prompt: Sequence[PromptMessage]) -> list[Item]:
    """Return the items for a prompt; neighbours of one role become one message.

    Text alone stays a string, joined by blank lines.

    Raises:
        AgentFault: when the prompt holds something the Responses API cannot carry.
    """
    turns: list[tuple[str, list[Item]]] = []
    for message in prompt:
        if not turns or turns[-1][0] != message.role:
            turns.append((message.role, []))
        turns[-1][1].append(_part(message.content, message.role))
    return [{"role": role, "content": _joined(parts)} for role, parts in turns]


def function(tool: AgentTool[Any]) -> Item:
    """Declare a tool as a function, whose schema may be any: the API is strict unless told."""
    return {
        "type": "function",
        "name": tool.name,
        "description": tool.description,
        "parameters": {"type": "object", "properties": {}, **tool.parameters},
        "strict": False,
    }


def result_items(calls: Sequence[MCPToolCall], results: Sequence[MCPToolResult]) -> list[Item]:
    """Return the results of a turn's calls, in their order, each in the form of its call.

    What the computer tool says beside its picture follows in a message, because its output holds
    nothing but a picture.
    """
    items: list[Item] = []
    notes: list[Item] = []
    for call, result in zip(calls, results, strict=True):
        meta = call.meta or {}
        item: Item = {"call_id": call.id}
        match call.provider_name:
            case "shell":
                item |= {"type": "shell_call_output", "output": _shell_output(result)}
                arguments = call.arguments if isinstance(call.arguments, dict) else {}
                if arguments.get("max_output_length") is not None:
                    item["max_output_length"] = arguments["max_output_length"]
            case "apply_patch":
                status = "failed" if result.isError else "completed"
                item |= {"type": "apply_patch_call_output", "status": status}
                item["output"] = _text(result)
            case "computer":
                item |= {"type": "computer_call_output", "output": _screenshot(result)}
                if meta.get("pending_safety_checks"):
                    item["acknowledged_safety_checks"] = meta["pending_safety_checks"]
                if text := _text(result):
                    notes.append({"role": "user", "content": f"About the screen: {text}"})
            case _:
                parts = [_result_part(block) for block in result.content]
                output = _joined(parts) or "(no output)"
                item |= {"type": "function_call_output", "output": output}
        if meta.get("caller") is not None:
            item["caller"] = meta["caller"]
        items.append(item)
    return [*items, *notes]


def trim(items: list[Item]) -> bool:
    """Empty the older half of the results that still have content; False when there is none.

    The last turn's results stay.
    """
    made = [at for at, item in enumerate(items) if _is_of_model(item)]
    last = made[-1] if made else 0
    held = [at for at in range(last) if items[at] != _emptied(items[at])]
    for at in held[: (len(held) + 1) // 2]:
        items[at] = _emptied(items[at])
    return bool(held)


def has_results(items: Sequence[Item]) -> bool:
    """Tell whether the model has worked already: whether any tool has answered."""
    return any(_is_output(item) for item in items)


def cache_key(run: Run) -> str:
    """Return what a provider's prompt cache finds the runs of one task by."""
    task = json.encode([run.env, run.task_id, run.slug, run.args])
    return f"hud-{hashlib.blake2b(task, digest_size=16).hexdigest()}"


def _part(block: ContentBlock, role: str) -> Item:
    match block:
        case TextContent():
            return {"type": "input_text", "text": block.text}
        case ImageContent() if role == "user":
            return {"type": "input_image", "image_url": _data_url(block), "detail": "auto"}
        case EmbeddedResource() if isinstance(block.resource.get("text"), str):
            return {"type": "input_text", "text": block.resource["text"]}
        case EmbeddedResource() if role == "user" and block.resource.get("mimeType") == _PDF:
            name = str(block.resource.get("uri") or "file.pdf").rpartition("/")[2] or "file.pdf"
            data = f"data:{_PDF};base64,{block.resource.get('blob') or ''}"
            return {"type": "input_file", "filename": name, "file_data": data}
        case _:
            kind = getattr(block, "mimeType", None) or block.type
            raise AgentFault(
                f"the prompt has a part ({bounded(kind)}, role {role}) that the Responses API "
                "cannot carry",
                hint="it carries text, and images and PDF files of the user",
            )


def _result_part(block: ContentBlock) -> Item:
    """Return a part of a result; what cannot be carried is named."""
    try:
        return _part(block, "user")
    except AgentFault:
        kind = getattr(block, "mimeType", None) or getattr(block, "uri", None) or block.type
        return {"type": "input_text", "text": f"(a part that cannot be shown: {bounded(kind)})"}


def _joined(parts: list[Item]) -> str | list[Item]:
    if all(part["type"] == "input_text" for part in parts):
        return "\n\n".join(part["text"] for part in parts)
    return parts


def _text(result: MCPToolResult) -> str:
    return "\n\n".join(block.text for block in result.content if isinstance(block, TextContent))


def _data_url(image: ImageContent) -> str:
    return f"data:{image.mimeType};base64,{image.data}"


def _shell_output(result: MCPToolResult) -> list[Item]:
    """Return the output of each command; of a call that did not come to that, what was wrong."""
    said = (result.structuredContent or {}).get("output")
    if isinstance(said, list) and said:
        return cast("list[Item]", said)
    outcome = {"type": "exit", "exit_code": 1 if result.isError else 0}
    return [{"stdout": "", "stderr": _text(result), "outcome": outcome}]


def _screenshot(result: MCPToolResult) -> Item:
    pictures = [block for block in result.content if isinstance(block, ImageContent)]
    url = _data_url(pictures[-1]) if pictures else _BLANK
    return {"type": "computer_screenshot", "image_url": url}


def _is_output(item: Item) -> bool:
    return str(item.get("type", "")).endswith("_call_output")


def _is_of_model(item: Item) -> bool:
    return item.get("role") != "user" and not _is_output(item)


def _emptied(item: Item) -> Item:
    """Return a result without its content, and anything else as it is."""
    match item.get("type"):
        case "function_call_output" | "apply_patch_call_output":
            return {**item, "output": LEFT_OUT}
        case "shell_call_output":
            output = [{**part, "stdout": LEFT_OUT, "stderr": ""} for part in item["output"]]
            return {**item, "output": output}
        case "computer_call_output":
            return {**item, "output": {"type": "computer_screenshot", "image_url": _BLANK}}
        case _:
            return item


def _blank_picture() -> str:
    """Return a black picture as a data URL, for where the API takes nothing but a picture."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        checked = kind + data
        return struct.pack(">I", len(data)) + checked + struct.pack(">I", zlib.crc32(checked))

    header = struct.pack(">IIBBBBB", _BLANK_SIDE, _BLANK_SIDE, 8, 0, 0, 0, 0)
    rows = zlib.compress(bytes((_BLANK_SIDE + 1) * _BLANK_SIDE))
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    return f"data:image/png;base64,{base64.b64encode(png).decode('ascii')}"


_BLANK = _blank_picture()
