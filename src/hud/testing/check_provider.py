"""The conformance check of the provider contract, for our runtimes and for a user's own.

Drives a provider through what `hud.runtimes.base.Provider` promises, over real connections.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator

from hud._core.errors import HudError
from hud.clients import HudClient, connect
from hud.environment.task import Task
from hud.protocol.frames import HudProtocolError
from hud.runtimes.base import Provider, Runtime, provider_scope
from hud.testing.census import SETTLE_S, Census

_CANCEL_AFTER_TURNS = (0, 1, 2, 3, 5, 8, 13, 21, 34, 55)


async def check_provider(
    provider: Provider,
    task: Task,
    *,
    broken: Provider | None = None,
    broken_says: str = "",
    unsupported: Task | None = None,
    parallel: int = 4,
    timeout_s: float = 120.0,
) -> None:
    """Run `provider` through the contract; return when it keeps every part of it.

    Every acquire gives a fresh place; parallel ones share nothing; a failed start says why and
    leaks nothing; a cancellation at any point tears the place down, once. Leaks are counted as
    open descriptors, tasks of the running loop and (on Linux) child processes. A provider that
    keeps places ready says when it has them: `async def fill(task)` returns then.

    Args:
        provider: The provider to check.
        task: A task it can place and start; started several times, graded at most once.
        broken: The same kind of provider, for a place that cannot start. Left out: not checked.
        broken_says: What a failed start must hold of what the place printed or raised.
        unsupported: A task whose `runtime_config` asks for what the provider has not. It must be
            refused before anything is started.
        parallel: How many places to hold at once.
        timeout_s: For the whole check.

    Raises:
        AssertionError: naming the part of the contract that was not kept.
    """
    async with asyncio.timeout(timeout_s):
        if unsupported is not None:
            await _check_unsupported(provider, unsupported)
        async with provider_scope(provider):
            async with provider(task) as place:  # whatever is made once is made now
                await _greet(place)
            await _fill(provider, task)  # nor is what is kept ready a leak
            before = Census.take(with_processes=True)
            if unsupported is not None:
                await _refuse(provider, unsupported)
                await before.settle("after an ask was refused")
            await _check_fresh(provider, task)
            await _check_parallel(provider, task, parallel)
            await before.settle("after places were used and left")
            await _check_cancelled_body(provider, task)
            await before.settle("after a rollout was cancelled")
            for turns in _CANCEL_AFTER_TURNS:
                await _cancel_acquire(provider, task, turns)
                await before.settle(f"after an acquire was cancelled at turn {turns} of the loop")
            await _check_fresh(provider, task)
        if broken is not None:
            await _check_broken(broken, task, broken_says)


check_runtime = check_provider


async def _greet(place: Runtime) -> None:
    async with connect(place) as client:
        assert client.manifest is not None, f"{place.url} answered no manifest"
        await client.bye()


async def _fill(provider: Provider, task: Task) -> None:
    fill = getattr(provider, "fill", None)
    if fill is not None:
        await fill(task)


@contextlib.asynccontextmanager
async def _started(provider: Provider, task: Task) -> AsyncGenerator[tuple[Runtime, HudClient]]:
    async with provider(task) as place, connect(place) as client:
        await client.start_task(task.id, task.args)
        yield place, client


async def _check_fresh(provider: Provider, task: Task) -> None:
    """A task left suspended in one place is unknown to the next."""
    async with _started(provider, task) as (place, client):
        assert isinstance(place, Runtime), f"a provider yields a Runtime, not {place!r}"
        await client.close()
    async with provider(task) as place, connect(place) as client:
        await _expect_nothing_to_grade(client, "a second acquire found the first one's task")


async def _check_parallel(provider: Provider, task: Task, width: int) -> None:
    """Places held at once have addresses and tasks of their own."""
    async with contextlib.AsyncExitStack() as stack:
        made = await asyncio.gather(
            *(stack.enter_async_context(provider(task)) for _ in range(width))
        )
        urls = {place.url for place in made}
        assert len(urls) == width, f"{width} places held at once share {len(urls)} addresses"
        first, *others = [await stack.enter_async_context(connect(place)) for place in made]
        await first.start_task(task.id, task.args)
        await first.close()
        for client in others:
            await _expect_nothing_to_grade(client, "a place found the task of one beside it")


async def _expect_nothing_to_grade(client: HudClient, otherwise: str) -> None:
    try:
        await client.grade({"answer": ""})
    except HudProtocolError:
        return
    raise AssertionError(otherwise)


async def _check_cancelled_body(provider: Provider, task: Task) -> None:
    entered = asyncio.Event()

    async def hold() -> None:
        async with _started(provider, task):
            entered.set()
            await asyncio.Event().wait()

    await _cancel(asyncio.create_task(hold()), entered)


async def _cancel_acquire(provider: Provider, task: Task, turns: int) -> None:
    async def hold() -> None:
        async with provider(task):
            await asyncio.Event().wait()

    work = asyncio.create_task(hold())
    for _ in range(turns):
        await asyncio.sleep(0)
    await _cancel(work, None)


async def _cancel(work: asyncio.Task[None], entered: asyncio.Event | None) -> None:
    if entered is not None:
        waiting = asyncio.create_task(entered.wait())
        await asyncio.wait([work, waiting], return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
    work.cancel()
    done, _ = await asyncio.wait([work], timeout=SETTLE_S)
    assert done, f"a cancelled rollout was still not torn down after {SETTLE_S:g} s"
    if not work.cancelled():
        error = work.exception()
        raise AssertionError(f"a cancelled rollout ended with {error!r} instead") from error


async def _check_unsupported(provider: Provider, task: Task) -> None:
    """A refused ask leaves nothing, also where it is the first thing that is asked."""
    before = Census.take(with_processes=True)
    async with provider_scope(provider):
        await _refuse(provider, task)
    await before.settle("after an ask was refused and the scope left")


async def _refuse(provider: Provider, task: Task) -> None:
    said = await _failure(provider, task)
    assert said is not None, "a place was made for a task that asks for what it cannot have"
    assert said.strip(), "a refused ask does not say why"


async def _check_broken(broken: Provider, task: Task, says: str) -> None:
    before = Census.take(with_processes=True)
    async with provider_scope(broken):
        for _ in range(2):
            said = await _failure(broken, task)
            assert said is not None, "a place that cannot start was yielded"
            assert said.strip(), "a failed start does not say why"
            assert says in said, f"a failed start says {said!r}, and nothing of {says!r}"
    await before.settle("after a place could not be started")


async def _failure(broken: Provider, task: Task) -> str | None:
    try:
        async with broken(task):
            return None
    except HudError as error:
        return error.message
