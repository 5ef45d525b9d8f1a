"""Chat Completions, as OpenAI, vLLM and the many that follow them speak it.

Shapes from the types of the `openai` package; `reasoning_content`, `return_token_ids` and
`token_ids` as vLLM has them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

from hud.models.provider import Dialect
from hud.testing.model_server.question import (
    Conversation,
    Image,
    Question,
    Tool,
    TurnDraft,
    a_text,
    an_object,
    image_at,
    objects,
)
from hud.testing.model_server.reply import (
    ApiError,
    Call,
    Counts,
    Refused,
    Say,
    counts,
    parsed,
    pieces,
    words,
)
from hud.testing.model_server.wire import ModelRequest, Wire, event

DONE = b"data: [DONE]\n\n"


class ChatWire(Wire):
    """The wire of `POST /v1/chat/completions`."""

    dialect = Dialect.CHAT

    def read(self, request: ModelRequest) -> Question:
        body = request.body
        if not isinstance(body.get("messages"), list):
            raise Refused("'messages' must be a list", param="messages")
        messages = objects(body["messages"], "messages")
        if not messages:
            raise Refused("[] is too short - 'messages'", param="messages")
        system: list[str] = []
        conversation = Conversation()
        for place, message in enumerate(messages):
            _read_message(message, f"messages.{place}", conversation, system)
        _expect_answered(conversation)
        return Question(
            self.dialect,
            request.model,
            "\n".join(system),
            conversation.turns(),
            tuple(_tool(tool) for tool in objects(body.get("tools"), "tools")),
            body,
            request.stream,
        )

    def whole(self, say: Say, question: Question, number: int) -> dict[str, Any]:
        say = say.with_ids(f"call_{self.run}{number}")
        custom = {tool.name for tool in question.tools if tool.kind == "custom"}
        tokens = counts(say, question.prompt_tokens if say.prompt_tokens is None else 0)
        return completion(say, question.body, tokens, number, custom)

    def frames(self, say: Say, question: Question, number: int) -> list[bytes]:
        say = say.with_ids(f"call_{self.run}{number}")
        custom = {tool.name for tool in question.tools if tool.kind == "custom"}
        tokens = counts(say, question.prompt_tokens if say.prompt_tokens is None else 0)
        return stream(say, question.body, tokens, number, custom)

    def error(self, error: ApiError, number: int) -> dict[str, Any]:
        return error_object(error)

    def error_frame(self, error: ApiError, number: int) -> bytes:
        return event(error_object(error))


def error_object(error: ApiError) -> dict[str, Any]:
    """Return the body of a refusal, as OpenAI sends it."""
    kind, code = "invalid_request_error" if error.status < 500 else "server_error", error.code
    if error.status == 429 and code != "insufficient_quota":
        kind, code = "requests", code or "rate_limit_exceeded"
    elif code == "insufficient_quota":
        kind = code
    return {
        "error": {"message": error.message, "type": kind, "param": error.param, "code": code},
    }


def completion(
    say: Say,
    request: dict[str, Any],
    tokens: Counts,
    number: int,
    custom: set[str] | frozenset[str] = frozenset(),
) -> dict[str, Any]:
    """Return the completion object for one request; calls must have ids."""
    choice: dict[str, Any] = {
        "index": 0,
        "message": _message(say, custom),
        "finish_reason": _finish(say),
        "logprobs": _logprobs(say) if request.get("logprobs") else None,
        **_token_ids(say, request),
    }
    return {
        "id": f"chatcmpl-{number}",
        "object": "chat.completion",
        "created": 0,
        "model": request.get("model"),
        "choices": [choice],
        "usage": _usage(tokens),
    }


def stream(
    say: Say,
    request: dict[str, Any],
    tokens: Counts,
    number: int,
    custom: set[str] | frozenset[str] = frozenset(),
) -> list[bytes]:
    """Return the completion piece by piece, as a streamed reply sends it; calls must have ids."""
    base: dict[str, Any] = {
        "id": f"chatcmpl-{number}",
        "object": "chat.completion.chunk",
        "created": 0,
        "model": request.get("model"),
    }
    frames = [
        event({**base, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]})
        for delta in _deltas(say, custom)
    ]
    last: dict[str, Any] = {
        "index": 0,
        "delta": {},
        "finish_reason": _finish(say),
        **_token_ids(say, request),
    }
    if request.get("logprobs"):
        last["logprobs"] = _logprobs(say)
    frames.append(event({**base, "choices": [last]}))
    options = request.get("stream_options")
    if isinstance(options, dict) and cast("dict[str, Any]", options).get("include_usage"):
        frames.append(event({**base, "choices": [], "usage": _usage(tokens)}))
    frames.append(DONE)
    return frames


def _message(say: Say, custom: set[str] | frozenset[str]) -> dict[str, Any]:
    content = None if say.calls and not say.text else say.text
    message: dict[str, Any] = {"role": "assistant", "content": content}
    if say.reasoning is not None:
        message["reasoning_content"] = say.reasoning
    if say.refusal is not None:
        message["refusal"] = say.refusal
    if say.citations:
        message["annotations"] = _annotations(say)
    if say.calls:
        message["tool_calls"] = [_spelled(call, custom) for call in say.calls]
    return message


def _deltas(say: Say, custom: set[str] | frozenset[str]) -> Iterator[dict[str, Any]]:
    yield {"role": "assistant", "content": None if say.calls and not say.text else ""}
    for word in words(say.reasoning or ""):
        yield {"reasoning_content": word}
    for word in words(say.text or ""):
        yield {"content": word}
    if say.refusal is not None:
        yield {"refusal": say.refusal}
    if say.citations:
        yield {"annotations": _annotations(say)}
    for place, call in enumerate(say.calls):
        spelled = _spelled(call, custom)
        kind = "custom" if spelled["type"] == "custom" else "function"
        text = "input" if kind == "custom" else "arguments"
        whole_text: str = spelled[kind][text]
        begin = {"index": place, **spelled, kind: {"name": call.name, text: ""}}
        yield {"tool_calls": [begin]}
        for piece in pieces(whole_text):
            yield {"tool_calls": [{"index": place, kind: {text: piece}}]}


def _spelled(call: Call, custom: set[str] | frozenset[str]) -> dict[str, Any]:
    if call.name in custom:
        text = call.arguments_text
        if isinstance(call.arguments, dict) and isinstance(call.arguments.get("input"), str):
            text = str(call.arguments["input"])
        return {"id": call.id, "type": "custom", "custom": {"name": call.name, "input": text}}
    function = {"name": call.name, "arguments": call.arguments_text}
    return {"id": call.id, "type": "function", "function": function}


def _annotations(say: Say) -> list[dict[str, Any]]:
    return [
        {
            "type": "url_citation",
            "url_citation": {
                "url": each.source,
                "title": each.title,
                "start_index": each.start_index,
                "end_index": each.end_index,
            },
        }
        for each in say.citations
    ]


def _finish(say: Say) -> str:
    return say.finish or ("tool_calls" if say.calls else "stop")


def _logprobs(say: Say) -> dict[str, Any]:
    return {
        "content": [{"token": "", "logprob": value, "top_logprobs": []} for value in say.logprobs]
    }


def _token_ids(say: Say, request: dict[str, Any]) -> dict[str, Any]:
    if not request.get("return_token_ids"):
        return {}
    return {"prompt_token_ids": list(say.prompt_token_ids), "token_ids": list(say.token_ids)}


def _usage(tokens: Counts) -> dict[str, Any]:
    usage: dict[str, Any] = {
        "prompt_tokens": tokens.prompt,
        "completion_tokens": tokens.completion,
        "total_tokens": tokens.prompt + tokens.completion,
        "prompt_tokens_details": {"cached_tokens": tokens.cached},
    }
    if tokens.reasoning:
        usage["completion_tokens_details"] = {"reasoning_tokens": tokens.reasoning}
    return usage


def _read_message(
    message: dict[str, Any], where: str, conversation: Conversation, system: list[str]
) -> None:
    role = message.get("role")
    content = message.get("content")
    if role in ("system", "developer"):
        system.append(_content(content, where)[0])
        return
    if role == "tool":
        call_id = a_text(message.get("tool_call_id"), f"{where}.tool_call_id")
        text, images = _content(content, where)
        if not conversation.result(call_id, text, images):
            raise Refused(
                "messages with role 'tool' must be a response to a preceding message with "
                f"'tool_calls': {where} answers {call_id!r}",
                param=where,
            )
        return
    _expect_answered(conversation)
    if role == "user":
        _add(conversation.side("user"), *_content(content, where))
    elif role == "assistant":
        said = conversation.side("assistant")
        _add(said, *_content(content, where))
        for name in ("reasoning_content", "reasoning"):
            if thought := a_text(message.get(name), f"{where}.{name}"):
                said.reasoning.append(thought)
                break
        for call in objects(message.get("tool_calls"), f"{where}.tool_calls"):
            conversation.call(_call(call, f"{where}.tool_calls"))
    else:
        raise Refused(f"Invalid value: {role!r} at {where}.role", param=f"{where}.role")


def _expect_answered(conversation: Conversation) -> None:
    if conversation.open:
        raise Refused(
            "an assistant message with 'tool_calls' must be followed by tool messages responding "
            f"to each 'tool_call_id'; without a response: {', '.join(conversation.open)}",
            param="messages",
        )


def _call(call: dict[str, Any], where: str) -> Call:
    kind = "custom" if call.get("type") == "custom" else "function"
    function = an_object(call.get(kind), f"{where}.{kind}")
    text = a_text(function.get("input" if kind == "custom" else "arguments"), where)
    arguments = parsed(text) if kind == "function" else None
    call_id = a_text(call.get("id"), f"{where}.id")
    name = a_text(function.get("name"), f"{where}.name")
    return Call(name, text if arguments is None else arguments, call_id)


def _add(turn: TurnDraft, text: str, images: list[Image]) -> None:
    if text:
        turn.texts.append(text)
    turn.images += images


def _content(content: Any, where: str) -> tuple[str, list[Image]]:
    """Return the text and the pictures of a message's content."""
    if content is None or isinstance(content, str):
        return content or "", []
    texts: list[str] = []
    images: list[Image] = []
    for part in objects(content, f"{where}.content"):
        match part.get("type"):
            case "text" | "refusal":
                texts.append(a_text(part.get(part["type"]), f"{where}.content"))
            case "image_url":
                image = an_object(part.get("image_url"), f"{where}.content.image_url")
                images.append(image_at(a_text(image.get("url"), where), where))
            case "input_audio" | "file" | "video_url":
                pass
            case other:
                raise Refused(f"Invalid value: {other!r} at {where}.content", param=where)
    return "\n".join(texts), images


def _tool(tool: dict[str, Any]) -> Tool:
    kind = a_text(tool.get("type"), "tools.type") or "function"
    function = an_object(tool.get(kind), "tools")
    return Tool(
        a_text(function.get("name"), "tools.name") or kind,
        kind,
        an_object(function.get("parameters"), "tools.parameters"),
        a_text(function.get("description"), "tools.description"),
    )
