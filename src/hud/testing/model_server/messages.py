"""Messages, as Anthropic speaks it.

Shapes from the types of the `anthropic` package. Native tools (bash, text editor, memory,
computer) are ordinary `tool_use` blocks here; where a request has the computer toolset, a call of
`computer` goes out as one of its member, and comes back as what it was.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from hud.models.provider import Dialect
from hud.testing.model_server.question import (
    Conversation,
    Image,
    Question,
    Tool,
    a_text,
    an_object,
    objects,
)
from hud.testing.model_server.reply import (
    ApiError,
    Call,
    Counts,
    Refused,
    Say,
    counts,
    pieces,
    words,
)
from hud.testing.model_server.seal import SealedCalls, is_seal, is_seal_of, seal
from hud.testing.model_server.wire import ModelRequest, Wire, event

_TOOLSET = "computer_toolset_20260801"
_IMAGE_TYPES = {"image/jpeg", "image/png", "image/gif", "image/webp"}
_IMAGE_BYTES = 5 << 20
_ERROR_TYPES = {
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    409: "conflict_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}
_FINISHES = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "content_filter": "refusal",
}


class MessagesWire(Wire):
    """The wire of `POST /v1/messages`."""

    dialect = Dialect.MESSAGES

    def __init__(self) -> None:
        super().__init__()
        self._sealed = SealedCalls()

    def read(self, request: ModelRequest) -> Question:
        body = request.body
        if not request.path.endswith("/count_tokens") and not isinstance(
            body.get("max_tokens"), int
        ):
            raise Refused("max_tokens: Field required")
        if not isinstance(body.get("messages"), list):
            raise Refused("'messages' must be a list")
        messages = objects(body["messages"], "messages")
        if not messages:
            raise Refused("messages: at least one message is required")
        conversation = Conversation()
        said = [_system(body.get("system"), "system")]
        for place, message in enumerate(messages):
            if message.get("role") == "system":
                said.append(_system(message.get("content"), f"messages.{place}.content"))
            else:
                self._read_message(message, place, conversation)
        _expect_answered(conversation, len(messages) - 1)
        _expect_toolsets(messages)
        self._expect_thinking(body, messages)
        system = "\n".join(text for text in said if text)
        tools = tuple(_tool(tool) for tool in objects(body.get("tools"), "tools"))
        return Question(
            self.dialect, request.model, system, conversation.turns(), tools, body, request.stream
        )

    def whole(self, say: Say, question: Question, number: int) -> dict[str, Any]:
        say, tokens = self._prepared(say, question, number)
        return {
            **self._message(question, number),
            "content": list(_blocks(say, question)),
            "stop_reason": _stop_reason(say),
            "stop_details": _stop_details(say),
            "usage": _usage(tokens),
        }

    def frames(self, say: Say, question: Question, number: int) -> list[bytes]:
        say, tokens = self._prepared(say, question, number)
        message = {
            **self._message(question, number),
            "usage": {**_usage(tokens), "output_tokens": 1},
        }
        frames = [
            event({"type": "message_start", "message": message}, "message_start"),
            event({"type": "ping"}, "ping"),
        ]
        for index, block in enumerate(_blocks(say, question)):
            frames += _block_frames(index, block)
        delta = {
            "stop_reason": _stop_reason(say),
            "stop_sequence": None,
            "stop_details": _stop_details(say),
        }
        last = {"type": "message_delta", "delta": delta, "usage": _usage(tokens)}
        frames.append(event(last, "message_delta"))
        frames.append(event({"type": "message_stop"}, "message_stop"))
        return frames

    def error(self, error: ApiError, number: int) -> dict[str, Any]:
        kind = "invalid_request_error" if error.status < 500 else "api_error"
        said: dict[str, Any] = {
            "type": _ERROR_TYPES.get(error.status, kind),
            "message": error.message,
        }
        if error.code:
            said["details"] = {"error_code": error.code}
        return {"type": "error", "error": said, "request_id": f"req_{self.run}{number}"}

    def error_frame(self, error: ApiError, number: int) -> bytes:
        return event(self.error(error, number), "error")

    def wrong_key(self, is_missing: bool) -> ApiError:
        return ApiError(401, "x-api-key header is required" if is_missing else "invalid x-api-key")

    def headers(self, number: int) -> dict[str, str]:
        return {"request-id": f"req_{self.run}{number}"}

    def _prepared(self, say: Say, question: Question, number: int) -> tuple[Say, Counts]:
        say = say.with_ids(f"toolu_{self.run}{number}")
        if say.reasoning is not None:
            token = seal(say.reasoning)
            for call in say.calls:
                self._sealed.keep(call.id or "", token)
        return say, counts(say, question.prompt_tokens if say.prompt_tokens is None else 0)

    def _message(self, question: Question, number: int) -> dict[str, Any]:
        return {
            "id": f"msg_{self.run}{number}",
            "type": "message",
            "role": "assistant",
            "model": question.model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
        }

    def _read_message(
        self, message: dict[str, Any], place: int, conversation: Conversation
    ) -> None:
        where = f"messages.{place}"
        role = message.get("role")
        if role not in ("user", "assistant"):
            raise Refused(f"{where}.role: Input should be 'user', 'assistant' or 'system'")
        content = message.get("content")
        if isinstance(content, str):
            content = [{"type": "text", "text": content}]
        blocks = objects(content, f"{where}.content")
        if not blocks and role == "user":
            raise Refused(f"{where}: user messages must have non-empty content")
        if role == "assistant":
            _expect_answered(conversation, place)
            conversation.side("assistant")
        for number, block in enumerate(blocks):
            spot = f"{where}.content.{number}"
            if role == "user":
                _read_user_block(block, spot, conversation)
            else:
                _read_model_block(block, spot, conversation)
        if role == "user":
            _expect_answered(conversation, place - 1)

    def _expect_thinking(self, body: dict[str, Any], messages: list[dict[str, Any]]) -> None:
        """Refuse a loop of tools that goes on without the thinking it began with."""
        thinking = an_object(body.get("thinking"), "thinking").get("type")
        if thinking not in ("enabled", "adaptive"):
            return
        place, last = next(
            ((at, each) for at, each in reversed(list(enumerate(messages)))
             if each.get("role") == "assistant"), (0, None),
        )  # fmt: skip
        if last is None or not isinstance(last.get("content"), list):
            return
        blocks = objects(last["content"], "content")
        token = blocks[0].get("signature") if blocks else None
        for block in blocks:
            if block.get("type") == "tool_use" and self._sealed.lacks(block.get("id"), token):
                raise Refused(
                    f"messages.{place}.content.0.type: Expected `thinking` or "
                    f"`redacted_thinking`, but found `{blocks[0].get('type')}`: when thinking is "
                    "on, the final assistant message must start with its thinking block"
                )


def _system(value: Any, where: str) -> str:
    if isinstance(value, str):
        return value
    return "\n".join(a_text(block.get("text"), where) for block in objects(value, where))


def _blocks(say: Say, question: Question) -> Iterator[dict[str, Any]]:
    if say.reasoning is not None:
        token = seal(say.reasoning)
        yield {"type": "thinking", "thinking": say.reasoning, "signature": token}
    if say.text:
        block: dict[str, Any] = {"type": "text", "text": say.text}
        if say.citations:
            block["citations"] = [
                {
                    "type": "web_search_result_location",
                    "cited_text": each.text,
                    "encrypted_index": seal(each.source),
                    "title": each.title or None,
                    "url": each.source,
                }
                for each in say.citations
            ]
        yield block
    for call in say.calls:
        held = call.arguments_object
        block = {"type": "tool_use", "id": call.id, "name": call.name}
        if held is not None and call.name == "computer" and _has_toolset(question):
            member = {"name": str(held.get("action")), "toolset_name": "computer"}
            held = {name: value for name, value in held.items() if name != "action"}
            block |= member
        yield {**block, "input": call.arguments_text if held is None else held}


def _has_toolset(question: Question) -> bool:
    return any(tool.kind == _TOOLSET for tool in question.tools)


def _expect_toolsets(messages: list[dict[str, Any]]) -> None:
    """Refuse a result that does not name the toolset its call was of."""
    of_call: dict[str, Any] = {}
    for place, message in enumerate(messages):
        content = message.get("content")
        for block in objects(content, "content") if isinstance(content, list) else ():
            if block.get("type") == "tool_use":
                of_call[str(block.get("id"))] = block.get("toolset_name")
            elif block.get("type") == "tool_result":
                asked = of_call.get(str(block.get("tool_use_id")))
                if block.get("toolset_name") != asked:
                    raise Refused(
                        f"messages.{place}: `toolset_name` of a `tool_result` block must be that "
                        f"of its `tool_use` block: {asked}"
                    )


def _block_frames(index: int, block: dict[str, Any]) -> list[bytes]:
    """Return the events of one block: begun empty, then filled."""
    deltas: list[dict[str, Any]] = []
    begin: dict[str, Any]
    match block["type"]:
        case "thinking":
            begin = {**block, "thinking": "", "signature": ""}
            deltas += [
                {"type": "thinking_delta", "thinking": word} for word in words(block["thinking"])
            ]
            deltas.append({"type": "signature_delta", "signature": block["signature"]})
        case "text":
            begin = {"type": "text", "text": ""}
            deltas += [{"type": "text_delta", "text": word} for word in words(block["text"])]
            deltas += [
                {"type": "citations_delta", "citation": each} for each in block.get("citations", ())
            ]
        case _:
            begin = {**block, "input": {}}
            held = block["input"]
            text = Call("", held).arguments_text
            deltas.append({"type": "input_json_delta", "partial_json": ""})
            deltas += [
                {"type": "input_json_delta", "partial_json": piece} for piece in pieces(text)
            ]
    start = {"type": "content_block_start", "index": index, "content_block": begin}
    return [
        event(start, "content_block_start"),
        *(
            event(
                {"type": "content_block_delta", "index": index, "delta": delta},
                "content_block_delta",
            )
            for delta in deltas
        ),
        event({"type": "content_block_stop", "index": index}, "content_block_stop"),
    ]


def _stop_reason(say: Say) -> str:
    if say.finish is not None:
        return _FINISHES.get(say.finish, say.finish)
    if say.refusal is not None:
        return "refusal"
    return "tool_use" if say.calls else "end_turn"


def _stop_details(say: Say) -> dict[str, Any] | None:
    if say.refusal is None:
        return None
    return {"type": "refusal", "category": None, "explanation": say.refusal}


def _usage(tokens: Counts) -> dict[str, Any]:
    return {
        "input_tokens": max(tokens.prompt - tokens.cached, 0),
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": tokens.cached,
        "output_tokens": tokens.completion,
    }


def _read_model_block(block: dict[str, Any], where: str, conversation: Conversation) -> None:
    turn = conversation.side("assistant")
    match block.get("type"):
        case "text":
            turn.texts.append(_said(block, where))
        case "thinking":
            thinking = a_text(block.get("thinking"), f"{where}.thinking")
            token = block.get("signature")
            if not (is_seal_of(token, thinking) if thinking else is_seal(token)):
                raise Refused(f"{where}: Invalid `signature` in `thinking` block")
            turn.reasoning.append(thinking)
        case "tool_use":
            if not isinstance(block.get("input"), dict):
                raise Refused(f"{where}.tool_use.input: Input should be a valid dictionary")
            name = a_text(block.get("name"), f"{where}.tool_use.name")
            held = an_object(block["input"], where)
            if block.get("toolset_name") is not None:
                name, held = a_text(block["toolset_name"], where), {"action": name, **held}
            call_id = a_text(block.get("id"), f"{where}.tool_use.id")
            conversation.call(Call(name, held, call_id))
        case "image" | "document" | "tool_result":
            raise Refused(f"{where}: {block['type']} blocks are not for an assistant's message")
        case str():
            pass
        case _:
            raise Refused(f"{where}.type: Field required")


def _read_user_block(block: dict[str, Any], where: str, conversation: Conversation) -> None:
    match block.get("type"):
        case "text":
            conversation.side("user").texts.append(_said(block, where))
        case "image":
            conversation.side("user").images.append(_image(block, where))
        case "tool_result":
            call_id = a_text(block.get("tool_use_id"), f"{where}.tool_use_id")
            texts, images = _result_content(block.get("content"), where)
            failed = block.get("is_error") is True
            if not conversation.result(call_id, "\n".join(texts), images, is_error=failed):
                raise Refused(
                    f"{where}: unexpected `tool_use_id` found in `tool_result` blocks: {call_id}; "
                    "each must have its `tool_use` block in the message before"
                )
        case "tool_use" | "thinking":
            raise Refused(f"{where}: {block['type']} blocks are not for a user's message")
        case str():
            pass
        case _:
            raise Refused(f"{where}.type: Field required")


def _result_content(content: Any, where: str) -> tuple[list[str], list[Image]]:
    if content is None or isinstance(content, str):
        return [content or ""], []
    texts: list[str] = []
    images: list[Image] = []
    for number, block in enumerate(objects(content, f"{where}.content")):
        spot = f"{where}.content.{number}"
        if block.get("type") == "text":
            texts.append(_said(block, spot))
        elif block.get("type") == "image":
            images.append(_image(block, spot))
    return texts, images


def _said(block: dict[str, Any], where: str) -> str:
    text = a_text(block.get("text"), f"{where}.text")
    if not text:
        raise Refused(f"{where}: text content blocks must be non-empty")
    return text


def _image(block: dict[str, Any], where: str) -> Image:
    source = an_object(block.get("source"), f"{where}.source")
    match source.get("type"):
        case "base64":
            kind = a_text(source.get("media_type"), f"{where}.source.media_type")
            data = a_text(source.get("data"), f"{where}.source.data")
            if kind not in _IMAGE_TYPES:
                raise Refused(f"{where}.source.media_type: {kind!r} is no type of an image")
            size = len(data) * 3 // 4
            if size > _IMAGE_BYTES:
                raise Refused(
                    f"{where}.image.source.base64: image exceeds 5 MB maximum: "
                    f"{size} bytes > {_IMAGE_BYTES} bytes"
                )
            return Image(kind, data)
        case "url":
            return Image("", url=a_text(source.get("url"), f"{where}.source.url"))
        case _:
            return Image("")


def _expect_answered(conversation: Conversation, place: int) -> None:
    if conversation.open:
        raise Refused(
            f"messages.{place}: `tool_use` ids were found without `tool_result` blocks immediately "
            f"after: {', '.join(conversation.open)}"
        )


def _tool(tool: dict[str, Any]) -> Tool:
    kind = a_text(tool.get("type"), "tools.type")
    return Tool(
        a_text(tool.get("name"), "tools.name") or ("computer" if kind == _TOOLSET else kind),
        kind if kind not in ("", "custom") else "function",
        an_object(tool.get("input_schema"), "tools.input_schema"),
        a_text(tool.get("description"), "tools.description"),
    )
