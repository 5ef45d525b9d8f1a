"""Answers kept on the disk, for clients that ask for it: `X-HUD-Cache: on`.

A team finds its own answers only. What is kept is what the client got, so a stream comes again as
a stream. Only a whole answer without an error is kept.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from hud.models.cache import ResponseCache
from hud.models.call import ModelCall
from hud.models.wire import Asked
from hud.platform.gateway.call_body import CallBody
from hud.platform.gateway.served import Route
from hud.platform.gateway.used import Used

HEADER = "x-hud-cache"
_LARGEST_BYTES = 16 * 1024 * 1024


def wants_cache(headers: Mapping[str, str]) -> bool:
    """Tell whether a request asks for a kept answer."""
    return headers.get(HEADER, "").strip().lower() in ("on", "1", "true")


@dataclass(frozen=True, slots=True)
class KeptAnswer:
    """An answer as a client got it, and what it took when it was paid for."""

    content_type: str
    body: bytes
    used: Used


class Answers:
    """The answers of all teams."""

    def __init__(self, folder: Path) -> None:
        self._cache = ResponseCache(folder)

    async def key(self, team: str, asked: Asked, body: CallBody, route: Route) -> str:
        """Return what an answer is kept under."""
        request = {
            "team": team,
            "provider": route.provider.name,
            "route": asked.route,
            "query": asked.query,
            "body": body.whole(),
        }
        call = ModelCall(route.provider.endpoint, route.upstream, asked.dialect.value, request)
        return await asyncio.to_thread(call.key)

    async def find(self, key: str, route: Route) -> KeptAnswer | None:
        """Return the answer kept under a key, None without one."""
        held = await asyncio.to_thread(self._cache.read, key)
        if held is None:
            return None
        counts: Any = held.get("used")
        text, kind = held.get("text"), held.get("content_type")
        if not isinstance(counts, list) or not isinstance(text, str) or not isinstance(kind, str):
            return None
        known = [count for count in cast("list[Any]", counts) if isinstance(count, int)]
        if len(known) != 3:
            return None
        prompt, completion, cached = known
        provider = route.provider.endpoint.provider
        used = Used(provider, (route.upstream,), prompt, completion, cached)
        return KeptAnswer(kind, text.encode(), used)

    async def keep(self, key: str, answer: KeptAnswer) -> None:
        """Keep an answer."""
        if len(answer.body) > _LARGEST_BYTES:
            return
        used = answer.used
        entry = {
            "content_type": answer.content_type,
            "text": answer.body.decode("utf-8", "replace"),
            "used": [used.prompt_tokens, used.completion_tokens, used.cached_tokens],
        }
        await asyncio.to_thread(self._cache.write, key, entry)
