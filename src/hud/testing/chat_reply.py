"""What `chat_server` may answer, in the words of Chat Completions.

The vocabulary for every dialect, which these are turned into, is `model_server.reply`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

from hud.testing.model_server.reply import ApiError, Counts, HangUp, RawReply, Say
from hud.testing.model_server.script import count_letters

__all__ = [
    "ChatError",
    "ChatReply",
    "HangUp",
    "RawReply",
    "Reply",
    "letter_count",
    "request_text",
    "tokens",
]

ChatError = ApiError
"""A refusal by the API: an HTTP status with the error object that providers send."""


@dataclass(frozen=True, slots=True)
class ChatReply:
    """One completion.

    Token counts that are None are counted in words. `token_ids [T]`, `logprobs [T]` and
    `prompt_token_ids [P]` are sent when the request asks for token ids.
    """

    content: str | None = ""
    reasoning: str | None = None
    refusal: str | None = None
    finish_reason: str = "stop"
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cached_tokens: int = 0
    prompt_token_ids: Sequence[int] = ()
    token_ids: Sequence[int] = ()
    logprobs: Sequence[float] = ()
    latency_s: float = 0.0

    def say(self) -> Say:
        """Return the same answer in the vocabulary of every dialect."""
        return Say(
            self.content,
            reasoning=self.reasoning,
            refusal=self.refusal,
            finish=self.finish_reason,
            prompt_token_ids=self.prompt_token_ids,
            token_ids=self.token_ids,
            logprobs=self.logprobs,
        )


Reply = str | ChatReply | ChatError | RawReply | HangUp


def tokens(reply: ChatReply, request: dict[str, Any]) -> Counts:
    """Return the token counts of a reply."""
    prompt, answer = reply.prompt_tokens, reply.completion_tokens
    if prompt is None:
        prompt = len(request_text(request).split())
    if answer is None:
        answer = len((reply.content or "").split())
    return Counts(prompt, answer, reply.cached_tokens, reasoning=0)


def request_text(request: dict[str, Any]) -> str:
    """Return the text of every message of a request, oldest first."""
    texts: list[str] = []
    for message in cast("list[dict[str, Any]]", request.get("messages") or []):
        content: Any = message.get("content")
        if isinstance(content, str):
            texts.append(content)
        elif isinstance(content, list):
            parts = cast("list[dict[str, Any]]", content)
            texts.extend(str(part.get("text")) for part in parts if part.get("type") == "text")
    return "\n".join(texts)


def letter_count(request: dict[str, Any]) -> str:
    """Answer "How many 'r's are in 'strawberry'?"; "I do not know" where nothing is to be counted.

    The letter and the word are what stands in quotes; without quotes, the first lone letter and
    the last word of two letters or more.
    """
    return count_letters(request_text(request))
