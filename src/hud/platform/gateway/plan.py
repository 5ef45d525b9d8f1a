"""How a provider is asked for what a client wants: same dialect, other names, or translated.

A dialect is passed on to providers that speak it. Chat Completions reach the others, too: Google
has them beside its own API, and for Claude they are translated (`claude_chat`), because judges ask
Claude so.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NoReturn, cast
from urllib.parse import quote

from hud._core.errors import bounded
from hud.models.asgi import Refusal
from hud.models.provider import Dialect
from hud.models.wire import Asked
from hud.platform.gateway.call_body import CallBody
from hud.platform.gateway.claude_chat.request import messages_request
from hud.platform.gateway.providers import ProviderDialect
from hud.platform.gateway.served import Route

_SPOKEN: dict[ProviderDialect, tuple[Dialect, ...]] = {
    "openai": (Dialect.CHAT, Dialect.RESPONSES),
    "anthropic": (Dialect.MESSAGES,),
    "gemini": (Dialect.GEMINI,),
}
_PATHS = {
    Dialect.CHAT: "/chat/completions",
    Dialect.RESPONSES: "/responses",
    Dialect.MESSAGES: "/v1/messages",
    Dialect.GEMINI: "/v1beta/models/…:generateContent",
}
_GOOGLE_CHAT = "/v1beta/openai"


@dataclass(frozen=True, slots=True)
class Plan:
    """One request to a provider.

    Attributes:
        asked: As the provider is asked, in its own dialect.
        hides_usage: Whether usage is asked for on our account and kept from the client.
        is_translated: Whether the answer is Claude's and the client wants Chat Completions.
    """

    asked: Asked
    body: bytes
    hides_usage: bool = False
    is_translated: bool = False


def plan_call(asked: Asked, body: CallBody, route: Route) -> Plan:
    """Return how to ask.

    Raises:
        Refusal: when the provider has nothing of the kind.
    """
    speaks = route.provider.dialect
    if asked.dialect in _SPOKEN[speaks]:
        return _passed(asked, body, route)
    if asked.dialect is Dialect.CHAT and speaks == "gemini":
        theirs = replace(asked, route=f"{_GOOGLE_CHAT}{asked.route}")
        return replace(_passed(asked, body, route), asked=theirs)
    if asked.dialect is Dialect.CHAT and speaks == "anthropic" and asked.kind == "model":
        request = messages_request(body.whole(), route.upstream)
        theirs = Asked(Dialect.MESSAGES, "model", "/messages", "/v1", "")
        return Plan(theirs, request, is_translated=True)
    _refuse(asked, route)


def _passed(asked: Asked, body: CallBody, route: Route) -> Plan:
    if asked.dialect is Dialect.GEMINI:
        action = asked.route.rpartition(":")[2]
        theirs = f"/models/{quote(route.upstream, safe='')}:{action}"
        return Plan(replace(asked, route=theirs, model=route.upstream), body.data)
    changes: dict[str, Any] = {}
    if body.get("model") != route.upstream:
        changes["model"] = route.upstream
    hides_usage = False
    if asked.dialect is Dialect.CHAT and asked.kind == "model" and body.is_stream:
        held: Any = body.get("stream_options")
        options = cast("dict[str, Any]", held) if isinstance(held, dict) else {}
        if not options.get("include_usage"):
            changes["stream_options"] = {**options, "include_usage": True}
            hides_usage = True
    return Plan(asked, body.with_changes(changes), hides_usage)


def _refuse(asked: Asked, route: Route) -> NoReturn:
    paths = [_PATHS[dialect] for dialect in _SPOKEN[route.provider.dialect]]
    is_other = asked.kind == "model" and asked.dialect is not Dialect.CHAT
    if is_other and route.provider.dialect != "openai":
        paths.append(_PATHS[Dialect.CHAT])
    wanted = "embeddings" if asked.kind == "embed" else asked.route.partition(":")[0]
    message = (
        f"the model {bounded(route.model)!r} of the provider {route.provider.name!r} is asked "
        f"through {' or '.join(paths)}, not through {bounded(wanted)}"
    )
    raise Refusal(400, "unsupported_dialect", message)
