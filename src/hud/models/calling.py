"""Call a model API well: try again what may pass, wait when it asks to, keep who is slow waiting.

What is sent and how a reply is read is the dialect's part; what a failure means is `failure`.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from hud.models.endpoint import Endpoint
from hud.models.failure import CallFailure

RETRIES = 4
_BACKOFF_S = 0.5
_LONGEST_BACKOFF_S = 30.0


@dataclass(frozen=True, slots=True)
class ModelCall:
    """One question to a model.

    Attributes:
        request: Everything that is sent, as JSON-safe data: what a cache is keyed by.
        repeat: 0-based index among repeats of the same task, which are to differ.
    """

    endpoint: Endpoint
    model: str
    dialect: str
    request: dict[str, Any]
    repeat: int = 0


async def ask(
    call: ModelCall,
    send: Callable[[], Awaitable[dict[str, Any]]],
    read_failure: Callable[[Exception], CallFailure | None],
    *,
    retries: int = RETRIES,
) -> dict[str, Any]:
    """Return the reply's JSON.

    Args:
        send: Sends the request once and returns the reply's JSON, whole.
        read_failure: Reads an exception of `send`; None for one that is no failed call, which is
            then raised as it is.

    Raises:
        ContextOverflow: when the conversation does not fit the model.
        ModelFault: when the call fails for good, or failed `retries` times more.
    """
    for attempt in range(retries + 1):
        try:
            return await send()
        except Exception as error:
            failure = read_failure(error)
            if failure is None:
                raise
            if attempt == retries or not failure.may_pass:
                raise failure.fault(call.endpoint, call.model) from error
            pause = failure.retry_after_s
        if pause is None:
            pause = min(_LONGEST_BACKOFF_S, _BACKOFF_S * 2**attempt) * random.uniform(0.5, 1.0)
        await asyncio.sleep(pause)
    raise AssertionError("unreachable")
