"""One call for a question that several ask at the same moment, and none for one answered before.

Where answers are kept is `cache`; how a call is made is `calling`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

from hud._core import json
from hud.models.cache import ResponseCache
from hud.models.call import Answered, ModelCall
from hud.trace.clock import utc_now

_NO_ANSWERS = ("failed", "cancelled", "queued", "in_progress")


class _Flight:
    """A question that is being asked.

    Attributes:
        reply: The answer's JSON, once it is there.
        has_failed: Whether there will be none; a flight that ended with neither was cancelled.
    """

    __slots__ = ("ended", "has_failed", "reply")

    def __init__(self) -> None:
        self.ended = asyncio.Event()
        self.reply: bytes | None = None
        self.has_failed = False


class Flights:
    """The questions being asked on one event loop."""

    def __init__(self) -> None:
        self._flights: dict[tuple[str, str], _Flight] = {}

    async def answer(
        self,
        call: ModelCall,
        cache: ResponseCache,
        ask: Callable[[], Awaitable[Answered]],
        check: Callable[[dict[str, Any]], object] | None = None,
    ) -> Answered:
        """Return the known answer, or ask and keep what comes.

        Who asks what is being asked already gets that answer, too. If it fails for the first,
        every other one asks itself; if the first is cancelled, another takes its place.

        Args:
            check: Raises for a reply that is not to be kept.
        """
        started = time.monotonic()
        key = await asyncio.to_thread(call.key)
        spot = (str(cache.folder), key)
        while (flight := self._flights.get(spot)) is not None:
            await flight.ended.wait()
            if flight.reply is not None:
                return _known(json.decode(flight.reply), started)
            if flight.has_failed:
                return (await _fresh(key, cache, ask, check))[0]
        flight = self._flights[spot] = _Flight()
        try:
            held = await asyncio.to_thread(cache.read, key)
            if held is not None:
                flight.reply = json.encode(held)
                return _known(held, started)
            answered, flight.reply = await _fresh(key, cache, ask, check)
            flight.has_failed = flight.reply is None
            return answered
        except Exception:
            flight.has_failed = True
            raise
        finally:
            del self._flights[spot]
            flight.ended.set()


async def _fresh(
    key: str,
    cache: ResponseCache,
    ask: Callable[[], Awaitable[Answered]],
    check: Callable[[dict[str, Any]], object] | None,
) -> tuple[Answered, bytes | None]:
    """Ask, and keep the answer; its JSON is None where it is not to be given to others."""
    answered = await ask()
    if check is not None:
        check(answered.body)
    if not is_answer(answered.body):
        return answered, None
    return answered, await asyncio.to_thread(cache.write, key, answered.body)


def is_answer(body: dict[str, Any]) -> bool:
    """Tell whether a reply is worth keeping; some APIs report a failure with status 200."""
    return not (
        body.get("error")
        or body.get("type") == "error"
        or body.get("status") in _NO_ANSWERS
        or body.get("choices") == []
    )


def _known(body: dict[str, Any], started: float) -> Answered:
    now = utc_now()
    return Answered(body, True, 0, time.monotonic() - started, now, now)
