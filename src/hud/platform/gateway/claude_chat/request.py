"""A request of Chat Completions as one of the Messages API."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn, cast

from hud._core import json
from hud._core.errors import bounded
from hud.models.asgi import Refusal

Block = dict[str, Any]

_MAX_TOKENS = 16_384
_MAX_TOKENS_OF_OLD = 4_096
_EMPTY = "(an empty message)"
_AS_JSON = "Answer with one JSON object and nothing else."
_DATA_URL = re.compile(r"data:([\w.+-]+/[\w.+-]+)?(?:;[\w=.+-]+)*;base64,", re.IGNORECASE)
_EFFORTS = {"minimal": "low", "low": "low", "medium": "medium", "high": "high", "xhigh": "xhigh"}
_KEPT_THOUGHTS = ("thinking", "redacted_thinking")


def messages_request(body: Mapping[str, Any], model: str) -> bytes:
    """Return the body to send to `/v1/messages`.

    Raises:
        Refusal: for what the Messages API cannot do, or what is malformed.
    """
    if (body.get("n") or 1) != 1:
        _refuse("n", "Claude gives one answer to a request")
    for name in ("functions", "function_call", "audio", "web_search_options"):
        if body.get(name):
            _refuse(name, "this is not translated for Claude")
    system, messages = _messages(_list(body.get("messages"), "messages"))
    request: dict[str, Any] = {
        "model": model,
        "max_tokens": _max_tokens(body, model),
        "messages": messages,
    }
    _add_answer_shape(request, body, system)
    if system:
        request["system"] = system
    if (stops := body.get("stop")) is not None:
        request["stop_sequences"] = [stops] if isinstance(stops, str) else stops
    if isinstance(warmth := body.get("temperature"), int | float):
        request["temperature"] = min(warmth, 1.0)
    for name in ("top_p", "top_k", "thinking"):
        if body.get(name) is not None:
            request[name] = body[name]
    if isinstance(user := body.get("user"), str):
        request["metadata"] = {"user_id": user}
    if body.get("stream") is True:
        request["stream"] = True
    listed = _list(body.get("tools"), "tools")
    tools = [_tool(tool, f"tools.{at}") for at, tool in enumerate(listed)]
    if tools:
        request["tools"] = tools
        choice = _tool_choice(body.get("tool_choice"), body.get("parallel_tool_calls"))
        if choice is not None:
            request["tool_choice"] = choice
    return json.encode(request)


def _max_tokens(body: Mapping[str, Any], model: str) -> int:
    wanted = body.get("max_completion_tokens") or body.get("max_tokens")
    if wanted is None:
        return _MAX_TOKENS_OF_OLD if "claude-3" in model else _MAX_TOKENS
    if not isinstance(wanted, int) or wanted < 1:
        _refuse("max_tokens", f"{bounded(repr(wanted), 40)} is no number of tokens")
    return wanted


def _add_answer_shape(
    request: dict[str, Any], body: Mapping[str, Any], system: list[Block]
) -> None:
    output: dict[str, Any] = {}
    shape = _object(body.get("response_format"), "response_format")
    match shape.get("type"):
        case "json_schema":
            held = _object(shape.get("json_schema"), "response_format.json_schema")
            output["format"] = {"type": "json_schema", "schema": held.get("schema") or {}}
        case "json_object":
            system.append({"type": "text", "text": _AS_JSON})
        case _:
            pass
    effort = body.get("reasoning_effort")
    if effort == "none":
        request["thinking"] = {"type": "disabled"}
    elif effort is not None:
        if not isinstance(effort, str) or effort not in _EFFORTS:
            _refuse("reasoning_effort", f"{bounded(repr(effort), 40)} is no effort")
        output["effort"] = _EFFORTS[effort]
    if output:
        request["output_config"] = output


def _messages(said: Sequence[Any]) -> tuple[list[Block], list[dict[str, Any]]]:
    """Return the system's blocks and the conversation, neighbours of one side joined."""
    system: list[Block] = []
    turns: list[dict[str, Any]] = []

    def side(role: str) -> list[Block]:
        if not turns or turns[-1]["role"] != role:
            turns.append({"role": role, "content": []})
        return cast("list[Block]", turns[-1]["content"])

    for at, item in enumerate(said):
        where = f"messages.{at}"
        message = _object(item, where)
        content = message.get("content")
        match message.get("role"):
            case "system" | "developer":
                system += _texts(content, where)
            case "user":
                side("user").extend(_blocks(content, where))
            case "assistant":
                side("assistant").extend(_assistant(message, where))
            case "tool":
                blocks = _blocks(content, where)
                called = message.get("tool_call_id")
                result = {"type": "tool_result", "tool_use_id": called, "content": blocks}
                side("user").append(result)
            case role:
                _refuse(f"{where}.role", f"{bounded(repr(role), 40)} is no role")
    for turn in turns:
        if not turn["content"]:
            turn["content"].append({"type": "text", "text": _EMPTY})
        # Results have to stand before what the user says beside them.
        turn["content"].sort(key=_is_no_result)
    if not turns:
        _refuse("messages", "there is no message of a user")
    return system, turns


def _is_no_result(block: Block) -> bool:
    return block["type"] != "tool_result"


def _assistant(message: Mapping[str, Any], where: str) -> list[Block]:
    """Return what the model said: its own thoughts first, as they were given to the client."""
    details = message.get("reasoning_details")
    blocks: list[Block] = []
    for item in cast("list[Any]", details) if isinstance(details, list) else []:
        thought = _object(item, f"{where}.reasoning_details")
        if thought.get("type") in _KEPT_THOUGHTS:
            blocks.append(thought)
    blocks += _texts(message.get("content"), where)
    for at, item in enumerate(_list(message.get("tool_calls"), f"{where}.tool_calls")):
        call = _object(item, f"{where}.tool_calls.{at}")
        function = _object(call.get("function"), f"{where}.tool_calls.{at}.function")
        blocks.append(
            {
                "type": "tool_use",
                "id": call.get("id"),
                "name": function.get("name"),
                "input": _arguments(function.get("arguments")),
            }
        )
    return blocks


def _arguments(text: Any) -> dict[str, Any]:
    """Return a call's arguments; what the model wrote malformed is shown to it as text."""
    if not isinstance(text, str) or not text.strip():
        return {}
    try:
        value: Any = json.decode(text)
    except ValueError:
        value = text
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {"arguments": text}


def _texts(content: Any, where: str) -> list[Block]:
    blocks = _blocks(content, where)
    if any(block["type"] != "text" for block in blocks):
        _refuse(f"{where}.content", "only text can stand here")
    return blocks


def _blocks(content: Any, where: str) -> list[Block]:
    """Return a message's content; texts without a letter are left out, the API refuses them."""
    if content is None:
        return []
    if isinstance(content, str):
        return [{"type": "text", "text": content}] if content.strip() else []
    blocks: list[Block] = []
    for at, item in enumerate(_list(content, f"{where}.content")):
        part = _object(item, f"{where}.content.{at}")
        block = _part(part, f"{where}.content.{at}")
        if block is None:
            continue
        if (mark := part.get("cache_control")) is not None:
            block["cache_control"] = mark
        blocks.append(block)
    return blocks


def _part(part: Mapping[str, Any], where: str) -> Block | None:
    match part.get("type"):
        case "text" | "refusal":
            text = part.get(str(part["type"]))
            if not isinstance(text, str):
                _refuse(where, "a text has to be a string")
            return {"type": "text", "text": text} if text.strip() else None
        case "image_url":
            image: Any = part.get("image_url")
            url: Any = image if isinstance(image, str) else _object(image, where).get("url")
            return {"type": "image", "source": _source(url, where)}
        case "file":
            data: Any = _object(part.get("file"), where).get("file_data")
            return {"type": "document", "source": _source(data, where)}
        case kind:
            _refuse(f"{where}.type", f"{bounded(repr(kind), 40)} cannot be given to Claude")


def _source(url: Any, where: str) -> dict[str, Any]:
    if not isinstance(url, str):
        _refuse(where, "the data is missing")
    if url.startswith(("http://", "https://")):
        return {"type": "url", "url": url}
    found = _DATA_URL.match(url)
    if found is None:
        _refuse(where, f"{bounded(url, 60)!r} is neither an address nor base64 data")
    kind = (found.group(1) or "application/octet-stream").lower()
    return {"type": "base64", "media_type": kind, "data": url[found.end() :]}


def _tool(item: Any, where: str) -> dict[str, Any]:
    tool = _object(item, where)
    if tool.get("type", "function") != "function":
        _refuse(f"{where}.type", f"{bounded(repr(tool.get('type')), 40)} tools are not translated")
    function = _object(tool.get("function"), f"{where}.function")
    empty: dict[str, Any] = {"type": "object", "properties": {}}
    made: dict[str, Any] = {
        "name": function.get("name"),
        "input_schema": function.get("parameters") or empty,
    }
    for name in ("description", "strict"):
        if function.get(name):
            made[name] = function[name]
    if (mark := tool.get("cache_control")) is not None:
        made["cache_control"] = mark
    return made


def _tool_choice(choice: Any, parallel: Any) -> dict[str, Any] | None:
    made: dict[str, Any] | None
    match choice:
        case None:
            made = None
        case "auto" | "none":
            made = {"type": choice}
        case "required":
            made = {"type": "any"}
        case {"type": "function", "function": {"name": str(name)}}:
            made = {"type": "tool", "name": name}
        case _:
            _refuse("tool_choice", "this is not translated for Claude")
    if parallel is False and (made is None or made["type"] != "none"):
        made = {**(made or {"type": "auto"}), "disable_parallel_tool_use": True}
    return made


def _list(value: Any, where: str) -> list[Any]:
    if value is None:
        return []
    if not isinstance(value, list):
        _refuse(where, "this has to be a list")
    return cast("list[Any]", value)


def _object(value: Any, where: str) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        _refuse(where, "this has to be an object")
    return cast("dict[str, Any]", value)


def _refuse(where: str, why: str) -> NoReturn:
    raise Refusal(400, "invalid_request_error", f"{where}: {why}")
