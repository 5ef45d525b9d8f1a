"""The contract of `hud.trace.sinks.Sink`, run against any implementation.

Each rule is one function below; a broken one is an `AssertionError` that says which.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from hud._core import json
from hud._core.ids import new_id
from hud._core.outcome import Outcome
from hud.trace.clock import utc_now
from hud.trace.sinks import Event, RunEnded, RunStarted, Sink, SpanRecorded, StepRecorded

SinkFactory = Callable[[], Sink]
ReadSteps = Callable[[str], list[dict[str, Any]]]

_DEADLINE_S = 60.0


async def check_sink(make_sink: SinkFactory, read_steps: ReadSteps | None = None) -> None:
    """Run a sink through the whole contract.

    Args:
        make_sink: Opens the sink under test; every call opens the same destination anew.
        read_steps: Reads the step payloads that arrived there for a trace id, in order. Left out:
            what arrives is not checked.

    Raises:
        AssertionError: when a rule is broken, with the rule.
    """
    rules: list[Callable[[SinkFactory, ReadSteps | None], Awaitable[None]]] = [
        _it_takes_every_event_at_once,
        _what_was_put_before_committed_is_there_after_it,
        _traces_do_not_mix,
        _it_takes_a_run_that_ended_any_way,
        _closing_flushes_and_may_be_done_twice,
        _waiting_may_be_cancelled,
    ]
    for rule in rules:
        async with asyncio.timeout(_DEADLINE_S):
            await rule(make_sink, read_steps)


def _run(outcome: Outcome, steps: int = 3) -> tuple[str, list[Event]]:
    """Return the events of one whole run, as a recorder sends them."""
    trace_id, job_id = new_id(), new_id()
    is_graded = outcome is Outcome.GRADED
    recorded = [_step(trace_id, number) for number in range(1, steps + 1)]
    begun = RunStarted(
        trace_id=trace_id, job_id=job_id, task_slug="t", task_id="t", env="e", started_at=1
    )
    ended = RunEnded(
        trace_id=trace_id,
        job_id=job_id,
        status="completed" if is_graded else "error",
        outcome=outcome,
        ended_at=2,
        reward=0.5 if is_graded else None,
        error=None if is_graded else "it broke",
        evaluation={"score": 0.5} if is_graded else None,
        extra={"note": "ü"},
    )
    span = SpanRecorded(trace_id=trace_id, span={"name": "f", "trace_id": trace_id})
    return trace_id, [begun, *recorded[:1], span, *recorded[1:], ended]


def _step(trace_id: str, number: int) -> StepRecorded:
    now = utc_now()
    document = {"step_id": number, "source": "agent", "content": f"{trace_id} ü\n{number}"}
    return StepRecorded(
        trace_id=trace_id,
        seq=number,
        source="agent",
        schema="hud.step.v1",
        started_at=now,
        ended_at=now,
        payload=json.encode(document),
    )


def _expect_steps(read_steps: ReadSteps | None, trace_id: str, steps: int, when: str) -> None:
    if read_steps is None:
        return
    found = [step.get("content") for step in read_steps(trace_id)]
    wanted = [f"{trace_id} ü\n{number}" for number in range(1, steps + 1)]
    assert found == wanted, f"{when}: {len(found)} steps are there, not the {steps} put, in order"


async def _it_takes_every_event_at_once(make_sink: SinkFactory, _: ReadSteps | None) -> None:
    sink = make_sink()
    for event in _run(Outcome.GRADED)[1]:
        given: Any = sink.put(event)
        assert given is None, "put returns nothing to wait for"
    await sink.aclose()


async def _what_was_put_before_committed_is_there_after_it(
    make_sink: SinkFactory, read_steps: ReadSteps | None
) -> None:
    sink = make_sink()
    trace_id, events = _run(Outcome.GRADED, steps=200)
    for event in events:
        sink.put(event)
    await sink.committed()
    _expect_steps(read_steps, trace_id, 200, "after committed")
    await sink.aclose()


async def _traces_do_not_mix(make_sink: SinkFactory, read_steps: ReadSteps | None) -> None:
    sink = make_sink()
    runs = [_run(Outcome.GRADED, steps=5) for _ in range(20)]
    for moment in zip(*(events for _, events in runs), strict=True):
        for event in moment:
            sink.put(event)
    await asyncio.gather(*(sink.committed() for _ in runs))
    for trace_id, _ in runs:
        _expect_steps(read_steps, trace_id, 5, "traces side by side")
    await sink.aclose()


async def _it_takes_a_run_that_ended_any_way(
    make_sink: SinkFactory, read_steps: ReadSteps | None
) -> None:
    sink = make_sink()
    for outcome in Outcome:
        trace_id, events = _run(outcome)
        for event in events:
            sink.put(event)
        await sink.committed()
        _expect_steps(read_steps, trace_id, 3, f"a run that ended {outcome}")
    await sink.aclose()


async def _closing_flushes_and_may_be_done_twice(
    make_sink: SinkFactory, read_steps: ReadSteps | None
) -> None:
    sink = make_sink()
    trace_id, events = _run(Outcome.MODEL)
    for event in events:
        sink.put(event)
    await sink.aclose()
    _expect_steps(read_steps, trace_id, 3, "after aclose")
    await sink.aclose()


async def _waiting_may_be_cancelled(make_sink: SinkFactory, read_steps: ReadSteps | None) -> None:
    sink = make_sink()
    trace_id, events = _run(Outcome.GRADED)
    for event in events:
        sink.put(event)
    waiting = asyncio.ensure_future(sink.committed())
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait([waiting])
    await sink.committed()
    _expect_steps(read_steps, trace_id, 3, "after a cancelled wait")
    await sink.aclose()
