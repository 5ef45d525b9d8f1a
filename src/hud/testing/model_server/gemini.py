"""The Gemini API (`generateContent`), as Google speaks it.

Shapes from the types of the `google-genai` package, in the camel case of the wire. Computer use is
ordinary function calls here; its screenshots come as parts of the function's response.
"""

from __future__ import annotations

import re
from typing import Any

from hud._core import json
from hud.models.provider import Dialect
from hud.testing.model_server.question import (
    Conversation,
    Image,
    Question,
    Tool,
    TurnDraft,
    a_text,
    an_object,
    objects,
)
from hud.testing.model_server.reply import ApiError, Call, Refused, Say, counts, words
from hud.testing.model_server.seal import SealedCalls, is_seal, seal
from hud.testing.model_server.wire import ModelRequest, Wire, event

_STATUSES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    409: "ABORTED",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
_FINISHES = {
    "stop": "STOP",
    "tool_calls": "STOP",
    "length": "MAX_TOKENS",
    "content_filter": "SAFETY",
}
_TYPE_URL = "type.googleapis.com/google.rpc."

Part = dict[str, Any]


class GeminiWire(Wire):
    """The wire of `POST /v1beta/models/{model}:generateContent` and `:streamGenerateContent`."""

    dialect = Dialect.GEMINI

    def __init__(self) -> None:
        super().__init__()
        self._sealed = SealedCalls()

    def read(self, request: ModelRequest) -> Question:
        body = request.body
        contents = objects(body.get("contents"), "contents")
        if not contents:
            raise Refused("* GenerateContentRequest.contents: contents is not specified")
        conversation = Conversation()
        for place, content in enumerate(contents):
            self._read_content(content, f"contents[{place}]", conversation)
        _expect_answered(conversation)
        system = an_object(_either(body, "systemInstruction"), "systemInstruction")
        texts = [
            a_text(part.get("text"), "systemInstruction")
            for part in objects(system.get("parts"), "systemInstruction.parts")
        ]
        tools = [tool for each in objects(body.get("tools"), "tools") for tool in _tools(each)]
        return Question(
            self.dialect,
            request.model,
            "\n".join(texts),
            conversation.turns(),
            tuple(tools),
            body,
            request.stream,
        )

    def whole(self, say: Say, question: Question, number: int) -> dict[str, Any]:
        say, parts = self._parts(say, number)
        last = self._last(say, question, number)
        content: dict[str, Any] = {"role": "model"}
        if parts:
            content["parts"] = parts
        last["candidates"][0] |= {"content": content}
        return last

    def frames(self, say: Say, question: Question, number: int) -> list[bytes]:
        say, parts = self._parts(say, number)
        last = self._last(say, question, number)
        base = {"modelVersion": question.model, "responseId": last["responseId"]}
        prompt = {"promptTokenCount": last["usageMetadata"]["promptTokenCount"]}
        chunks = [
            {
                "candidates": [{"content": {"role": "model", "parts": [part]}, "index": 0}],
                "usageMetadata": prompt,
                **base,
            }
            for part in (piece for part in parts for piece in _cut(part))
        ]
        last["candidates"][0] |= {"content": {"role": "model", "parts": [{"text": ""}]}}
        return [event(chunk, end=b"\r\n\r\n") for chunk in (*chunks, last)]

    def error(self, error: ApiError, number: int) -> dict[str, Any]:
        fallback = "INVALID_ARGUMENT" if error.status < 500 else "INTERNAL"
        status = _STATUSES.get(error.status, fallback)
        details: list[dict[str, Any]] = []
        if error.code in _STATUSES.values():
            status = error.code or status
        elif error.code:
            service = {"service": "generativelanguage.googleapis.com"}
            details.append(
                {
                    "@type": f"{_TYPE_URL}ErrorInfo",
                    "reason": error.code,
                    "domain": "googleapis.com",
                    "metadata": service,
                }
            )
        for name, value in error.headers.items():
            if name.lower() == "retry-after" and value.isdigit():
                details.append({"@type": f"{_TYPE_URL}RetryInfo", "retryDelay": f"{value}s"})
        said: dict[str, Any] = {"code": error.status, "message": error.message, "status": status}
        if details:
            said["details"] = details
        return {"error": said}

    def error_frame(self, error: ApiError, number: int) -> bytes:
        return event(self.error(error, number), end=b"\r\n\r\n")

    def wrong_key(self, is_missing: bool) -> ApiError:
        if is_missing:
            return ApiError(403, "Method doesn't allow unregistered callers")
        return ApiError(400, "API key not valid. Please pass a valid API key.", "API_KEY_INVALID")

    def headers(self, number: int) -> dict[str, str]:
        return {}

    def _parts(self, say: Say, number: int) -> tuple[Say, list[Part]]:
        """Return the parts of a turn; the first that is no thought carries the signature."""
        say = say.with_ids(f"call_{self.run}{number}")
        parts: list[Part] = []
        if say.reasoning:
            parts.append({"text": say.reasoning, "thought": True})
        if say.text:
            parts.append({"text": say.text})
        if malformed(say) is None:
            for call in say.calls:
                held = {"name": call.name, "args": call.arguments_object, "id": call.id}
                parts.append({"functionCall": held})
        if say.reasoning is not None:
            spoken = [part for part in parts if not part.get("thought")]
            called = [part for part in spoken if "functionCall" in part]
            for part in (called or spoken)[:1]:
                part["thoughtSignature"] = seal(json.encode([say.reasoning, part]).decode())
                if called:
                    self._sealed.keep(part["functionCall"]["id"], part["thoughtSignature"])
        return say, parts

    def _last(self, say: Say, question: Question, number: int) -> dict[str, Any]:
        """Return an answer without its content."""
        tokens = counts(say, question.prompt_tokens if say.prompt_tokens is None else 0)
        usage: dict[str, Any] = {
            "promptTokenCount": tokens.prompt,
            "candidatesTokenCount": tokens.completion - tokens.reasoning,
            "totalTokenCount": tokens.prompt + tokens.completion,
        }
        if tokens.reasoning:
            usage["thoughtsTokenCount"] = tokens.reasoning
        if tokens.cached:
            usage["cachedContentTokenCount"] = tokens.cached
        candidate: dict[str, Any] = {"index": 0, "finishReason": _finish(say)}
        broken = malformed(say)
        if broken is not None:
            candidate["finishMessage"] = f"Malformed function call: {broken}"
        elif say.refusal is not None:
            candidate["finishMessage"] = say.refusal
        if say.citations:
            candidate["groundingMetadata"] = _grounding(say)
        return {
            "candidates": [candidate],
            "usageMetadata": usage,
            "modelVersion": question.model,
            "responseId": f"{self.run}{number}",
        }

    def _read_content(
        self, content: dict[str, Any], where: str, conversation: Conversation
    ) -> None:
        role = content.get("role") or "user"
        if role not in ("user", "model", "function"):
            raise Refused(f"Please use a valid role: user, model. ({where}.role)")
        parts = objects(content.get("parts"), f"{where}.parts")
        if not parts:
            raise Refused(
                f"* GenerateContentRequest.{where}.parts: contents.parts must not be empty"
            )
        if role == "model":
            _expect_answered(conversation)
        turn = conversation.side("assistant" if role == "model" else "user")
        for place, part in enumerate(parts):
            spot = f"{where}.parts[{place}]"
            token = _either(part, "thoughtSignature")
            if token is not None and not is_seal(token):
                raise Refused(f"Thought signature is not valid. ({spot})")
            if _either(part, "functionCall") is not None:
                self._read_call(_either(part, "functionCall"), token, spot, conversation)
            elif _either(part, "functionResponse") is not None:
                _read_response(_either(part, "functionResponse"), spot, conversation)
            else:
                _read_plain(part, spot, turn)
        if role != "model":
            _expect_answered(conversation)

    def _read_call(self, value: Any, token: Any, where: str, conversation: Conversation) -> None:
        call = an_object(value, f"{where}.functionCall")
        name = a_text(call.get("name"), f"{where}.functionCall.name")
        call_id = a_text(call.get("id"), f"{where}.functionCall.id")
        if self._sealed.lacks(call_id, token):
            raise Refused(
                "Function call is missing a thought_signature in functionCall parts: function "
                f"call `{name}`, {where}"
            )
        if not call_id:
            call_id = f"{name}#{len(conversation.open)}"
        arguments = an_object(call.get("args"), f"{where}.functionCall.args")
        conversation.call(Call(name, arguments, call_id))


def malformed(say: Say) -> str | None:
    """Return the arguments that are no object: such a call is a way to finish here, not a part."""
    broken = (call for call in say.calls if call.arguments_object is None)
    return next((call.arguments_text for call in broken), None)


def _finish(say: Say) -> str:
    if say.finish is not None:
        return _FINISHES.get(say.finish, say.finish)
    if malformed(say) is not None:
        return "MALFORMED_FUNCTION_CALL"
    return "SAFETY" if say.refusal is not None else "STOP"


def _cut(part: Part) -> list[Part]:
    """Cut a text at its words; the signature comes with the last of them."""
    if "text" not in part:
        return [part]
    bare = {name: value for name, value in part.items() if name != "thoughtSignature"}
    cut = [{**bare, "text": word} for word in words(part["text"])]
    cut[-1] = {**part, "text": cut[-1]["text"]}
    return cut


def _grounding(say: Say) -> dict[str, Any]:
    return {
        "groundingChunks": [
            {"web": {"uri": each.source, "title": each.title}} for each in say.citations
        ],
        "groundingSupports": [
            {
                "segment": {
                    "startIndex": each.start_index,
                    "endIndex": each.end_index,
                    "text": each.text,
                },
                "groundingChunkIndices": [place],
            }
            for place, each in enumerate(say.citations)
        ],
    }


def _read_plain(part: Part, where: str, turn: TurnDraft) -> None:
    text = a_text(part.get("text"), f"{where}.text")
    inline = _either(part, "inlineData")
    if part.get("thought") is True:
        turn.reasoning.append(text)
    elif text:
        turn.texts.append(text)
    if inline is not None:
        turn.images += _image(inline, where)


def _read_response(value: Any, where: str, conversation: Conversation) -> None:
    response = an_object(value, f"{where}.functionResponse")
    name = a_text(response.get("name"), f"{where}.functionResponse.name")
    call_id = a_text(response.get("id"), f"{where}.functionResponse.id")
    if not call_id:
        fitting = (at for at, call in conversation.open.items() if call.name == name)
        call_id = next(fitting, "")
    said = an_object(response.get("response"), f"{where}.functionResponse.response")
    images: list[Image] = []
    for part in objects(response.get("parts"), f"{where}.functionResponse.parts"):
        if (inline := _either(part, "inlineData")) is not None:
            images += _image(inline, where)
    text, failed = _said(said)
    if not conversation.result(call_id, text, images, is_error=failed, name=name):
        raise _unequal()


def _said(response: dict[str, Any]) -> tuple[str, bool]:
    """Return a response as text: what stands under its one word, else its JSON."""
    for key in ("error", "output", "result"):
        if set(response) == {key} and isinstance(response[key], str):
            return response[key], key == "error"
    return (json.encode(response).decode() if response else ""), "error" in response


def _expect_answered(conversation: Conversation) -> None:
    if conversation.open:
        raise _unequal()


def _unequal() -> Refused:
    return Refused(
        "Please ensure that the number of function response parts is equal to the number of "
        "function call parts of the function call turn."
    )


def _image(value: Any, where: str) -> list[Image]:
    inline = an_object(value, f"{where}.inlineData")
    kind = a_text(_either(inline, "mimeType"), f"{where}.inlineData.mimeType")
    data = a_text(inline.get("data"), f"{where}.inlineData.data")
    return [Image(kind, data)] if kind.startswith("image/") else []


def _tools(tool: dict[str, Any]) -> list[Tool]:
    made: list[Tool] = []
    for key, value in tool.items():
        kind = re.sub(r"([A-Z])", r"_\1", key).lower()
        if kind != "function_declarations":
            made.append(Tool(kind, kind))
            continue
        for each in objects(value, "tools.functionDeclarations"):
            schema = _either(each, "parametersJsonSchema") or each.get("parameters")
            made.append(
                Tool(
                    a_text(each.get("name"), "tools.name"),
                    parameters=an_object(schema, "tools.parameters"),
                    description=a_text(each.get("description"), "tools.description"),
                )
            )
    return made


def _either(held: dict[str, Any], camel: str) -> Any:
    """Return a field by either of its spellings; Google takes both."""
    value = held.get(camel)
    return held.get(re.sub(r"([A-Z])", r"_\1", camel).lower()) if value is None else value
