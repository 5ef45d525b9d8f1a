"""Call a model API well: try again what may pass, wait when it asks to, ask nothing twice.

What is sent and how a reply is read is the dialect's part; what a failure means is `failure`, how
many calls go out at once is `throttle`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Literal

from hud._core.errors import ModelFault
from hud.models.cache import ResponseCache
from hud.models.call import Answered, ModelCall
from hud.models.clock import sleep
from hud.models.failure import CallFailure
from hud.models.shared import shared_calls
from hud.models.throttle import Throttle, backoff
from hud.trace.clock import utc_now

__all__ = ["PATIENCE_S", "RETRIES", "Answered", "ModelCall", "ask"]

RETRIES = 4
PATIENCE_S = 300.0

Send = Callable[[], Awaitable[dict[str, Any]]]
ReadFailure = Callable[[Exception], CallFailure | None]


async def ask(
    call: ModelCall,
    send: Send,
    read_failure: ReadFailure,
    *,
    retries: int = RETRIES,
    patience_s: float = PATIENCE_S,
    cache: ResponseCache | Literal[False] | None = None,
    check: Callable[[dict[str, Any]], object] | None = None,
    throttle: Throttle | None = None,
) -> Answered:
    """Return the reply, from the API or from the cache.

    Calls of one model behind one address share a throttle: as many are in flight as the API
    takes, and none while it asks to wait. Being asked to wait (status 429, 503, 529) is no
    failure until `patience_s` is used up.

    Args:
        send: Sends the request once and returns the reply's JSON, whole. Its SDK must not try
            again by itself.
        read_failure: Reads an exception of `send`; None for one that is no failed call, which is
            then raised as it is.
        retries: How often to try again after failures other than being asked to wait; 0 sends
            once, and then a refusal is final, too.
        patience_s: How long to wait in all because the API asks to, in seconds.
        cache: Where replies are kept; None as HUD_MODEL_CACHE says, False nowhere.
        check: Raises for a reply that cannot be read, before it is kept; not called where nothing
            is kept.
        throttle: Goes in place of the shared one.

    Raises:
        ContextOverflow: when the conversation does not fit the model.
        ModelFault: when the call fails for good, failed `retries` times more, or was asked to
            wait for longer than `patience_s`.
        InputError: when HUD_MODEL_CONCURRENCY or HUD_MODEL_CACHE has a value that means nothing.
    """
    shared = shared_calls()
    kept_in = shared.cache if cache is None else cache
    through = throttle or shared.throttle(call.endpoint, call.model)
    if not kept_in:
        return await _ask(call, send, read_failure, through, retries, patience_s)
    return await shared.flights.answer(
        call, kept_in, lambda: _ask(call, send, read_failure, through, retries, patience_s), check
    )


async def _ask(
    call: ModelCall,
    send: Send,
    read_failure: ReadFailure,
    throttle: Throttle,
    retries: int,
    patience_s: float,
) -> Answered:
    clock = throttle.clock
    ticket = throttle.draw_ticket()
    attempts = refusals = failures = 0
    waited_s = asked_s = 0.0
    while True:
        arrived = clock.now()
        slot = await throttle.enter(ticket, patience_s - asked_s)
        queued_s = clock.now() - arrived
        waited_s += queued_s
        if refusals:
            asked_s += queued_s
        if slot is None:
            raise _out_of_patience(call, throttle.refusal, attempts, waited_s)
        attempts += 1
        try:
            started_at = utc_now()
            body = await send()
            throttle.succeeded(slot)
            return Answered(body, False, attempts, waited_s, started_at, utc_now())
        except Exception as error:
            failure = read_failure(error)
            if failure is None:
                raise
            told_s = failure.retry_after_s
            if failure.is_overload:
                refusals += 1
                pause_s = backoff(refusals, throttle.jitter(), is_told=told_s is not None)
                is_too_long = asked_s + max(pause_s, told_s or 0.0) > patience_s
                throttle.refused(slot, failure, None if is_too_long else told_s)
                if is_too_long or not retries:
                    raise _out_of_patience(call, failure, attempts, waited_s) from error
            else:
                if failure.kind == "status":
                    throttle.answered()
                failures += 1
                pause_s = backoff(failures, throttle.jitter())
                pause_s = max(pause_s, told_s or 0.0)
                is_final = failures > retries or asked_s + (told_s or 0.0) > patience_s
                if is_final or not failure.may_pass:
                    raise failure.fault(call.endpoint, call.model) from error
        finally:
            throttle.leave()
        await sleep(clock, pause_s)
        waited_s += pause_s
        if failure.is_overload or told_s:
            asked_s += pause_s


def _out_of_patience(
    call: ModelCall, refusal: CallFailure | None, attempts: int, waited_s: float
) -> ModelFault:
    if refusal is None:
        return ModelFault(f"the model API at {call.endpoint.shown} takes no calls")
    fault = refusal.fault(call.endpoint, call.model)
    asked_s = refusal.retry_after_s
    if not asked_s and attempts == 1:
        return fault
    told = f", and it asks to wait {asked_s:.0f} s more" if asked_s else ""
    # The words are the same for every call, so that equal failures are shown as one.
    tried = f"waited {waited_s:.0f} s, attempts: {attempts}{told}"
    return type(fault)(f"{fault.message} ({tried})", hint=fault.hint)
