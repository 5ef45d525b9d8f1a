"""A local server that speaks Chat Completions, for tests and demonstrations without a provider.

It answers what a rule says to a request's own JSON, fails how it is told to, and remembers what it
was asked. All dialects, with tools and images: `model_server`.

    async with ChatServer(lambda request: "42") as server:
        agent = OpenAIChatAgent(OpenAIChatConfig(base_url=server.base_url))

In a process of its own: `python -m hud.testing.chat_server --port 0` prints
`CHAT_SERVER_PORT=<n>`. What can be answered is `chat_reply`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

from hud._core import json
from hud.testing.chat_reply import (
    ChatError,
    ChatReply,
    HangUp,
    RawReply,
    Reply,
    letter_count,
    tokens,
)
from hud.testing.model_server.chat import completion, error_object, stream
from hud.testing.model_server.http import Answer, HttpRequest, streamed, whole
from hud.testing.model_server.serving import RuleServer

__all__ = [
    "ChatError",
    "ChatReply",
    "ChatRequest",
    "ChatServer",
    "HangUp",
    "RawReply",
    "Rule",
    "letter_count",
]

Rule = Callable[[dict[str, Any]], Reply | Awaitable[Reply]]

RULES: dict[str, Rule] = {"letter_count": letter_count}


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """One request as it came in; header names are lower case."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]


class ChatServer(RuleServer):
    """Serve Chat Completions on a loopback port while its block is open.

    Args:
        rule: Makes the answer to a request's JSON, at once or as an awaitable. One that raises
            answers status 500.
        latency_s: How long every answer waits.
        api_key: The one key accepted; None accepts anything.
        dies_after: Answer so many requests, then drop every connection and stop listening.
        port: 0 picks a free one.

    Attributes:
        requests: Every chat request received, oldest first.
        answered: How many were answered.
        port: Where it listens, once open.
    """

    def __init__(
        self,
        rule: Rule = letter_count,
        *,
        latency_s: float = 0.0,
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
        self.requests: list[ChatRequest] = []

    @property
    def base_url(self) -> str:
        """What a client's `base_url` has to be."""
        return f"http://127.0.0.1:{self.port}/v1"

    def refuse(self, status: int, message: str) -> Answer:
        body = error_object(ChatError(status, message))
        return whole(status, json.encode(body), ends="close")

    def respond(self, request: HttpRequest) -> Answer | asyncio.Future[Answer]:
        route = request.path.removeprefix("/v1")
        if request.method == "GET" and route == "/models":
            listed = [{"id": "test-model", "object": "model", "created": 0, "owned_by": "test"}]
            return whole(200, json.encode({"object": "list", "data": listed}))
        if request.method != "POST" or route != "/chat/completions":
            missing = f"no such endpoint: {request.method} {request.target}"
            return _refusal(ChatError(404, missing))
        try:
            body: Any = json.decode(request.body)
        except ValueError as error:
            return _refusal(ChatError(400, f"the body is not JSON: {error}"))
        if not _is_request(body):
            return _refusal(ChatError(400, "'messages' must be a list"))
        record = ChatRequest(request.target, request.headers, body)
        return self.settle(
            lambda: self._decide(record, request),
            lambda reply, number: _spell(reply, record.body, number),
        )

    def _decide(self, record: ChatRequest, request: HttpRequest) -> Reply | Awaitable[Reply]:
        """Take a request in and ask the rule."""
        self.received += 1
        if self.keep_requests:
            self.requests.append(record)
        if not self.takes(request):
            return ChatError(401, "Incorrect API key provided", "invalid_api_key")
        return self.rule(record.body)


def _is_request(body: Any) -> bool:
    if not isinstance(body, dict):
        return False
    messages = cast("dict[str, Any]", body).get("messages")
    return isinstance(messages, list) and all(
        isinstance(each, dict) for each in cast("list[Any]", messages)
    )


def _spell(reply: Reply, request: dict[str, Any], number: int) -> Answer:
    if isinstance(reply, str):
        reply = ChatReply(reply)
    match reply:
        case ChatReply():
            counted = tokens(reply, request)
            if request.get("stream"):
                return streamed(stream(reply.say(), request, counted, number))
            return whole(200, json.encode(completion(reply.say(), request, counted, number)))
        case ChatError():
            return _refusal(reply)
        case RawReply():
            return whole(reply.status, reply.body, reply.content_type)
        case HangUp():
            return _cut(reply, request, number)
        case _:  # a rule may break its promise
            error = f"the rule returned {type(reply).__name__}, not a reply"
            return _refusal(ChatError(500, error))


def _cut(cut: HangUp, request: dict[str, Any], number: int) -> Answer:
    if cut.after_bytes:
        said = _spell(ChatReply(cut.says.text), {**request, "stream": False}, number)
        return Answer(said.data[: cut.after_bytes], "close")
    if cut.after_events is not None and request.get("stream"):
        reply = ChatReply(cut.says.text)
        frames = stream(reply.say(), request, tokens(reply, request), number)
        return streamed(frames[: cut.after_events], is_cut=True)
    return Answer(b"", "abort")


def _refusal(error: ChatError) -> Answer:
    body = json.encode(error_object(error))
    return whole(error.status, body, headers=error.headers)


async def _run(options: argparse.Namespace) -> None:
    server = ChatServer(
        RULES[options.rule],
        latency_s=options.latency,
        dies_after=options.dies_after,
        keep_requests=False,
        port=options.port,
    )
    async with server:
        sys.stdout.write(f"CHAT_SERVER_PORT={server.port}\n")
        sys.stdout.flush()
        await server.serve_forever()


def main(argv: Sequence[str] | None = None) -> None:
    """Serve until killed."""
    parser = argparse.ArgumentParser(prog="python -m hud.testing.chat_server", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0 picks a free one")
    parser.add_argument("--rule", choices=sorted(RULES), default="letter_count")
    parser.add_argument("--latency", type=float, default=0.0, help="seconds before every answer")
    parser.add_argument("--dies-after", type=int, help="die after so many answers")
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_run(parser.parse_args(argv)))


if __name__ == "__main__":
    main()
