"""Chat Completions as data: prompts into request messages, replies into agent steps.

Sending and receiving is `openai_chat`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from hud._core import json
from hud._core.errors import AgentFault, ModelFault, bounded
from hud._core.redact import redact
from hud.trace.content import (
    AudioContent,
    ContentBlock,
    EmbeddedResource,
    ImageContent,
    PromptMessage,
    TextContent,
)
from hud.trace.steps import AgentStep, Sample, Usage

Part = dict[str, Any]
_AUDIO_FORMATS = {"audio/wav": "wav", "audio/x-wav": "wav", "audio/mpeg": "mp3", "audio/mp3": "mp3"}


def chat_messages(
    prompt: Sequence[PromptMessage], system_prompt: str | None = None
) -> list[dict[str, Any]]:
    """Return the request's `messages`: the system prompt, then the prompt.

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
    messages: list[dict[str, Any]] = []
    if system_prompt is not None:
        messages.append({"role": "system", "content": system_prompt})
    messages.extend({"role": role, "content": _joined(parts)} for role, parts in turns)
    return messages


def read_completion(body: bytes, where: str) -> AgentStep:
    """Read a reply into a step; only its first choice counts.

    Raises:
        ModelFault: when it is no chat completion, or an error in the clothes of one.
    """
    try:
        reply = json.decode(body)
    except ValueError:
        raise _malformed(where, f"not JSON: {excerpt(body)}") from None
    if not isinstance(reply, dict):
        raise _malformed(where, excerpt(body))
    completion = cast("dict[str, Any]", reply)
    choices = completion.get("choices")
    if not isinstance(choices, list) or not choices:
        if completion.get("error"):
            raise ModelFault(f"{where} answered with an error: {excerpt(completion['error'])}")
        raise _malformed(where, f"no choices: {excerpt(body)}")
    choice = _mapping(cast("list[Any]", choices)[0])
    message = choice.get("message")
    if not isinstance(message, dict):
        raise _malformed(where, f"no message: {excerpt(body)}")
    said = cast("dict[str, Any]", message)
    return AgentStep(
        content=_text(said.get("content")),
        reasoning=_text(said.get("reasoning_content")) or _text(said.get("reasoning")),
        refusal=_text(said.get("refusal")),
        finish_reason=_text(choice.get("finish_reason")),
        model=_text(completion.get("model")),
        usage=_usage(_mapping(completion.get("usage"))),
        sample=_sample(completion, choice),
    )


def excerpt(value: Any) -> str:
    """Return a short, redacted piece of a reply for a message."""
    if isinstance(value, bytes):
        value = value[:2_000].decode("utf-8", "replace")
    if isinstance(value, dict):
        value = _mapping(value).get("message") or _mapping(value)
    text = value if isinstance(value, str) else json.encode(value).decode()
    if text.lstrip()[:1] == "<":
        return "an HTML page"
    return bounded(" ".join(redact(text).split()), 300) or "an empty body"


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
