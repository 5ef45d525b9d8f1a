"""Inferences of many rollouts in one: who is gathered, who is told what, and who never waits."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import Any

import pytest

from hud._core.errors import AgentFault, ModelFault
from hud.agents.robot import BatchedModel, Model, RemoteModel
from hud.agents.robot.model import chunks_of
from hud.agents.robot.stacking import kind_of, stacked
from tests.needs import need_module

np = need_module("numpy")

FOREVER_S = 3600.0
DEADLINE_S = 60.0


class Doubling(Model):
    """Plan two steps: the state, and twice the state."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.threads: set[int] = set()
        self.before: Callable[[Any], None] = lambda batch: None

    def infer(self, batch: Any) -> Any:
        self.before(batch)
        self.threads.add(threading.get_ident())
        state = batch["state"]
        self.sizes.append(len(state))
        return np.stack([state, 2 * state], axis=1)


def sample(value: float, size: int = 2) -> dict[str, Any]:
    return {"state": np.full(size, value), "task": f"task {value:g}"}


async def ask(model: Model, value: float, size: int = 2) -> list[float]:
    chunk = await model.ainfer(sample(value, size))
    assert chunk.shape == (2, size)
    return [float(row[0]) for row in chunk]


async def test_calls_are_gathered_into_one_inference_and_everyone_gets_its_own_chunk() -> None:
    inner = Doubling()
    model = BatchedModel(inner, batch_size=5, max_wait_s=FOREVER_S)
    found = await asyncio.gather(*(ask(model, value) for value in range(5)))
    assert found == [[value, 2 * value] for value in range(5)]
    assert inner.sizes == [5]


async def test_a_lone_call_is_not_kept_waiting_longer_than_it_wants() -> None:
    inner = Doubling()
    assert await ask(BatchedModel(inner, batch_size=8, max_wait_s=0.0), 3.0) == [3.0, 6.0]
    assert inner.sizes == [1]


async def test_an_inference_holds_no_more_than_its_size_and_nobody_starves() -> None:
    inner = Doubling()
    model = BatchedModel(inner, batch_size=3, max_wait_s=0.05)
    found = await asyncio.gather(*(ask(model, value) for value in range(20)))
    assert found == [[value, 2 * value] for value in range(20)]
    assert max(inner.sizes) == 3 and sum(inner.sizes) == 20


async def test_rollouts_that_are_known_are_all_that_is_waited_for() -> None:
    inner = Doubling()
    model = BatchedModel(inner, max_wait_s=FOREVER_S)

    async def rollout(value: int) -> None:
        with model.member():
            both.release()
            await begun.wait()
            for _ in range(value):
                assert await ask(model, value) == [value, 2 * value]

    both, begun = asyncio.Semaphore(0), asyncio.Event()
    async with asyncio.timeout(DEADLINE_S), asyncio.TaskGroup() as group:
        for value in (1, 3, 5):
            group.create_task(rollout(value))
        for _ in range(3):
            await both.acquire()
        begun.set()
    assert inner.sizes == [3, 2, 2, 1, 1]


async def test_with_a_size_the_first_rollouts_wait_for_as_many_to_come() -> None:
    inner = Doubling()
    model = BatchedModel(inner, batch_size=3, max_wait_s=FOREVER_S)

    async def rollout(value: int) -> None:
        with model.member():
            await ask(model, value)

    async with asyncio.timeout(DEADLINE_S), asyncio.TaskGroup() as group:
        for value in range(3):
            group.create_task(rollout(value))
            await asyncio.sleep(0)
    assert inner.sizes == [3]


async def test_a_caller_that_is_cancelled_drops_out() -> None:
    inner = Doubling()
    model = BatchedModel(inner, batch_size=3, max_wait_s=FOREVER_S)
    gone = asyncio.create_task(ask(model, 9))
    await asyncio.sleep(0)
    gone.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await gone
    found = await asyncio.gather(*(ask(model, value) for value in (1, 2, 3)))
    assert found == [[1, 2], [2, 4], [3, 6]] and inner.sizes == [3]


async def test_a_caller_cancelled_during_the_inference_leaves_the_others_alone() -> None:
    inner = Doubling()
    begun, go_on = threading.Event(), threading.Event()

    def hold(_: Any) -> None:
        begun.set()
        assert go_on.wait(DEADLINE_S)

    inner.before = hold
    model = BatchedModel(inner, batch_size=2, max_wait_s=FOREVER_S)
    gone, stays = (asyncio.create_task(ask(model, value)) for value in (1, 2))
    assert await asyncio.to_thread(begun.wait, DEADLINE_S)
    gone.cancel()
    go_on.set()
    assert await stays == [2, 4]
    assert gone.cancelled() or await asyncio.wait([gone])


async def test_what_the_policy_raises_reaches_every_caller_and_the_next_batch_goes_on() -> None:
    inner = Doubling()

    def fail(_: Any) -> None:
        raise ZeroDivisionError("no gripper")

    inner.before = fail
    model = BatchedModel(inner, batch_size=3, max_wait_s=FOREVER_S)
    found = await asyncio.gather(*(ask(model, v) for v in range(3)), return_exceptions=True)
    assert all(isinstance(error, AgentFault) for error in found)
    assert len({id(error) for error in found}) == 3, "each has a traceback of its own"
    assert str(found[0]) == "the policy Doubling raised ZeroDivisionError: no gripper"
    inner.before = lambda batch: None
    assert await asyncio.gather(*(ask(model, v) for v in range(3))) == [[0, 0], [1, 2], [2, 4]]


async def test_a_fault_keeps_the_boundary_it_names() -> None:
    inner = Doubling()

    def fail(_: Any) -> None:
        raise ModelFault("out of quota", hint="wait")

    inner.before = fail
    with pytest.raises(ModelFault, match="out of quota") as caught:
        await BatchedModel(inner, max_wait_s=0).ainfer(sample(1))
    assert caught.value.hint == "wait"


async def test_a_chunk_too_few_is_the_policys_fault() -> None:
    class Forgetful(Doubling):
        def infer(self, batch: Any) -> Any:
            return super().infer(batch)[:1]

    model = BatchedModel(Forgetful(), batch_size=2, max_wait_s=FOREVER_S)
    found = await asyncio.gather(*(ask(model, v) for v in range(2)), return_exceptions=True)
    assert all("for 2 rollout(s)" in str(error) for error in found)
    assert all(isinstance(error, AgentFault) for error in found)


async def test_observations_of_different_shapes_are_never_mixed() -> None:
    inner = Doubling()
    model = BatchedModel(inner, batch_size=4, max_wait_s=0.05)
    sizes = (2, 3, 2, 3)
    found = await asyncio.gather(*(ask(model, at, size) for at, size in enumerate(sizes)))
    assert found == [[at, 2 * at] for at in range(4)]
    assert inner.sizes == [2, 2]


async def test_callers_may_live_on_several_event_loops() -> None:
    inner = Doubling()
    model = BatchedModel(inner, batch_size=4, max_wait_s=FOREVER_S)

    def elsewhere(values: tuple[int, int]) -> list[list[float]]:
        async def both() -> list[list[float]]:
            return await asyncio.gather(*(ask(model, value) for value in values))

        return asyncio.run(both())

    found = await asyncio.gather(
        *(asyncio.to_thread(elsewhere, values) for values in ((1, 2), (3, 4)))
    )
    assert found == [[[1, 2], [2, 4]], [[3, 6], [4, 8]]]
    assert inner.sizes == [4] and len(inner.threads) == 1


async def test_a_batch_holds_arrays_stacked_and_everything_else_in_lists() -> None:
    inner, seen = Doubling(), list[Any]()
    inner.before = seen.append
    model = BatchedModel(inner, batch_size=2, max_wait_s=FOREVER_S)
    await asyncio.gather(*(ask(model, value) for value in (1, 2)))
    assert seen[0]["state"].tolist() == [[1, 1], [2, 2]]
    assert seen[0]["task"] == ["task 1", "task 2"]


def test_nested_observations_are_stacked_name_by_name() -> None:
    rows = [{"data": {"a": np.float32(v), "b": np.array([v])}, "reward": v} for v in (1.0, 2.0)]
    found = stacked(rows)
    assert found["data"]["a"].tolist() == [1, 2] and found["data"]["b"].tolist() == [[1], [2]]
    assert found["reward"] == [1.0, 2.0]
    assert kind_of(rows[0]) == kind_of(rows[1]) != kind_of({"data": {"a": 1}})


@pytest.mark.parametrize("shape", [(2, 3, 4), (2, 1, 1)])
def test_chunks_for_every_rollout_are_taken_as_they_are(shape: tuple[int, ...]) -> None:
    assert chunks_of(np.zeros(shape), 2, "Policy").shape == shape


def test_one_action_for_every_rollout_is_a_chunk_of_one() -> None:
    assert chunks_of(np.zeros((2, 4)), 2, "Policy").shape == (2, 1, 4)


@pytest.mark.parametrize("found", [np.zeros((3, 4)), np.zeros((1, 3, 4)), np.zeros(4), "no", None])
def test_what_is_no_chunk_for_every_rollout_is_refused(found: Any) -> None:
    with pytest.raises(AgentFault, match=r"Policy\.infer returned"):
        chunks_of(found, 2, "Policy")


async def test_a_model_alone_answers_with_the_chunk_of_its_one_observation() -> None:
    class Here(Model):
        def infer(self, batch: Any) -> Any:
            return batch["state"][None, None]

    assert (await Here().ainfer(sample(4))).tolist() == [[4, 4]]


@pytest.mark.parametrize(
    ("settings", "says"),
    [({"batch_size": 0}, "batch_size"), ({"max_wait_s": -1.0}, "max_wait_s")],
)
def test_numbers_that_make_no_sense_are_refused(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        BatchedModel(Doubling(), **settings)


def test_a_policy_server_cannot_be_batched() -> None:
    with pytest.raises(ValueError, match="RemoteModel takes one observation at a time"):
        BatchedModel(RemoteModel())
