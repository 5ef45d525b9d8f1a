"""The queue of planned actions: open loop, receding horizon, averaged."""

from __future__ import annotations

import math
from typing import Any

import pytest

from hud.agents.robot.chunks import ActionQueue
from tests.needs import need_module

np = need_module("numpy")


def ramp(start: float, length: int = 4) -> Any:
    """Return a chunk [T, 2] that counts up from `start`."""
    first = np.arange(start, start + length)
    return np.stack([first, -first], axis=1)


def taken(queue: ActionQueue, count: int) -> list[float]:
    return [float(queue.pop()[0]) for _ in range(count)]


def test_a_whole_chunk_is_carried_out_before_the_next() -> None:
    queue = ActionQueue()
    assert queue.is_due
    assert queue.put(ramp(0)).tolist() == ramp(0).tolist()
    assert taken(queue, 3) == [0, 1, 2] and not queue.is_due
    assert taken(queue, 1) == [3] and queue.is_due
    queue.put(ramp(10))
    assert taken(queue, 1) == [10]


def test_nothing_can_be_taken_when_a_chunk_is_due() -> None:
    with pytest.raises(IndexError, match="put a chunk first"):
        ActionQueue().pop()


def test_a_receding_horizon_replans_after_so_many_actions() -> None:
    queue = ActionQueue(replan_after=2)
    assert len(queue.put(ramp(0))) == 2
    assert taken(queue, 2) == [0, 1] and queue.is_due
    queue.put(ramp(5))
    assert taken(queue, 2) == [5, 6] and queue.is_due


def test_a_horizon_longer_than_the_chunk_ends_with_it() -> None:
    queue = ActionQueue(replan_after=9)
    queue.put(ramp(0, 3))
    assert taken(queue, 3) == [0, 1, 2] and queue.is_due


def test_averaging_replans_at_every_action_unless_told_otherwise() -> None:
    queue = ActionQueue(ensemble=0.0)
    queue.put(ramp(0))
    assert taken(queue, 1) == [0] and queue.is_due
    slower = ActionQueue(ensemble=0.0, replan_after=3)
    slower.put(ramp(0))
    assert taken(slower, 3) == [0, 1, 2] and slower.is_due


def test_overlapping_chunks_are_averaged_with_exponential_weights_oldest_first() -> None:
    queue = ActionQueue(ensemble=0.5)
    chunks = [np.array([[1.0], [2.0], [3.0]]), np.array([[10.0], [20.0], [30.0]])]
    chunks.append(np.array([[100.0], [200.0], [300.0]]))
    found: list[float] = []
    for chunk in chunks:
        queue.put(chunk)
        found.append(float(queue.pop()[0]))
    w = [math.exp(-0.5 * i) for i in range(3)]
    assert found[0] == 1.0
    assert found[1] == pytest.approx((2 * w[0] + 10 * w[1]) / (w[0] + w[1]))
    assert found[2] == pytest.approx((3 * w[0] + 20 * w[1] + 100 * w[2]) / sum(w))


def test_a_chunk_that_has_run_out_no_longer_counts() -> None:
    queue = ActionQueue(ensemble=0.1, replan_after=2)
    queue.put(ramp(0, 2))
    assert taken(queue, 2) == [0, 1]
    queue.put(ramp(50, 2))
    assert taken(queue, 2) == [50, 51]


def test_equal_predictions_average_to_themselves() -> None:
    queue = ActionQueue(ensemble=-0.3)
    for tick in range(6):
        queue.put(ramp(tick, 5))
        action = queue.pop()
        assert np.allclose(action, [tick, -tick])
