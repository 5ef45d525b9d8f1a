"""What a server says it serves, for providers that list no models and the catalog knows none of.

So that a vLLM or an Ollama is added in one line. What was said is remembered for half a minute; a
server that does not answer offers nothing until then.
"""

from __future__ import annotations

import time
from typing import Any, cast

from hud._core import json
from hud.models.asgi import Refusal
from hud.models.passed_on import Outgoing
from hud.models.provider import Dialect
from hud.models.wire import Asked
from hud.platform.gateway.served import OpenProvider, Route
from hud.platform.gateway.upstream import Upstream

FRESH_S = 30.0
_TIMEOUT_S = 3.0
_NAMES_AT_MOST = 1_000
_LONGEST_NAME = 256
_REMEMBERED = 10_000


class Offers:
    """The names that servers said."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream
        self._said: dict[OpenProvider, tuple[float, tuple[str, ...]]] = {}

    async def of(self, provider: OpenProvider) -> tuple[str, ...]:
        """Return the names that a provider's server says it has, none where it says nothing."""
        if provider.dialect != "openai" or provider.problem is not None:
            return ()
        said_at, names = self._said.get(provider, (-FRESH_S, ()))
        if time.monotonic() - said_at < FRESH_S:
            return names
        names = await self._ask(provider)
        if len(self._said) >= _REMEMBERED:
            self._said.clear()
        self._said[provider] = (time.monotonic(), names)
        return names

    async def _ask(self, provider: OpenProvider) -> tuple[str, ...]:
        asked = Asked(Dialect.CHAT, "list", "/models", "", "")
        headers = asked.request_headers({}, provider.endpoint)
        outgoing = Outgoing("GET", asked.url(provider.endpoint), headers, b"")
        try:
            status, body = await self._upstream.get(
                outgoing, Route("", "", provider), timeout_s=_TIMEOUT_S
            )
        except Refusal:
            return ()
        return names_in(body) if status == 200 else ()


def names_in(body: bytes) -> tuple[str, ...]:
    """Return the ids of a list of models, as OpenAI spells one; none for anything else."""
    try:
        read: Any = json.decode(body)
    except ValueError:
        return ()
    held: Any = cast("dict[str, Any]", read).get("data") if isinstance(read, dict) else None
    names: list[str] = []
    for item in cast("list[Any]", held) if isinstance(held, list) else []:
        name: Any = cast("dict[str, Any]", item).get("id") if isinstance(item, dict) else None
        if isinstance(name, str) and 0 < len(name) <= _LONGEST_NAME and name.isprintable():
            names.append(name)
    return tuple(dict.fromkeys(names))[:_NAMES_AT_MOST]
