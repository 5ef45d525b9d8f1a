"""The Messages API as data: prompts, tools and results into request messages, replies into steps.

Sending and receiving is `claude`; putting a streamed reply together is `messages_stream`. A
conversation is kept without cache marks: they are set on copies (`marked`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, cast
from uuid import uuid4

from hud._core.errors import AgentFault, ModelFault, bounded
from hud.agents.tools.base import AgentTool
from hud.agents.tools.claude_kinds import BETAS
from hud.models.failure import excerpt
from hud.trace.content import (
    ContentBlock,
    EmbeddedResource,
    ImageContent,
    MCPToolCall,
    MCPToolResult,
    PromptMessage,
    TextContent,
)
from hud.trace.steps import AgentStep, Citation, Usage

Block = dict[str, Any]
Message = dict[str, Any]

LEFT_OUT = "(left out to make room)"
REFUSED = "(left out, because the API refused a picture)"
EMPTY = "(an empty message)"
_IMAGE_TYPES = {"image/png", "image/jpeg", "image/gif", "image/webp"}
_CACHED = {"cache_control": {"type": "ephemeral"}}
_COMPUTER = "computer"
_NOT_IN_A_NAME = re.compile(r"[^a-zA-Z0-9_-]")
_NAME_AT_MOST = 128
_FINISH = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
}


def prompt_messages(prompt: Sequence[PromptMessage]) -> list[Message]:
    """Return the request's `messages` for a prompt; neighbours of one role become one message.

    The API refuses texts without a letter, so they are left out.

    Raises:
        AgentFault: when the prompt holds something the API cannot carry.
    """
    messages: list[Message] = []
    for said in prompt:
        if isinstance(said.content, TextContent) and not said.content.text.strip():
            continue
        if not messages or messages[-1]["role"] != said.role:
            messages.append({"role": said.role, "content": []})
        messages[-1]["content"].append(_prompt_block(said.content, said.role))
    return messages or [{"role": "user", "content": [{"type": "text", "text": EMPTY}]}]


def tool_params(tools: dict[str, AgentTool[Any]], hosted: Sequence[Any]) -> list[Any]:
    """Declare tools, those the model was trained on in its own form, hosted ones last."""
    declared = [tool.native_spec() or _function(tool) for tool in tools.values()]
    return [*declared, *(each.spec for each in hosted)]


def betas(tools: Sequence[dict[str, Any]]) -> list[str]:
    """Return what the `anthropic-beta` header has to name for declared tools."""
    kinds = [tool.get("type") for tool in tools]
    return sorted({BETAS[kind] for kind in kinds if kind in BETAS})


def result_message(calls: Sequence[MCPToolCall], results: Sequence[MCPToolResult]) -> Message:
    """Return the results of a turn's calls, in their order."""
    blocks = [_result_block(call, result) for call, result in zip(calls, results, strict=True)]
    return {"role": "user", "content": blocks}


def parts_of_result(block: Block) -> list[Block]:
    """Return the parts of a block that is a result and still has them."""
    content = block.get("content") if block["type"] == "tool_result" else None
    return cast("list[Block]", content) if isinstance(content, list) else []


def marked(messages: Sequence[Message]) -> list[Message]:
    """Mark the last two user turns to be cached.

    The API finds what an earlier request cached a limited number of blocks back; the mark before
    the last is where that request ended, however much one turn added.
    """
    out, left = list(messages), 2
    for at in range(len(out) - 1, -1, -1):
        if out[at]["role"] == "user":
            out[at] = {**out[at], "content": with_mark(out[at]["content"])}
            left -= 1
            if not left:
                break
    return out


def with_mark(blocks: Sequence[Block]) -> list[Block]:
    """Return blocks with the last marked: what comes up to it is to be cached."""
    return [*blocks[:-1], {**blocks[-1], **_CACHED}]


def cite(messages: Sequence[Message]) -> None:
    """Ask for citations from the documents of a prompt."""
    for message in messages:
        for block in message["content"]:
            if block["type"] == "document":
                block["citations"] = {"enabled": True}


def trim(messages: list[Message]) -> bool:
    """Empty the older half of the results that still have content; False when there is none.

    The last turn's results stay.
    """
    ends = [at for at, message in enumerate(messages) if message["role"] == "assistant"]
    held = [
        (at, place)
        for at, message in enumerate(messages[: ends[-1] if ends else 0])
        for place, block in enumerate(message["content"])
        if block["type"] == "tool_result" and block["content"] != LEFT_OUT
    ]
    for at, place in held[: (len(held) + 1) // 2]:
        content = list(messages[at]["content"])
        content[place] = {**content[place], "content": LEFT_OUT}
        messages[at] = {**messages[at], "content": content}
    return bool(held)


def reply_blocks(reply: dict[str, Any], where: str) -> list[Block]:
    """Return the content of a reply.

    Raises:
        ModelFault: when it is no message, or an error in the clothes of one.
    """
    if reply.get("type") == "error" or (reply.get("error") and not reply.get("content")):
        raise ModelFault(f"{where} answered with an error: {excerpt(reply)}")
    content = reply.get("content")
    blocks: list[Block] = []
    for block in cast("list[Any]", content) if isinstance(content, list) else [None]:
        held = _mapping(block)
        if not isinstance(held.get("type"), str):
            raise malformed(where, excerpt(reply))
        if held["type"] == "tool_use" and not isinstance(held.get("id"), str):
            held = {**held, "id": f"toolu_{uuid4().hex}"}
        blocks.append(held)
    return blocks


def echoed(blocks: Sequence[Block]) -> list[Block]:
    """Return a reply's content to send back: unchanged, thinking with its signature above all.

    Empty texts, which the API refuses, are left out; an input that was no JSON object goes back
    as one that says so.
    """
    return [
        {**block, "input": {"malformed": block.get("input")}}
        if block["type"] == "tool_use" and not isinstance(block.get("input"), dict)
        else block
        for block in blocks
        if block["type"] != "text" or block.get("text")
    ]


def read_reply(reply: dict[str, Any], blocks: Sequence[Block]) -> AgentStep:
    """Read a reply with its content into a step."""
    texts = [_text(block.get("text")) or "" for block in blocks if block["type"] == "text"]
    thoughts = [
        _text(block.get("thinking")) or "" for block in blocks if block["type"] == "thinking"
    ]
    content = "".join(texts)
    reason = _text(reply.get("stop_reason"))
    step = AgentStep(
        content=content if texts else None,
        reasoning="\n\n".join(thought for thought in thoughts if thought) or None,
        tool_calls=[_call(block) for block in blocks if block["type"] == "tool_use"],
        citations=_citations(blocks),
        finish_reason=_FINISH.get(reason or "", reason),
        model=_text(reply.get("model")),
        usage=_usage(_mapping(reply.get("usage"))),
    )
    if reason == "refusal":
        why = _text(_mapping(reply.get("stop_details")).get("explanation"))
        step.refusal = why or content or "the API stopped the reply"
        step.tool_calls = []
    if reason == "model_context_window_exceeded":
        step.stop_reason = "context_overflow"
    return step


def joined(first: AgentStep, second: AgentStep) -> AgentStep:
    """Return two replies, of which the second goes on where the first paused, as one step."""
    texts = [step.content for step in (first, second) if step.content is not None]
    thoughts = [step.reasoning for step in (first, second) if step.reasoning]
    ahead = len(first.content or "")
    for citation in second.citations:
        citation.start_index = (citation.start_index or 0) + ahead
        citation.end_index = (citation.end_index or 0) + ahead
    return second.model_copy(
        update={
            "content": "".join(texts) if texts else None,
            "reasoning": "\n\n".join(thoughts) or None,
            "citations": [*first.citations, *second.citations],
            "tool_calls": [*first.tool_calls, *second.tool_calls],
            "usage": total(first.usage, second.usage),
            "started_at": first.started_at,
        }
    )


def total(first: Usage | None, second: Usage | None) -> Usage | None:
    """Return what two calls used together; what one of them does not say is not known."""
    if first is None or second is None:
        return first or second
    sums: dict[str, Any] = {}
    for name in Usage.model_fields:
        one, other = getattr(first, name), getattr(second, name)
        sums[name] = None if one is None or other is None else one + other
    return Usage(**sums)


def wire_name(name: str) -> str:
    """Return a tool's name as the API takes one."""
    return _NOT_IN_A_NAME.sub("_", name)[:_NAME_AT_MOST]


def malformed(where: str, detail: str) -> ModelFault:
    """Return the fault of a server that answers something else than the Messages API."""
    return ModelFault(
        f"{where} answered something that is no reply of the Messages API: {detail}",
        hint="the address must speak the Messages API: requests go to base_url + /v1/messages",
    )


def _function(tool: AgentTool[Any]) -> dict[str, Any]:
    schema = {"type": "object", **tool.parameters}
    for name in ("anyOf", "oneOf", "allOf"):
        schema.pop(name, None)  # the API takes none at the top
    return {
        "name": wire_name(tool.name),
        "description": tool.description,
        "input_schema": schema,
    }


def _prompt_block(block: ContentBlock, role: str) -> Block:
    shown = _block(block) if role == "user" or isinstance(block, TextContent) else None
    if shown is None:
        kind = getattr(block, "mimeType", None) or block.type
        raise AgentFault(
            f"the prompt has a part ({bounded(kind)}, role {role}) that the Messages API cannot "
            "carry",
            hint="it carries text, and images, PDF and text documents of the user",
        )
    return shown


def _block(block: ContentBlock) -> Block | None:
    match block:
        case TextContent():
            return {"type": "text", "text": block.text}
        case ImageContent() if block.mimeType in _IMAGE_TYPES:
            source = {"type": "base64", "media_type": block.mimeType, "data": block.data}
            return {"type": "image", "source": source}
        case EmbeddedResource():
            return _document(block.resource)
        case _:
            return None


def _document(resource: dict[str, Any]) -> Block | None:
    text, blob, kind = (resource.get(name) for name in ("text", "blob", "mimeType"))
    if isinstance(text, str):
        source = {"type": "text", "media_type": "text/plain", "data": text}
    elif isinstance(blob, str) and kind == "application/pdf":
        source = {"type": "base64", "media_type": kind, "data": blob}
    else:
        return None
    title = _text(resource.get("uri"))
    return {"type": "document", "source": source, **({"title": title[:500]} if title else {})}


def _result_block(call: MCPToolCall, result: MCPToolResult) -> Block:
    content: list[Block] = []
    for part in result.content:
        if isinstance(part, EmbeddedResource) and isinstance(part.resource.get("text"), str):
            part = TextContent(text=part.resource["text"])
        block = _block(part)
        if block is None:
            kind = getattr(part, "mimeType", None) or getattr(part, "uri", None) or part.type
            block = {"type": "text", "text": f"(a part that cannot be shown: {bounded(kind)})"}
        if block["type"] != "text" or block["text"]:
            content.append(block)
    shown: Block = {
        "type": "tool_result",
        "tool_use_id": call.id,
        "content": content or [{"type": "text", "text": "(no output)"}],
    }
    if result.isError and all(block["type"] == "text" for block in content):
        shown["is_error"] = True  # which the API takes with text only
    if call.provider_name is not None:
        shown["toolset_name"] = _COMPUTER
    return shown


def _call(block: Block) -> MCPToolCall:
    name = _text(block.get("name")) or ""
    given = block.get("input")
    arguments = _mapping(given) if isinstance(given, dict) else _text(given)
    if block.get("toolset_name") != _COMPUTER:
        return MCPToolCall(name=name, arguments=arguments, id=block["id"])
    if isinstance(arguments, dict):
        arguments = {**arguments, "action": name}
    return MCPToolCall(name=_COMPUTER, arguments=arguments, id=block["id"], provider_name=name)


def _citations(blocks: Sequence[Block]) -> list[Citation]:
    """Return the sources named for each text, with where that text stands in the answer."""
    found: list[Citation] = []
    at = 0
    for block in blocks:
        if block["type"] != "text":
            continue
        end = at + len(_text(block.get("text")) or "")
        listed = block.get("citations")
        for item in cast("list[Any]", listed) if isinstance(listed, list) else []:
            held = _mapping(item)
            title = _text(held.get("title")) or _text(held.get("document_title"))
            found.append(
                Citation(
                    type=_text(held.get("type")) or "citation",
                    text=_text(held.get("cited_text")) or "",
                    source=_text(held.get("url")) or _text(held.get("source")) or title or "",
                    title=title,
                    start_index=at,
                    end_index=end,
                )
            )
        at = end
    return found


def _usage(usage: dict[str, Any]) -> Usage:
    """Read tokens; the API's `input_tokens` are those the cache had nothing to do with."""
    plain = _count(usage.get("input_tokens"))
    read = _count(usage.get("cache_read_input_tokens"))
    written = _count(usage.get("cache_creation_input_tokens"))
    return Usage(
        prompt_tokens=None if plain is None else plain + (read or 0) + (written or 0),
        completion_tokens=_count(usage.get("output_tokens")),
        cached_tokens=read,
        cache_write_tokens=written,
        llm_call_count=1,
    )


def _mapping(value: Any) -> dict[str, Any]:
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
