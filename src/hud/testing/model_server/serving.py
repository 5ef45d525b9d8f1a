"""A server that answers by a rule: when it answers, which key it takes, and when it dies.

What a request is and how an answer is spelled belongs to the servers on top.
"""

from __future__ import annotations

import asyncio
import inspect
import random
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import parse_qs

from hud.testing.model_server.http import Answer, HttpRequest, HttpServer
from hud.testing.model_server.reply import ApiError

LatencyS = float | tuple[float, float]


class RuleServer(HttpServer):
    """What every model double shares.

    Args:
        latency_s: How long every answer waits; of a pair, anything between the two.
        api_key: The one key accepted; None accepts anything.
        dies_after: Answer so many requests, then drop every connection and stop listening.
        port: 0 picks a free one.

    Attributes:
        received: How many requests to the model came in.
        answered: How many were answered.
    """

    def __init__(
        self,
        *,
        latency_s: LatencyS = 0.0,
        api_key: str | None = None,
        dies_after: int | None = None,
        keep_requests: bool = True,
        port: int = 0,
    ) -> None:
        super().__init__(port)
        self.latency_s: LatencyS = latency_s
        self.api_key = api_key
        self.dies_after = dies_after
        self.keep_requests = keep_requests
        self.received: int = 0
        self.answered: int = 0

    @property
    def is_dead(self) -> bool:
        """Whether it has answered as often as it may."""
        return self.dies_after is not None and self.answered >= self.dies_after

    def takes(self, request: HttpRequest) -> bool:
        """Tell whether a request has the right key, in any of the places a provider reads."""
        return self.api_key is None or self.api_key in keys_of(request)

    def settle(
        self, ask: Callable[[], Any], spell: Callable[[Any, int], Answer]
    ) -> Answer | asyncio.Future[Answer]:
        """Ask the rule, wait as long as the answer is to wait, and spell it.

        Args:
            ask: Calls the rule; what it raises is answered with status 500.
            spell: Gets what the rule said, and the number of the answer.
        """
        try:
            said = ask()
        except Exception as error:
            said = _raised(error)
        if inspect.isawaitable(said) or self._delay_s(said):
            return asyncio.ensure_future(self._later(said, spell))
        return self._now(said, spell)

    async def _later(self, said: Any, spell: Callable[[Any, int], Answer]) -> Answer:
        if inspect.isawaitable(said):
            said = await _awaited(said)
        await asyncio.sleep(self._delay_s(said))
        return self._now(said, spell)

    def _now(self, said: Any, spell: Callable[[Any, int], Answer]) -> Answer:
        if self.is_dead:
            self.kill()
            return Answer(b"", "abort")
        self.answered += 1
        return spell(said, self.answered)

    def _delay_s(self, said: Any) -> float:
        own = self.latency_s
        own = random.uniform(*own) if isinstance(own, tuple) else own
        return own + getattr(said, "latency_s", 0.0)


def keys_of(request: HttpRequest) -> list[str]:
    """Return every key that a request carries."""
    held = request.headers
    bearer = held.get("authorization", "")
    keys = [bearer.removeprefix("Bearer ")] if bearer.startswith("Bearer ") else []
    keys += [held[name] for name in ("x-api-key", "x-goog-api-key") if held.get(name)]
    return keys + parse_qs(request.query).get("key", [])


async def _awaited(said: Awaitable[Any]) -> Any:
    try:
        return await said
    except Exception as error:
        return _raised(error)


def _raised(error: Exception) -> ApiError:
    return ApiError(500, f"the rule raised {type(error).__name__}: {error}")
