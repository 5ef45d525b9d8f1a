"""The server of all four dialects on one port: which request is whose, and what becomes of it.

HTTP is `http`; how a dialect reads and spells is the module of its name.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, cast
from urllib.parse import unquote

from hud._core import json
from hud.models.provider import Dialect
from hud.testing.model_server.chat import ChatWire
from hud.testing.model_server.gemini import GeminiWire
from hud.testing.model_server.http import Answer, HttpRequest, streamed, whole
from hud.testing.model_server.messages import MessagesWire
from hud.testing.model_server.question import Question
from hud.testing.model_server.reply import ApiError, HangUp, RawReply, Refused, Reply, Say
from hud.testing.model_server.responses import ResponsesWire
from hud.testing.model_server.serving import LatencyS, RuleServer, keys_of
from hud.testing.model_server.wire import ModelRequest, Wire

Rule = Callable[[Question], Reply | Awaitable[Reply]]

MODEL = "test-model"

_ROUTES = {
    "/chat/completions": Dialect.CHAT,
    "/responses": Dialect.RESPONSES,
    "/responses/input_tokens": Dialect.RESPONSES,
    "/messages": Dialect.MESSAGES,
    "/messages/count_tokens": Dialect.MESSAGES,
}
_COUNTS = {
    "/responses/input_tokens": "input_tokens",
    "/messages/count_tokens": "input_tokens",
    "countTokens": "totalTokens",
}


class ModelServer(RuleServer):
    """Serve every provider's API on a loopback port while its block is open.

        async with ModelServer(lambda question: Say("42")) as server:
            client = AsyncAnthropic(base_url=server.base_url("messages"), api_key="any")

    Every path is served as the provider has it, without its version, and under `/inference` as a
    gateway has it.

    Args:
        rule: Makes the answer to a question, at once or as an awaitable. One that raises answers
            status 500.
        latency_s: How long every answer waits; of a pair, anything between the two.
        api_key: The one key accepted; None accepts anything.
        dies_after: Answer so many requests, then drop every connection and stop listening.
        keep_requests: Whether `requests` is filled.
        port: 0 picks a free one.

    Attributes:
        requests: Every request to a model received, oldest first; counting tokens is none.
        received: How many came in.
        answered: How many were answered.
        port: Where it listens, once open.
    """

    def __init__(
        self,
        rule: Rule,
        *,
        latency_s: LatencyS = 0.0,
        api_key: str | None = None,
        dies_after: int | None = None,
        keep_requests: bool = True,
        port: int = 0,
    ) -> None:
        super().__init__(
            latency_s=latency_s,
            api_key=api_key,
            dies_after=dies_after,
            keep_requests=keep_requests,
            port=port,
        )
        self.rule: Rule = rule
        self.requests: list[ModelRequest] = []
        wires: list[Wire] = [ChatWire(), ResponsesWire(), MessagesWire(), GeminiWire()]
        self._wires = {wire.dialect: wire for wire in wires}

    def base_url(self, dialect: Dialect | str) -> str:
        """Return what the `base_url` of the SDK for a dialect has to be."""
        root = f"http://127.0.0.1:{self.port}"
        is_openai = Dialect(dialect) in (Dialect.CHAT, Dialect.RESPONSES)
        return f"{root}/v1" if is_openai else root

    @property
    def gateway_url(self) -> str:
        """The address of all four as a gateway serves them."""
        return f"http://127.0.0.1:{self.port}/inference"

    def refuse(self, status: int, message: str) -> Answer:
        body = self._wires[Dialect.CHAT].error(ApiError(status, message), 0)
        return whole(status, json.encode(body), ends="close")

    def respond(self, request: HttpRequest) -> Answer | asyncio.Future[Answer]:
        route = request.path.removeprefix("/inference")
        for version in ("/v1beta", "/v1alpha", "/v1"):
            if route.startswith(f"{version}/"):
                route = route.removeprefix(version)
                break
        model, action = _gemini_target(route)
        dialect = _ROUTES.get(route) or (Dialect.GEMINI if action else None)
        if dialect is None:
            return self._elsewhere(request, route)
        wire = self._wires[dialect]
        if request.method != "POST":
            said = ApiError(
                405, f"{request.method} is not allowed on {request.path}", headers={"Allow": "POST"}
            )
            return self._refusal(wire, said)
        if (wrong := self._wrong_key(wire, request)) is not None:
            return self._refusal(wire, wrong)
        try:
            asked = _model_request(request, dialect, model, action)
            question = None
            counted = _COUNTS.get(action or route)
            if counted is not None:
                total = wire.read(asked).prompt_tokens
                return whole(200, json.encode({counted: total}))
            self.received += 1
            if self.keep_requests:
                self.requests.append(asked)
            question = wire.read(asked)
        except Refused as refused:
            return self._refusal(wire, refused.error)
        return self.settle(
            lambda: self.rule(question),
            lambda said, number: self._spell(wire, question, said, number),
        )

    def _elsewhere(self, request: HttpRequest, route: str) -> Answer:
        is_gemini = "/v1beta/" in request.path or "x-goog-api-key" in request.headers
        wire = self._wires[Dialect.GEMINI if is_gemini else Dialect.CHAT]
        if "anthropic-version" in request.headers:
            wire = self._wires[Dialect.MESSAGES]
        if request.method != "GET" or route != "/models":
            missing = f"no such endpoint: {request.method} {request.target}"
            return self._refusal(wire, ApiError(404, missing))
        if (wrong := self._wrong_key(wire, request)) is not None:
            return self._refusal(wire, wrong)
        return whole(200, json.encode(_models(is_gemini)))

    def _wrong_key(self, wire: Wire, request: HttpRequest) -> ApiError | None:
        return None if self.takes(request) else wire.wrong_key(not keys_of(request))

    def _refusal(self, wire: Wire, error: ApiError, number: int = 0) -> Answer:
        headers = {**wire.headers(number), **error.headers}
        return whole(error.status, json.encode(wire.error(error, number)), headers=headers)

    def _spell(self, wire: Wire, question: Question, said: Any, number: int) -> Answer:
        match said:
            case str() | Say():
                say = Say(said) if isinstance(said, str) else said
                if question.stream:
                    return streamed(wire.frames(say, question, number), wire.headers(number))
                body = json.encode(wire.whole(say, question, number))
                return whole(200, body, headers=wire.headers(number))
            case ApiError():
                return self._failing(wire, question, said, number)
            case RawReply():
                return whole(said.status, said.body, said.content_type)
            case HangUp():
                return self._cut(wire, question, said, number)
            case _:
                error = ApiError(500, f"the rule returned {type(said).__name__}, not a reply")
                return self._refusal(wire, error, number)

    def _failing(self, wire: Wire, question: Question, error: ApiError, number: int) -> Answer:
        if error.after_events is None or not question.stream:
            return self._refusal(wire, error, number)
        begun = wire.frames(HangUp().says, question, number)[: error.after_events]
        return streamed([*begun, wire.error_frame(error, number)], wire.headers(number))

    def _cut(self, wire: Wire, question: Question, cut: HangUp, number: int) -> Answer:
        if not cut.after_bytes and (cut.after_events is None or not question.stream):
            return Answer(b"", "abort")
        if cut.after_events is not None and question.stream:
            frames = wire.frames(cut.says, question, number)[: cut.after_events]
            return streamed(frames, wire.headers(number), is_cut=True)
        full = self._spell(wire, question, cut.says, number)
        return Answer(full.data[: cut.after_bytes], "close")


def _gemini_target(route: str) -> tuple[str, str]:
    """Return the model and the action of a path, empty where it is none of Gemini's."""
    target, colon, action = route.partition("/models/")[2].rpartition(":")
    known = ("generateContent", "streamGenerateContent", "countTokens")
    if not route.startswith("/models/") or not colon or action not in known:
        return "", ""
    return unquote(target), action


def _model_request(request: HttpRequest, dialect: Dialect, model: str, action: str) -> ModelRequest:
    try:
        body: Any = json.decode(request.body)
    except ValueError as error:
        raise Refused(f"the body is not JSON: {error}") from error
    if not isinstance(body, dict):
        raise Refused("the body is not a JSON object")
    held = cast("dict[str, Any]", body)
    if dialect is Dialect.GEMINI:
        is_stream = action == "streamGenerateContent"
        if is_stream and "alt=sse" not in request.query.split("&"):
            raise Refused("streamGenerateContent is served with alt=sse only")
    else:
        is_stream = held.get("stream") is True
        named = held.get("model")
        if not isinstance(named, str) or not named:
            raise Refused("you must provide a model parameter", param="model")
        model = named
    return ModelRequest(dialect, request.target, request.headers, held, model, is_stream)


def _models(is_gemini: bool) -> dict[str, Any]:
    """Return the models in the words of Google, or of both others at once."""
    if is_gemini:
        actions = ["generateContent", "countTokens"]
        listed = {"name": f"models/{MODEL}", "displayName": MODEL}
        return {"models": [{**listed, "supportedGenerationMethods": actions}]}
    model = {
        "id": MODEL,
        "object": "model",
        "type": "model",
        "created": 0,
        "created_at": "1970-01-01T00:00:00Z",
        "display_name": MODEL,
        "owned_by": "test",
    }
    page = {"has_more": False, "first_id": MODEL, "last_id": MODEL}
    return {"object": "list", "data": [model], **page}
