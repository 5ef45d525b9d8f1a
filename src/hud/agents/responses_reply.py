"""Replies of the Responses API as data: into a step, and into items that can be sent back.

What is sent is `responses_format`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, cast

from hud._core import json
from hud._core.errors import ModelFault, bounded
from hud.agents.responses_format import APPLY_PATCH, COMPUTER, SHELL, Item
from hud.agents.tools.toolbox import decode_arguments
from hud.models.failure import CallFailure, excerpt
from hud.trace.content import MCPToolCall
from hud.trace.steps import AgentStep, Citation, Usage

_NATIVE = {"shell_call": SHELL, "apply_patch_call": APPLY_PATCH, "computer_call": COMPUTER}
# Items whose id the API can do without. One it knows makes it ask for the reasoning before it.
_WITHOUT_ID = {"message", "function_call", "shell_call", "apply_patch_call"}
_OURS = {"message", "reasoning", "function_call", *_NATIVE}

_POLICY = {
    "invalid_prompt",
    "bio_policy",
    "misalignment_policy_violation",
    "image_content_policy_violation",
    "content_policy_violation",
    "content_filter",
}
_IMAGE = {
    "invalid_image",
    "invalid_image_format",
    "invalid_base64_image",
    "invalid_image_url",
    "invalid_image_mode",
    "image_too_large",
    "image_too_small",
    "image_parse_error",
    "image_file_too_large",
    "unsupported_image_media_type",
    "empty_image_file",
}
_UNKNOWN_RESPONSE = re.compile(r"previous[_ ]response|response with id", re.IGNORECASE)


class FailedReply(Exception):
    """A response that the API itself says has failed; `failure` says how."""

    def __init__(self, failure: CallFailure) -> None:
        super().__init__(failure.detail)
        self.failure = failure


def read_body(body: bytes, where: str) -> dict[str, Any]:
    """Read a reply's JSON.

    Raises:
        FailedReply: when the model failed in a way that may pass.
        ModelFault: when it is no response.
    """
    try:
        read = json.decode(body)
    except ValueError:
        raise _malformed(where, f"not JSON: {excerpt(body)}") from None
    if not isinstance(read, dict):
        raise _malformed(where, excerpt(body))
    reply = cast("dict[str, Any]", read)
    error = reply.get("error")
    if reply.get("status") == "failed":
        code = _text(_mapping(error).get("code"))
        if code not in _POLICY | _IMAGE:
            detail = excerpt(error or "it does not say why")
            if code == "rate_limit_exceeded":
                raise FailedReply(CallFailure("status", detail, status=429, code=code))
            raise FailedReply(CallFailure("cut", detail, code=code))
    elif not isinstance(reply.get("output"), list):
        if error:
            raise ModelFault(f"{where} answered with an error: {excerpt(error)}")
        raise _malformed(where, f"no output: {excerpt(reply)}")
    return reply


def is_unknown_response(failure: CallFailure) -> bool:
    """Tell whether a request was refused because the API does not know what it goes on from."""
    if failure.status not in (400, 404):
        return False
    is_named = failure.code == "previous_response_not_found"
    return is_named or _UNKNOWN_RESPONSE.search(failure.detail) is not None


def refusal_of(failure: CallFailure, *, has_results: bool) -> dict[str, Any] | None:
    """Return the reply that a refused request amounts to, where it is for what it says.

    A policy refuses whoever asks. A picture is the model's doing once it has called a tool, for a
    tool then gave it; before, it is the task's.
    """
    codes = _POLICY | _IMAGE if has_results else _POLICY
    if failure.status not in (400, 403, 422) or failure.code not in codes:
        return None
    error = {"code": failure.code, "message": failure.detail}
    return {"status": "failed", "error": error, "output": []}


def read_response(reply: dict[str, Any], where: str, *, citations_enabled: bool) -> AgentStep:
    """Read a reply of `read_body` into a step.

    Raises:
        ModelFault: when its output is nothing that can be read.
    """
    if reply.get("status") == "failed":
        return _refused(reply)
    output = _items(reply["output"])
    if reply["output"] and not output:
        raise _malformed(where, f"no items: {excerpt(reply)}")
    messages = [item for item in output if item.get("type") == "message"]
    # Models that comment on their work mark the answer.
    answers = [item for item in messages if item.get("phase") == "final_answer"] or messages
    content, citations = _said(answers)
    refusals = [_text(part.get("refusal")) or "" for item in messages for part in _refusals(item)]
    refusal = "\n\n".join(refusals) if refusals else None
    calls = _calls(output)
    step = AgentStep(
        content=content,
        reasoning=_reasoning(output),
        tool_calls=calls,
        refusal=refusal,
        citations=citations if citations_enabled else [],
        finish_reason=_finish_reason(reply, calls, refusal),
        model=_text(reply.get("model")),
        usage=_usage(_mapping(reply.get("usage"))),
    )
    step.extra = _extra(reply, output, calls)
    return step


def echoed(output: Any) -> list[Item]:
    """Return a reply's output as items of a request that holds the whole conversation.

    Reasoning goes back as it came where the API can read it again: encrypted, or in the clear. The
    rest goes without what ties it to stored items, and arguments that were no JSON object as one
    that says so, because some servers read them.
    """
    items: list[Item] = []
    for index, item in enumerate(_items(output)):
        kind = item.get("type")
        if kind == "reasoning":
            if item.get("encrypted_content") or item.get("content"):
                items.append(item)
            continue
        if kind in _WITHOUT_ID:
            item = {name: item[name] for name in item if name not in ("id", "created_by")}
        if kind == "function_call" or kind in _NATIVE:
            item = {**item, "call_id": _call_id(item, index)}
        if kind == "function_call":
            item["arguments"] = _spelled(decode_arguments(_text(item.get("arguments"))))
        items.append(item)
    return items


def _malformed(where: str, detail: str) -> ModelFault:
    return ModelFault(
        f"{where} answered something that is no response, {detail}",
        hint="the address must speak the Responses API and usually ends with /v1; a server that "
        "speaks Chat Completions only is asked by openai_compatible",
    )


def _refused(reply: dict[str, Any]) -> AgentStep:
    error = _mapping(reply.get("error"))
    code = _text(error.get("code")) or ""
    message = _text(error.get("message")) or "refused"
    return AgentStep(
        refusal=message,
        finish_reason="refusal" if code in _IMAGE else "content_filter",
        model=_text(reply.get("model")),
        usage=_usage(_mapping(reply.get("usage"))),
        extra={"refusal_of_api": f"{code}: {message}"},
    )


def _said(messages: Sequence[Item]) -> tuple[str | None, list[Citation]]:
    """Return the text of messages, and what they cite with places in that text."""
    content: str | None = None
    citations: list[Citation] = []
    for message in messages:
        texts = [part for part in _items(message.get("content")) if "text" in part]
        for index, part in enumerate(texts):
            if content is None:
                content = ""
            elif index == 0:
                content += "\n\n"
            text = _text(part["text"]) or ""
            citations += _citations(part, text, len(content))
            content += text
    return content, citations


def _citations(part: Item, text: str, offset: int) -> Iterator[Citation]:
    for note in _items(part.get("annotations")):
        start, end = _count(note.get("start_index")), _count(note.get("end_index"))
        if start is None or end is None:
            start = end = _count(note.get("index"))
        source = _text(note.get("url")) or _text(note.get("file_id")) or ""
        yield Citation(
            type=_text(note.get("type")) or "citation",
            text="" if start is None else text[start:end],
            source=source,
            title=_text(note.get("title")) or _text(note.get("filename")),
            start_index=None if start is None else start + offset,
            end_index=None if end is None else end + offset,
        )


def _refusals(message: Item) -> list[Item]:
    return [part for part in _items(message.get("content")) if part.get("type") == "refusal"]


def _reasoning(output: Sequence[Item]) -> str | None:
    """Return what the model lets be seen of its reasoning: the text itself, or a summary."""
    texts: list[str] = []
    for item in output:
        if item.get("type") == "reasoning":
            parts = _items(item.get("content")) or _items(item.get("summary"))
            texts += [text for part in parts if (text := _text(part.get("text")))]
    return "\n\n".join(texts) or None


def _calls(output: Sequence[Item]) -> list[MCPToolCall]:
    """Read the calls that wait for a result; hosted tools bring theirs along."""
    answered = {
        item.get("call_id") for item in output if str(item.get("type", "")).endswith("_output")
    }
    calls: list[MCPToolCall] = []
    for index, item in enumerate(output):
        kind = item.get("type")
        call_id = _call_id(item, index)
        if call_id in answered:
            continue
        meta = {
            name: item[name] for name in ("caller", "pending_safety_checks") if item.get(name)
        } or None
        if kind == "function_call":
            name = _text(item.get("name")) or ""
            arguments = decode_arguments(_text(item.get("arguments")))
            calls.append(MCPToolCall(name=name, arguments=arguments, id=call_id, meta=meta))
        elif kind in _NATIVE:
            name = _NATIVE[kind]
            arguments = _native_arguments(item, kind)
            calls.append(
                MCPToolCall(
                    name=name, arguments=arguments, id=call_id, provider_name=name, meta=meta
                )
            )
    return calls


def _native_arguments(item: Item, kind: str) -> dict[str, Any] | str:
    """Return what a native call asks for, as its tool takes it."""
    match kind:
        case "computer_call":
            name = "actions" if item.get("actions") is not None else "action"
            return {name: item.get(name)}
        case "shell_call":
            held = item.get("action")
        case _:
            held = item.get("operation")
    if not isinstance(held, dict):
        return json.encode(held).decode()
    given = cast("dict[str, Any]", held)
    return {name: value for name, value in given.items() if value is not None}


def _call_id(item: Item, index: int) -> str:
    return _text(item.get("call_id")) or _text(item.get("id")) or f"call_{index}"


def _spelled(arguments: dict[str, Any] | str) -> str:
    if isinstance(arguments, str):
        arguments = {"malformed": arguments}
    return json.encode(arguments).decode()


def _finish_reason(reply: dict[str, Any], calls: Sequence[MCPToolCall], refusal: str | None) -> str:
    if reply.get("status") == "incomplete":
        reason = _text(_mapping(reply.get("incomplete_details")).get("reason")) or "incomplete"
        return "length" if reason == "max_output_tokens" else reason
    if calls:
        return "tool_calls"
    return "stop" if refusal is None else "refusal"


def _extra(
    reply: dict[str, Any], output: Sequence[Item], calls: Sequence[MCPToolCall]
) -> dict[str, Any]:
    """Return what else is worth keeping of a turn."""
    extra: dict[str, Any] = {}
    if response_id := _text(reply.get("id")):
        extra["response_id"] = response_id
    metas = [call.meta or {} for call in calls]
    checks = [check for meta in metas for check in meta.get("pending_safety_checks", ())]
    if checks:
        extra["acknowledged_safety_checks"] = checks
    details = _mapping(_mapping(reply.get("usage")).get("output_tokens_details"))
    if reasoning := _count(details.get("reasoning_tokens")):
        extra["reasoning_tokens"] = reasoning
    hosted = [
        {
            "type": bounded(str(item.get("type"))),
            "status": item.get("status"),
            "action": item.get("action"),
        }
        for item in output
        if item.get("type") not in _OURS and not str(item.get("type")).endswith("_output")
    ]
    if hosted:
        extra["hosted_tools"] = hosted
    return extra


def _usage(usage: dict[str, Any]) -> Usage:
    details = _mapping(usage.get("input_tokens_details"))
    return Usage(
        prompt_tokens=_count(usage.get("input_tokens")),
        completion_tokens=_count(usage.get("output_tokens")),
        cached_tokens=_count(details.get("cached_tokens")),
        cache_write_tokens=_count(details.get("cache_write_tokens")) or None,
        llm_call_count=1,
    )


def _items(value: Any) -> list[Item]:
    if not isinstance(value, list):
        return []
    return [item for item in cast("list[Any]", value) if isinstance(item, dict)]


def _mapping(value: Any) -> dict[str, Any]:
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _count(value: Any) -> int | None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return int(value) if is_number else None
