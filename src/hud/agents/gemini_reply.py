"""Replies of generateContent as data: into a step, and into what goes back with the next turn.

Requests are `gemini_format`.
"""

from __future__ import annotations

import re
from typing import Any, cast
from uuid import uuid4

from hud._core import json
from hud._core.errors import AgentFault, ModelFault
from hud.agents.gemini_format import UNCALLED, UNNAMED, Content, Part
from hud.agents.tools.toolbox import decode_arguments
from hud.models.failure import excerpt
from hud.trace.content import MCPToolCall
from hud.trace.steps import AgentStep, Citation, Usage

_STOPPED = {"STOP": "stop", "MAX_TOKENS": "length", "CONTINUATION": "length"}
_UNREADABLE = {"MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL"}
_WITHHELD = {
    "SAFETY",
    "RECITATION",
    "LANGUAGE",
    "BLOCKLIST",
    "PROHIBITED_CONTENT",
    "SPII",
    "MODEL_ARMOR",
    "ESCALATION",
    "IMAGE_SAFETY",
    "IMAGE_PROHIBITED_CONTENT",
    "IMAGE_RECITATION",
}
_LARGEST = 2**53
_CALLED = re.compile(r"(?:default_api\.)?([A-Za-z_][\w.:-]*)\s*\(")


def read_body(body: str, where: str) -> dict[str, Any]:
    """Read a reply's JSON.

    Raises:
        ModelFault: when it is no JSON object.
    """
    try:
        reply = json.decode(body)
    except ValueError:
        raise _malformed(where, f"not JSON: {excerpt(body)}") from None
    if not isinstance(reply, dict):
        raise _malformed(where, excerpt(reply))
    return cast("dict[str, Any]", reply)


def goes_on_with(reply: dict[str, Any]) -> str | None:
    """Return the token that gets the rest of an answer the API gave a part of; None for a whole."""
    candidate = _candidate(reply)
    token = candidate.get("continuationToken")
    is_part = candidate.get("finishReason") in (None, "CONTINUATION")
    return token if is_part and isinstance(token, str) and token else None


def joined(first: dict[str, Any], rest: dict[str, Any]) -> dict[str, Any]:
    """Return two parts of an answer as one; their tokens add up."""
    before, after = _candidate(first), _candidate(rest)
    parts = [*_parts(before), *_parts(after)]
    usage = dict(_mapping(first.get("usageMetadata")))
    for name, value in _mapping(rest.get("usageMetadata")).items():
        known: Any = usage.get(name)
        usage[name] = known + value if _is_number(known) and _is_number(value) else value
    candidate = {**before, **after, "content": {"role": "model", "parts": parts}}
    if "continuationToken" not in after:
        candidate.pop("continuationToken", None)
    return {**first, **rest, "candidates": [candidate], "usageMetadata": usage}


def read_reply(
    reply: dict[str, Any], where: str, *, citations_enabled: bool = False
) -> tuple[Content | None, AgentStep]:
    """Return what goes back with the next turn, and the reply as a step.

    Parts go back unchanged, signatures of thoughts included, except for calls that nothing will
    answer. Only the first candidate counts.

    Raises:
        ModelFault: when it is no answer, or an error in the clothes of one.
        AgentFault: when the API says that the conversation lacks what it gave us.
    """
    usage = _usage(_mapping(reply.get("usageMetadata")))
    model = _text(reply.get("modelVersion"))
    candidate = _candidate(reply)
    if not candidate:
        refusal = _blocked(reply, where)
        step = AgentStep(refusal=refusal, finish_reason="content_filter", model=model, usage=usage)
        return None, step
    reason = _text(candidate.get("finishReason")) or ""
    said = _text(candidate.get("finishMessage"))
    _check(reason, said, where)
    parts = [dict(part) for part in _parts(candidate) if part]
    if reason in _WITHHELD:
        parts = [part for part in parts if "functionCall" not in part]
    calls = [_call(part) for part in parts if "functionCall" in part]
    texts = [part for part in parts if _text(part.get("text")) is not None]
    spoken = [part["text"] for part in texts if not part.get("thought")]
    thoughts = [part["text"] for part in texts if part.get("thought")]
    if reason in _UNREADABLE:
        call, told = _unreadable(said)
        calls.append(call)
        parts.append({"text": told})
    step = AgentStep(
        content="".join(spoken) if spoken else None,
        reasoning="\n\n".join(thoughts) or None,
        tool_calls=calls,
        refusal=_refusal(reason, said),
        finish_reason="tool_calls" if calls and reason != "MAX_TOKENS" else _finish(reason),
        model=model,
        usage=usage,
        citations=_citations(candidate) if citations_enabled else [],
    )
    return ({"role": "model", "parts": parts} if parts else None), step


def _candidate(reply: dict[str, Any]) -> dict[str, Any]:
    found = reply.get("candidates")
    return _mapping(cast("list[Any]", found)[0]) if isinstance(found, list) and found else {}


def _parts(candidate: dict[str, Any]) -> list[Part]:
    found = _mapping(candidate.get("content")).get("parts")
    return [_mapping(part) for part in cast("list[Any]", found)] if isinstance(found, list) else []


def _blocked(reply: dict[str, Any], where: str) -> str:
    """Return why there is no candidate.

    Raises:
        ModelFault: when the prompt was not blocked.
    """
    feedback = _mapping(reply.get("promptFeedback"))
    reason = _text(feedback.get("blockReason"))
    if reason:
        message = _text(feedback.get("blockReasonMessage"))
        return f"the API blocked the prompt: {reason}{f' ({message})' if message else ''}"
    if reply.get("error"):
        raise ModelFault(f"{where} answered with an error: {excerpt(reply['error'])}")
    raise _malformed(where, f"no candidates: {excerpt(reply)}")


def _check(reason: str, said: str | None, where: str) -> None:
    """Tell an API that gave up from a model that stopped."""
    if reason == "MISSING_THOUGHT_SIGNATURE":
        raise AgentFault(
            f"{where} misses the signature of a thought it gave with an earlier turn",
            hint="what stands between this agent and the API may have dropped thoughtSignature",
        )
    if reason == "PUP_LIMITED_DISABLED":
        raise ModelFault(f"{where} has limited or disabled this account: {excerpt(said or reason)}")


def _finish(reason: str) -> str | None:
    if reason in _WITHHELD:
        return "content_filter"
    return _STOPPED.get(reason) or reason.lower() or None


def _refusal(reason: str, said: str | None) -> str | None:
    if reason not in _WITHHELD:
        return None
    return said or f"the API withheld the answer: {reason}"


def _call(part: Part) -> MCPToolCall:
    """Read a call; one whose arguments are no object goes back with some that are."""
    asked = dict(_mapping(part["functionCall"]))
    given = asked.get("args")
    arguments: dict[str, Any] | str = _mapping(given)
    if given is not None and not isinstance(given, dict):
        spelled = given if isinstance(given, str) else json.encode(given).decode()
        arguments = decode_arguments(spelled)
        is_text = isinstance(arguments, str)
        asked["args"] = {"malformed": arguments} if is_text else arguments
        part["functionCall"] = asked
    call_id = _text(asked.get("id")) or f"{UNNAMED}{uuid4()}"
    return MCPToolCall(name=_text(asked.get("name")) or "", arguments=arguments, id=call_id)


def _unreadable(said: str | None) -> tuple[MCPToolCall, str]:
    """Return a call that the API could not read, and how it stands in the conversation."""
    told = said or "Malformed function call"
    _, colon, spelled = told.partition(": ")
    text = spelled if colon and spelled else told
    named = [name for name in _CALLED.findall(text) if name != "print"]
    name = named[0] if named else "malformed_function_call"
    return MCPToolCall(name=name, arguments=text, id=f"{UNCALLED}{uuid4()}"), told


def _usage(usage: dict[str, Any]) -> Usage:
    """Return the tokens of a turn: what hosted tools read is prompt, thoughts are answer."""
    return Usage(
        prompt_tokens=_sum(usage, "promptTokenCount", "toolUsePromptTokenCount"),
        completion_tokens=_sum(usage, "candidatesTokenCount", "thoughtsTokenCount"),
        cached_tokens=_sum(usage, "cachedContentTokenCount"),
        llm_call_count=1,
    )


def _sum(usage: dict[str, Any], *names: str) -> int | None:
    """Add counts up; zeros are not sent, so with any count there the others are 0."""
    found: list[Any] = [usage.get(name) for name in names]
    counts = [int(value) for value in found if _is_number(value)]
    if not counts and not _is_number(usage.get("totalTokenCount")):
        return None
    return sum(counts)


def _citations(candidate: dict[str, Any]) -> list[Citation]:
    return [*_grounded(candidate), *_quoted(candidate)]


def _grounded(candidate: dict[str, Any]) -> list[Citation]:
    """Return the sources of a search, once for each span they support."""
    held = _mapping(candidate.get("groundingMetadata"))
    chunks = _listed(held.get("groundingChunks"))
    parts = _parts(candidate)
    found: list[Citation] = []
    for support in _listed(held.get("groundingSupports")):
        segment = _mapping(support.get("segment"))
        start, end = _span(parts, segment)
        indices = support.get("groundingChunkIndices")
        for index in cast("list[Any]", indices) if isinstance(indices, list) else []:
            if not isinstance(index, int) or not 0 <= index < len(chunks):
                continue
            source = _mapping(next(iter(chunks[index].values()), None))
            found.append(
                Citation(
                    type="grounding",
                    text=_text(segment.get("text")) or "",
                    source=_text(source.get("uri")) or "",
                    title=_text(source.get("title")),
                    start_index=start,
                    end_index=end,
                )
            )
    return found


def _span(parts: list[Part], segment: dict[str, Any]) -> tuple[int | None, int | None]:
    """Return where a segment stands in the answer's text: the API counts bytes of one part."""
    end = segment.get("endIndex")
    start, place = segment.get("startIndex", 0), segment.get("partIndex", 0)
    if not (isinstance(start, int) and isinstance(end, int) and isinstance(place, int)):
        return None, None
    spoken = [part for part in parts if not part.get("thought") and "text" in part]
    if not spoken:
        return None, None
    # An index of a part counts all of them; without one, the first that is spoken is meant.
    named = parts[place] if 0 <= place < len(parts) else spoken[0]
    target = named if any(part is named for part in spoken) else spoken[0]
    before = 0
    for part in spoken:
        if part is target:
            break
        before += len(_text(part.get("text")) or "")
    held = (_text(target.get("text")) or "").encode()
    first, last = (len(held[:at].decode("utf-8", "ignore")) for at in (start, end))
    return before + first, before + last


def _quoted(candidate: dict[str, Any]) -> list[Citation]:
    """Return the sources that an answer repeats at length."""
    held = _mapping(candidate.get("citationMetadata"))
    listed = _listed(held.get("citationSources")) or _listed(held.get("citations"))
    return [
        Citation(
            source=_text(item.get("uri")) or "",
            title=_text(item.get("title")),
            start_index=_index(item.get("startIndex")),
            end_index=_index(item.get("endIndex")),
        )
        for item in listed
    ]


def _malformed(where: str, detail: str) -> ModelFault:
    return ModelFault(
        f"{where} answered something that is no reply of generateContent, {detail}",
        hint="the address must speak the Gemini API; it has no version at its end",
    )


def _listed(value: Any) -> list[dict[str, Any]]:
    return [_mapping(item) for item in cast("list[Any]", value)] if isinstance(value, list) else []


def _mapping(value: Any) -> dict[str, Any]:
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _index(value: Any) -> int | None:
    return int(value) if _is_number(value) else None


def _is_number(value: Any) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and abs(value) < _LARGEST
