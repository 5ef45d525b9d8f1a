"""A local server that speaks each provider's real wire, for tests without a provider.

One rule answers in all four dialects (Chat Completions, Responses, Messages, Gemini), and the
providers' own SDKs are its clients:

    rule = script(Say(calls=[Call("bash", {"command": "ls"})]), Say("done"))
    async with ModelServer(rule) as server:
        client = AsyncOpenAI(base_url=server.base_url("responses"), api_key="any")

In a process of its own: `python -m hud.testing.model_server` prints `MODEL_SERVER_PORT=<n>`.
"""

from hud.testing.model_server.question import IMAGE_TOKENS, Image, Question, Result, Tool, Turn
from hud.testing.model_server.reply import (
    ApiError,
    Call,
    Citation,
    HangUp,
    RawReply,
    Reply,
    Say,
)
from hud.testing.model_server.script import after_failures, letter_count, script
from hud.testing.model_server.server import ModelServer, Rule
from hud.testing.model_server.wire import ModelRequest

__all__ = [
    "IMAGE_TOKENS",
    "ApiError",
    "Call",
    "Citation",
    "HangUp",
    "Image",
    "ModelRequest",
    "ModelServer",
    "Question",
    "RawReply",
    "Reply",
    "Result",
    "Rule",
    "Say",
    "Tool",
    "Turn",
    "after_failures",
    "letter_count",
    "script",
]
