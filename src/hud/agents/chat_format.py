"""Chat Completions as data: prompts, tools and results into request messages, replies into steps.

Sending and receiving is `openai_chat`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from hud._core import json
from hud._core.errors import AgentFault, ModelFault, bounded
from hud.agents.tools.base import AgentTool
from hud.agents.tools.toolbox import decode_arguments
from hud.models.failure import excerpt
from hud.trace.content import (
    AudioContent,
    ContentBlock,
    EmbeddedResource,
    ImageContent,
    MCPToolCall,
    MCPToolResult,
    PromptMessage,
    TextContent,
)
from hud.trace.steps import AgentStep, Sample, Usage

Part = dict[str, Any]
LEFT_OUT = "(left out to make room)"
_REASONING = ("reasoning_content", "reasoning", "reasoning_details")
_AUDIO_FORMATS = {"audio/wav": "wav", "audio/x-wav": "wav", "audio/mpeg": "mp3", "audio/mp3": "mp3"}


def chat_messages(prompt: Sequence[PromptMessage]) -> list[dict[str, Any]]:
    """Return the request's `messages` for a prompt.

    Neighbours of one role become one message, because some servers insist on turns. Text alone
    stays a string, joined by blank lines.

    Raises:
        AgentFault: when the prompt holds something Chat Completions cannot carry.
    """
    turns: list[tuple[str, list[Part]]] = []
    for message in prompt:
        if not turns or turns[-1][0] != message.role:
            turns.append((message.role, []))
        turns[-1][1].append(_part(message.content, message.role))
    return [{"role": role, "content": _joined(parts)} for role, parts in turns]


def function(tool: AgentTool[Any]) -> dict[str, Any]:
    """Declare a tool."""
    declared = {
        "name": tool.name,
        "description": tool.description,
        "parameters": tool.parameters,
    }
    return {"type": "function", "function": declared}


def assistant_message(step: AgentStep) -> dict[str, Any]:
    """Return a turn of the model as a message to send back.

    Reasoning goes back with the calls it led to, in the field it came in: servers that give
    reasoning with calls want it so. Arguments that were no JSON go back as JSON that says so,
    because some servers read them.
    """
    message: dict[str, Any] = {"role": "assistant", "content": step.content}
    if step.content is None and not step.tool_calls:
        message["content"] = step.refusal or ""
    if step.tool_calls:
        message["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": _spelled(call.arguments)},
            }
            for call in step.tool_calls
        ]
        message |= _mapping(step.raw)
    return message


def result_messages(
    calls: Sequence[MCPToolCall], results: Sequence[MCPToolResult]
) -> list[dict[str, Any]]:
    """Return the results of a turn's calls, in their order.

    A result is text there; pictures follow in one message of the user's.
    """
    messages: list[dict[str, Any]] = []
    pictures: list[Part] = []
    for call, result in zip(calls, results, strict=True):
        texts: list[str] = []
        for block in result.content:
            part = _result_part(block)
            if part["type"] == "text":
                texts.append(part["text"])
            else:
                pictures += [{"type": "text", "text": f"Picture from {call.name}:"}, part]
                texts.append("(a picture follows)")
        content = "\n\n".join(texts) or "(no output)"
        messages.append({"role": "tool", "tool_call_id": call.id, "content": content})
    if pictures:
        messages.append({"role": "user", "content": pictures})
    return messages


def trim(messages: list[dict[str, Any]]) -> bool:
    """Empty the older half of the results that still have content; False when there is none.

    The last turn's results stay.
    """
    ends = [at for at, message in enumerate(messages) if message["role"] == "assistant"]
    last = ends[-1] if ends else 0
    held = [
        at
        for at, message in enumerate(messages[:last])
        if (message["role"] == "tool" and message["content"] != LEFT_OUT)
        or (message["role"] == "user" and at > 0 and _is_pictures(message["content"]))
    ]
    for at in held[: (len(held) + 1) // 2]:
        messages[at] = {**messages[at], "content": LEFT_OUT}
    return bool(held)


def read_body(body: bytes, where: str) -> dict[str, Any]:
    """Read a reply's JSON.

    Raises:
        ModelFault: when it is no JSON object.
    """
    try:
        reply = json.decode(body)
    except ValueError:
        raise _malformed(where, f"not JSON: {excerpt(body)}") from None
    if not isinstance(reply, dict):
        raise _malformed(where, excerpt(body))
    return cast("dict[str, Any]", reply)


def read_completion(completion: dict[str, Any], where: str) -> AgentStep:
    """Read a reply into a step; only its first choice counts.

    Raises:
        ModelFault: when it is no chat completion, or an error in the clothes of one.
    """
    choices = completion.get("choices")
    if not isinstance(choices, list) or not choices:
        if completion.get("error"):
            raise ModelFault(f"{where} answered with an error: {excerpt(completion['error'])}")
        raise _malformed(where, f"no choices: {excerpt(completion)}")
    choice = _mapping(cast("list[Any]", choices)[0])
    message = choice.get("message")
    if not isinstance(message, dict):
        raise _malformed(where, f"no message: {excerpt(completion)}")
    said = cast("dict[str, Any]", message)
    return AgentStep(
        content=_text(said.get("content")),
        reasoning=_text(said.get("reasoning_content")) or _text(said.get("reasoning")),
        tool_calls=_calls(said.get("tool_calls")),
        refusal=_text(said.get("refusal")),
        finish_reason=_text(choice.get("finish_reason")),
        model=_text(completion.get("model")),
        usage=_usage(_mapping(completion.get("usage"))),
        sample=_sample(completion, choice),
        raw={name: said[name] for name in _REASONING if said.get(name)} or None,
    )


def _malformed(where: str, detail: str) -> ModelFault:
    return ModelFault(
        f"{where} answered something that is no chat completion, {detail}",
        hint="the address must speak Chat Completions; it usually ends with /v1",
    )


def _part(block: ContentBlock, role: str) -> Part:
    match block:
        case TextContent():
            return {"type": "text", "text": block.text}
        case ImageContent() if role == "user":
            url = f"data:{block.mimeType};base64,{block.data}"
            return {"type": "image_url", "image_url": {"url": url}}
        case AudioContent() if role == "user" and block.mimeType in _AUDIO_FORMATS:
            audio = {"data": block.data, "format": _AUDIO_FORMATS[block.mimeType]}
            return {"type": "input_audio", "input_audio": audio}
        case EmbeddedResource() if isinstance(block.resource.get("text"), str):
            return {"type": "text", "text": block.resource["text"]}
        case _:
            kind = getattr(block, "mimeType", None) or block.type
            raise AgentFault(
                f"the prompt has a part ({bounded(kind)}, role {role}) that Chat Completions "
                "cannot carry",
                hint="it carries text, and images and wav or mp3 audio of the user",
            )


def _result_part(block: ContentBlock) -> Part:
    """Return a part of a result; what cannot be carried is named."""
    try:
        return _part(block, "user")
    except AgentFault:
        kind = getattr(block, "mimeType", None) or getattr(block, "uri", None) or block.type
        return {"type": "text", "text": f"(a part that cannot be shown: {bounded(kind)})"}


def _is_pictures(content: Any) -> bool:
    return isinstance(content, list) and any(
        _mapping(part).get("type") == "image_url" for part in cast("list[Any]", content)
    )


def _spelled(arguments: dict[str, Any] | str | None) -> str:
    if isinstance(arguments, str):
        arguments = {"malformed": arguments}
    return json.encode(arguments or {}).decode()


def _calls(value: Any) -> list[MCPToolCall]:
    """Read tool calls as a server wrote them, careless ones included."""
    calls: list[MCPToolCall] = []
    for item in cast("list[Any]", value) if isinstance(value, list) else []:
        held = _mapping(item)
        asked = _mapping(held.get("function"))
        given = asked.get("arguments")
        name = str(asked.get("name") or "")
        arguments = _mapping(given) if isinstance(given, dict) else decode_arguments(_text(given))
        call_id = held.get("id")
        if isinstance(call_id, str) and call_id:
            calls.append(MCPToolCall(name=name, arguments=arguments, id=call_id))
        else:
            calls.append(MCPToolCall(name=name, arguments=arguments))
    return calls


def _joined(parts: list[Part]) -> str | list[Part]:
    if all(part["type"] == "text" for part in parts):
        return "\n\n".join(part["text"] for part in parts)
    return parts


def _mapping(value: Any) -> dict[str, Any]:
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def _text(value: Any) -> str | None:
    if isinstance(value, str):
        return value
    if isinstance(value, list):  # some servers answer in parts
        parts = [_mapping(part) for part in cast("list[Any]", value)]
        texts = [part["text"] for part in parts if isinstance(part.get("text"), str)]
        return "".join(texts) if texts else None
    return None


def _usage(usage: dict[str, Any]) -> Usage:
    return Usage(
        prompt_tokens=_count(usage.get("prompt_tokens")),
        completion_tokens=_count(usage.get("completion_tokens")),
        cached_tokens=_count(_mapping(usage.get("prompt_tokens_details")).get("cached_tokens")),
        cost_usd=_number(usage.get("cost")),
        llm_call_count=1,
    )


def _sample(completion: dict[str, Any], choice: dict[str, Any]) -> Sample | None:
    """Read the token ids a training backend adds when it is asked to; None without them."""
    output = _numbers(choice.get("token_ids"))
    if not output:
        return None
    prompt = choice.get("prompt_token_ids") or completion.get("prompt_token_ids")
    entries = _mapping(choice.get("logprobs")).get("content")
    listed = cast("list[Any]", entries) if isinstance(entries, list) else []
    chunks = choice.get("prompt_chunks")
    return Sample(
        prompt_token_ids=_numbers(prompt),
        prompt_chunks=cast("list[dict[str, Any]]", chunks) if isinstance(chunks, list) else None,
        output_token_ids=output,
        output_logprobs=_numbers([_mapping(entry).get("logprob") for entry in listed]),
    )


def _numbers(value: Any) -> list[Any]:
    if not isinstance(value, list):
        return []
    items = cast("list[Any]", value)
    return items if all(_number(item) is not None for item in items) else []


def _count(value: Any) -> int | None:
    number = _number(value)
    return None if number is None else int(number)


def _number(value: Any) -> float | None:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None
