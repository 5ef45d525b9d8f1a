"""generateContent as data: prompts, tools, settings and results into the request's parts.

Replies are `gemini_reply`; sending is `google_sdk`. Shapes from the API's reference and the types
of the `google-genai` package, in the camel case of the wire.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from typing import Any, cast

from hud._core.errors import AgentFault, bounded
from hud.agents.tools.base import AgentTool
from hud.agents.types import GeminiConfig, HostedTool
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

Part = dict[str, Any]
Content = dict[str, Any]

LEFT_OUT = "(left out to make room)"
OLD_PICTURE = "(an older picture, left out)"
REFUSED_PICTURE = "(a picture, left out because the API could not read it)"
NO_PAGE = "about:blank"
UNNAMED = "unnamed-"
"""Begins the id of a call that came without one, which its result then has none of either."""
UNCALLED = "uncalled-"
"""Begins the id of a call that the API did not pass on as one, because it could not read it."""

_NAME_AT_MOST = 64
_NAME_CHARS = re.compile(r"[^A-Za-z0-9_.:-]")
_IN_RESPONSES = ("image/png", "image/jpeg", "image/webp", "application/pdf")
# The generations whose results of plain functions cannot hold pictures.
_OLDER = re.compile(r"(^|/)gemini-[12]([.-]|$)")


def contents(prompt: Sequence[PromptMessage]) -> list[Content]:
    """Return the request's `contents` for a prompt; neighbours of one role become one.

    Raises:
        AgentFault: when the prompt holds something generateContent cannot carry.
    """
    turns: list[Content] = []
    for message in prompt:
        role = "model" if message.role == "assistant" else "user"
        if not turns or turns[-1]["role"] != role:
            turns.append({"role": role, "parts": []})
        turns[-1]["parts"].append(_part(message.content))
    return turns


def wire_name(name: str) -> str:
    """Return how the API can spell a tool's name."""
    spelled = _NAME_CHARS.sub("_", name)
    if not re.match(r"[A-Za-z_]", spelled):
        spelled = f"_{spelled}"
    return spelled[-_NAME_AT_MOST:] if len(spelled) > _NAME_AT_MOST else spelled


def declared(
    tools: dict[str, AgentTool[Any]], hosted: Sequence[HostedTool[Any]]
) -> list[dict[str, Any]]:
    """Return the request's `tools`; what several tools declare alike is declared once."""
    functions: list[dict[str, Any]] = []
    others: list[dict[str, Any]] = []
    for tool in tools.values():
        native = tool.native_spec()
        if native is None:
            functions.append(_function(tool))
        elif (spec := _camel(native)) not in others:
            others.append(spec)
    if functions:
        others.insert(0, {"functionDeclarations": functions})
    return [*others, *(_hosted(tool.spec) for tool in hosted)]


def generation_config(config: GeminiConfig, *, thinks: bool) -> dict[str, Any]:
    """Return the request's `generationConfig`; what is not set is left to the API."""
    thinking: dict[str, Any] = {}
    if config.include_thoughts and thinks:
        thinking["includeThoughts"] = True
    if config.thinking_level is not None:
        thinking["thinkingLevel"] = config.thinking_level.upper()
    settings = {
        "temperature": config.temperature,
        "topP": config.top_p,
        "topK": config.top_k,
        "maxOutputTokens": config.max_output_tokens,
        "thinkingConfig": thinking or None,
    }
    return {name: value for name, value in settings.items() if value is not None}


def results(calls: Sequence[MCPToolCall], given: Sequence[MCPToolResult]) -> Content:
    """Return the results of a turn's calls, in their order, as one content."""
    responses: list[Part] = []
    others: list[Part] = []
    for call, result in zip(calls, given, strict=True):
        said, pictures, sounds = _sorted(result)
        if call.id.startswith(UNCALLED):
            others.append({"text": f"Your function call could not be read. {said}"})
            continue
        response: dict[str, Any] = {}
        url = (result.structuredContent or {}).get("url")
        if isinstance(url, str) and len(result.structuredContent or {}) == 1:
            response["url"] = url
            said = said.removeprefix(f"url: {url}").lstrip()
        if said or not (pictures or response):
            response["error" if result.isError else "output"] = said or "(no output)"
        if _asks_to_confirm(call):
            response["safety_acknowledgement"] = "true"
        made: dict[str, Any] = {"name": wire_name(call.name), "response": response}
        if not call.id.startswith(UNNAMED):
            made = {"id": call.id, **made}
        if pictures:
            made["parts"] = pictures
        responses.append({"functionResponse": made})
        if sounds:
            others += [{"text": f"From {call.name}:"}, *sounds]
    return {"role": "user", "parts": [*responses, *others]}


def fit_results(message: Content, model: str, predefined: Collection[str]) -> None:
    """Put a turn's results in the form that a model takes.

    Args:
        predefined: Names of the functions that belong to the computer tool: they name a page.
    """
    moved: list[Part] = []
    for response in _responses(message):
        if response["name"] in predefined:
            response["response"].setdefault("url", NO_PAGE)
        elif _OLDER.search(model) and "parts" in response:
            moved += [{"text": f"Picture from {response['name']}:"}, *response.pop("parts")]
            response["response"].setdefault("output", "(a picture follows)")
    message["parts"] += moved


def has_pictures(message: Content, names: Collection[str]) -> bool:
    """Whether functions of these names returned pictures in this turn."""
    return any("parts" in each and each["name"] in names for each in _responses(message))


def without_pictures(message: Content, names: Collection[str], notice: str) -> Content:
    """Return a turn's results with a notice in place of the pictures of these functions.

    Of a message that is a picture and no result, nothing but the notice stays.
    """
    if all("inlineData" in part for part in message["parts"]):
        return {**message, "parts": [{"text": notice}]}
    return {**message, "parts": [_without(part, names, notice) for part in message["parts"]]}


def refuse_new_pictures(messages: list[Content]) -> bool:
    """Take the pictures out of the newest results; False when they have none."""
    if len(messages) < 2:
        return False
    newest = messages[-1]
    parts: list[Part] = [
        {"text": REFUSED_PICTURE} if "inlineData" in part else part for part in newest["parts"]
    ]
    names = {response["name"] for response in _responses(newest)}
    plain = without_pictures({**newest, "parts": parts}, names, REFUSED_PICTURE)
    messages[-1] = plain
    return plain != newest


def trim(messages: list[Content]) -> bool:
    """Empty the older half of the results that still have content; False when there is none.

    The last turn's results stay.
    """
    ends = [at for at, message in enumerate(messages) if message["role"] == "model"]
    held = [
        at
        for at, message in enumerate(messages[: ends[-1] if ends else 0])
        if any(not _is_left_out(response) for response in _responses(message))
    ]
    for at in held[: (len(held) + 1) // 2]:
        parts: list[Part] = []
        for response in _responses(messages[at]):
            kept = {name: value for name, value in response.items() if name != "parts"}
            kept["response"] = _emptied(response["response"])
            parts.append({"functionResponse": kept})
        messages[at] = {**messages[at], "parts": parts}
    return bool(held)


def _function(tool: AgentTool[Any]) -> dict[str, Any]:
    schema = {name: value for name, value in tool.parameters.items() if name != "$schema"}
    made: dict[str, Any] = {"name": wire_name(tool.name), "description": tool.description}
    return {**made, "parametersJsonSchema": schema}


def _hosted(spec: Any) -> Any:
    dump = getattr(spec, "model_dump", None)
    return spec if dump is None else dump(mode="json", by_alias=True, exclude_none=True)


def _camel(value: Any) -> Any:
    """Return a declaration in the spelling of the wire."""
    if not isinstance(value, dict):
        return value
    held = cast("dict[str, Any]", value)
    return {
        re.sub(r"_([a-z])", lambda found: found[1].upper(), key): _camel(inner)
        for key, inner in held.items()
    }


def _sorted(result: MCPToolResult) -> tuple[str, list[Part], list[Part]]:
    """Return the text of a result, its pictures, and what else has to stand beside it."""
    texts: list[str] = []
    pictures: list[Part] = []
    others: list[Part] = []
    for block in result.content:
        try:
            part = _part(block)
        except AgentFault:
            kind = getattr(block, "mimeType", None) or getattr(block, "uri", None) or block.type
            part = {"text": f"(a part that cannot be shown: {bounded(kind)})"}
        inline = cast("dict[str, Any]", part.get("inlineData"))
        if "text" in part:
            texts.append(part["text"])
        elif inline["mimeType"] in _IN_RESPONSES:
            pictures.append(part)
        else:
            others.append(part)
    return "\n\n".join(texts), pictures, others


def _part(block: ContentBlock) -> Part:
    match block:
        case TextContent():
            return {"text": block.text}
        case ImageContent() | AudioContent():
            return {"inlineData": {"mimeType": block.mimeType, "data": block.data}}
        case EmbeddedResource() if isinstance(block.resource.get("text"), str):
            return {"text": block.resource["text"]}
        case EmbeddedResource() if isinstance(block.resource.get("blob"), str) and isinstance(
            block.resource.get("mimeType"), str
        ):
            mime_type, data = block.resource["mimeType"], block.resource["blob"]
            return {"inlineData": {"mimeType": mime_type, "data": data}}
        case _:
            raise AgentFault(
                f"the prompt has a part ({bounded(block.type)}) that generateContent cannot carry",
                hint="it carries text, and images, audio and files with their bytes",
            )


def _responses(message: Content) -> Iterator[dict[str, Any]]:
    for part in message["parts"]:
        if "functionResponse" in part:
            yield part["functionResponse"]


def _without(part: Part, names: Collection[str], notice: str) -> Part:
    response = part.get("functionResponse")
    if response is None or "parts" not in response or response["name"] not in names:
        return part
    kept = {name: value for name, value in response.items() if name != "parts"}
    said = dict(response["response"])
    key = "error" if "error" in said else "output"
    said[key] = f"{said[key]}\n{notice}" if key in said else notice
    kept["response"] = said
    return {"functionResponse": kept}


def _emptied(response: dict[str, Any]) -> dict[str, Any]:
    kept = {name: value for name, value in response.items() if name not in ("output", "error")}
    return {**kept, "output": LEFT_OUT}


def _is_left_out(response: dict[str, Any]) -> bool:
    return response["response"].get("output") == LEFT_OUT


def _asks_to_confirm(call: MCPToolCall) -> bool:
    """Whether the API wants it said that someone agreed to an action of the computer tool."""
    decision = call.arguments.get("safety_decision") if isinstance(call.arguments, dict) else None
    if not isinstance(decision, dict):
        return False
    return str(cast("dict[str, Any]", decision).get("decision")).lower() == "require_confirmation"
