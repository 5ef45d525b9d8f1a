"""What a model double may answer, in one vocabulary for every dialect.

How an answer is spelled on the wire belongs to the module of each dialect.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, cast

from hud._core import json

Finish = Literal["stop", "length", "tool_calls", "content_filter"]

_PIECE_CHARS = 24


@dataclass(frozen=True, slots=True)
class Call:
    """A call of a tool.

    Attributes:
        name: The function; or a native tool of the request, which is then called in its own form.
        arguments: An object. A text is sent as it is, malformed or not.
        id: None lets the server make one. Ids of your own should differ within a server.
    """

    name: str
    arguments: dict[str, Any] | str = field(default_factory=dict[str, Any])
    id: str | None = None

    @property
    def arguments_text(self) -> str:
        """The arguments as the model wrote them."""
        if isinstance(self.arguments, str):
            return self.arguments
        return json.encode(self.arguments).decode()

    @property
    def arguments_object(self) -> dict[str, Any] | None:
        """The arguments as an object, or None where the text spells none."""
        return self.arguments if isinstance(self.arguments, dict) else parsed(self.arguments)


@dataclass(frozen=True, slots=True)
class Citation:
    """A source named for `text[start_index:end_index]` of an answer."""

    source: str
    title: str = ""
    text: str = ""
    start_index: int = 0
    end_index: int = 0


@dataclass(frozen=True, slots=True)
class Say:
    """One turn of the model.

    Attributes:
        finish: Why it stopped: one of `Finish`, mapped to the dialect's own word; any other text
            is sent as it is. None follows from the content.
        prompt_tokens: With those from the cache; None counts words, and a fixed number per image.
        completion_tokens: With those of the reasoning; None counts words.
        prompt_token_ids: Shape [P]; with `token_ids [T]` and `logprobs [T]` sent by Chat
            Completions to a request that asks for them.
        latency_s: How long this answer waits, beside the server's own latency.
    """

    text: str | None = ""
    calls: Sequence[Call] = ()
    reasoning: str | None = None
    refusal: str | None = None
    finish: Finish | str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cached_tokens: int = 0
    prompt_token_ids: Sequence[int] = ()
    token_ids: Sequence[int] = ()
    logprobs: Sequence[float] = ()
    citations: Sequence[Citation] = ()
    latency_s: float = 0.0

    def with_ids(self, prefix: str) -> Say:
        """Return the same turn, every call of it with an id."""
        if all(call.id for call in self.calls):
            return self
        calls = [
            call if call.id else replace(call, id=f"{prefix}_{place}")
            for place, call in enumerate(self.calls)
        ]
        return replace(self, calls=calls)


@dataclass(frozen=True, slots=True)
class ApiError:
    """A refusal by the API: an HTTP status with the error object its provider sends.

    Attributes:
        code: What OpenAI calls `code`, Anthropic `details.error_code` and Google the status or
            the reason.
        param: The field of the request that OpenAI names.
        after_events: Send it as an event of a stream that has begun, after so many others;
            a request that does not stream gets the status.
    """

    status: int
    message: str = "the test server was told to fail"
    code: str | None = None
    headers: dict[str, str] = field(default_factory=dict[str, str])
    latency_s: float = 0.0
    param: str | None = None
    after_events: int | None = None


@dataclass(frozen=True, slots=True)
class RawReply:
    """Any bytes at all: HTML from a proxy, JSON cut in the middle, a reply without content."""

    body: bytes
    status: int = 200
    content_type: str = "application/json"
    latency_s: float = 0.0


@dataclass(frozen=True, slots=True)
class HangUp:
    """The connection drops in the middle of an answer.

    Attributes:
        after_bytes: How much of the answer is sent, the HTTP header included.
        after_events: How many events of a streamed answer are sent; 0 is the header alone.
        says: The answer that is cut.
    """

    after_bytes: int = 0
    latency_s: float = 0.0
    after_events: int | None = None
    says: Say = field(default_factory=lambda: Say("this answer was going to be a longer one"))


Reply = str | Say | ApiError | RawReply | HangUp
"""What a rule may return; a text is `Say(text)`."""


class Refused(Exception):
    """A request that a provider would answer with an error."""

    def __init__(self, message: str, *, status: int = 400, code: str | None = None,
                 param: str | None = None) -> None:  # fmt: skip
        super().__init__(message)
        self.error = ApiError(status, message, code, param=param)


@dataclass(frozen=True, slots=True)
class Counts:
    """Tokens of one call; `prompt` holds `cached`, and `completion` holds `reasoning`."""

    prompt: int
    completion: int
    cached: int
    reasoning: int


def counts(say: Say, prompt_words: int) -> Counts:
    """Return the tokens of an answer, in words where the answer does not say."""
    reasoning = len((say.reasoning or "").split())
    completion = say.completion_tokens
    if completion is None:
        texts = [say.text or "", say.refusal or ""]
        texts += [f"{call.name} {call.arguments_text}" for call in say.calls]
        completion = reasoning + sum(len(text.split()) for text in texts)
    prompt = prompt_words if say.prompt_tokens is None else say.prompt_tokens
    return Counts(prompt, completion, say.cached_tokens, min(reasoning, completion))


def parsed(text: str) -> dict[str, Any] | None:
    """Return the object that a text spells; None where it spells none."""
    if not text:
        return {}
    try:
        value: Any = json.decode(text)
    except ValueError:
        return None
    return cast("dict[str, Any]", value) if isinstance(value, dict) else None


def words(text: str) -> list[str]:
    """Cut a text at its words, as streamed replies come; joined they are the text."""
    return re.findall(r"\s*\S+\s*|\s+", text)


def pieces(text: str) -> Iterator[str]:
    """Cut a text anywhere, as streamed arguments come; joined they are the text."""
    for start in range(0, len(text), _PIECE_CHARS):
        yield text[start : start + _PIECE_CHARS]
