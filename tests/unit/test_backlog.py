"""What waits to be reported: one delivery of a run at a time, and nothing forgotten."""

from __future__ import annotations

import pytest

from hud._core.outcome import Outcome
from hud.eval.reporting import backlog as module
from hud.eval.reporting.backlog import Backlog, Unsent
from hud.eval.reporting.sent import Sent
from hud.trace.sinks import RunEnded, RunStarted, SpanRecorded, StepRecorded

RUN, JOB = "a" * 32, "b" * 32


def started(run_id: str = RUN) -> RunStarted:
    return RunStarted(
        trace_id=run_id, job_id=JOB, task_slug="t", task_id="t", env="e", started_at=1
    )


def step(seq: int, run_id: str = RUN) -> StepRecorded:
    return StepRecorded(
        trace_id=run_id,
        seq=seq,
        source="agent",
        schema="hud.step.v1",
        started_at="",
        ended_at="",
        payload=b"{}",
    )


def ended(run_id: str = RUN) -> RunEnded:
    return RunEnded(trace_id=run_id, job_id=JOB, status="error", outcome=Outcome.MODEL, ended_at=2)


@pytest.fixture
def calls() -> list[int]:
    return []


@pytest.fixture
def backlog(calls: list[int]) -> Backlog:
    return Backlog(lambda: calls.append(1))


def taken(backlog: Backlog) -> list[str]:
    return [run_id for run_id, _ in backlog.take(100, at_once=True)]


def test_a_run_that_is_on_its_way_is_not_taken_again_before_it_is_back(backlog: Backlog) -> None:
    backlog.put(started())
    assert taken(backlog) == [RUN]
    backlog.put(step(1))
    assert taken(backlog) == []
    assert backlog.next_due(at_once=True) is None
    backlog.delivered(RUN, Sent(is_entered=True))
    assert backlog.open_runs(JOB) == 1
    assert taken(backlog) == [RUN]
    backlog.delivered(RUN, Sent(is_entered=True, seq=1))
    assert backlog.open_runs() == 0
    assert backlog.running_in(JOB) == RUN


def test_somebody_is_told_once_until_something_is_taken(backlog: Backlog, calls: list[int]) -> None:
    for seq in range(1, 50):
        backlog.put(step(seq))
        backlog.put(step(seq, "c" * 32))
    assert len(calls) == 1
    taken(backlog)
    backlog.put(step(50))
    assert len(calls) == 2


def test_what_is_new_waits_for_more_and_for_the_store(backlog: Backlog) -> None:
    backlog.put(started())
    assert backlog.take(100) == []
    assert backlog.next_due() is not None
    backlog.add("c" * 32, JOB)
    assert [run_id for run_id, _ in backlog.take(100)] == ["c" * 32], "it was recorded long ago"


def test_what_the_store_did_not_have_yet_is_asked_for_again_but_not_for_ever(
    backlog: Backlog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "GATHER_S", 0.0)
    monkeypatch.setattr(module, "_STALLS_AT_MOST", 50)
    backlog.put(step(3))
    asked = 0
    while backlog.open_runs():
        assert [run_id for run_id, _ in backlog.take(100)] == [RUN]
        backlog.delivered(RUN, Sent(is_entered=True, seq=2))
        asked += 1
    assert asked == 51


def test_what_has_not_arrived_is_counted_by_job(backlog: Backlog) -> None:
    backlog.put(started())
    for seq in range(1, 6):
        backlog.put(step(seq))
    assert backlog.unsent(JOB) == Unsent(1, 5)
    taken(backlog)
    backlog.delivered(RUN, Sent(is_entered=True, seq=2))
    assert backlog.unsent(JOB) == Unsent(1, 3)
    backlog.put(ended())
    backlog.put(ended())
    monotonic_due = backlog.next_due()
    assert monotonic_due is not None
    backlog.clear()
    assert backlog.unsent() == Unsent(0, 0)
    backlog.delivered(RUN, Sent())


def test_a_refused_run_is_left_alone(backlog: Backlog) -> None:
    backlog.put(started())
    taken(backlog)
    backlog.failed(RUN, (), again=False)
    backlog.put(step(1))
    backlog.add(RUN, JOB)
    assert backlog.open_runs() == 0
    assert taken(backlog) == []


def test_debug_spans_come_back_after_a_failure_and_have_a_limit(
    backlog: Backlog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_DEBUG_BYTES", 60)
    for index in range(10):
        backlog.put(SpanRecorded(trace_id=RUN, span={"name": f"span-{index}"}))
    [(run_id, spans)] = backlog.take(1, at_once=True)
    assert 1 <= len(spans) <= 3
    backlog.failed(run_id, spans, again=True)
    [(_, again)] = backlog.take(1, at_once=True)
    assert again == spans
