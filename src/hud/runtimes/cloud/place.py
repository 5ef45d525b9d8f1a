"""The life of one place at a cloud: made, reached, watched, and removed exactly once.

What a vendor offers is behind `Cloud` and `Box`; nothing here knows one from another.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator
from typing import Any, Protocol

from hud._core.errors import HudError, RuntimeFault, bounded
from hud._core.finishing import unbroken
from hud._core.relay import Relay
from hud.clients.connect import connect
from hud.runtimes.base import Runtime
from hud.runtimes.cloud.asks import Asks
from hud.runtimes.cloud.owner import is_abandoned
from hud.runtimes.door import Door
from hud.runtimes.stream import Stream, joinable

logger = logging.getLogger(__name__)

FINISH_S = 30.0
_REMOVE_TRIES = 3
_REMOVE_S = 20.0
_PAUSE_S = 0.5
_LOG_S = 5.0
_LOG_CHARS = 1_500
_ANSWER_S = 60.0
_LET_GO_S = 5.0


class Box(Protocol):
    """One sandbox that exists at the vendor, its environment told to serve."""

    @property
    def id(self) -> str: ...

    async def dial(self) -> Stream:
        """Open a stream to the control port."""
        ...

    async def ended(self) -> str:
        """Return why the environment is not there any more, once it is not."""
        ...

    async def logs(self) -> str:
        """Return what the environment printed last."""
        ...


class Cloud(Protocol):
    """What a vendor can do, through its SDK; every call raises `HudError` for what it refused."""

    name: str

    async def make(self, asks: Asks) -> Box:
        """Make a sandbox with all labels of `asks`, and start the environment in it."""
        ...

    async def remove(self, sandbox_id: str) -> None:
        """Remove a sandbox; one that is gone is fine."""
        ...

    async def find(self, place_id: str | None = None) -> list[tuple[str, dict[str, str]]]:
        """Return ids and labels of our sandboxes: those of one place, or all."""
        ...


class ExitReason:
    """Why a place vanished by itself; found as `runtime.params["exit_reason"]`."""

    def __init__(self, watching: asyncio.Task[str]) -> None:
        self._watching = watching

    def __call__(self) -> str | None:
        watching = self._watching
        if not watching.done() or watching.cancelled():
            return None
        error = watching.exception()
        return watching.result() if error is None else f"it cannot be watched: {bounded(error)}"

    async def wait(self, timeout_s: float = 1.0) -> str | None:
        """Return the same, waiting for the news that may follow a lost connection."""
        await asyncio.wait([self._watching], timeout=timeout_s)
        return self()


@contextlib.asynccontextmanager
async def placed(cloud: Cloud, asks: Asks) -> AsyncGenerator[Runtime]:
    """Make a place, yield it once its environment answers, remove it however that ends."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + asks.startup_s
    box = await _made(cloud, asks)
    try:
        async with Door(lambda: _dialled(box)) as door:
            watching = asyncio.create_task(box.ended())
            watching.add_done_callback(lambda _: door.hang_up())
            try:
                reason = ExitReason(watching)
                await _answering(cloud, box, door, reason, deadline - loop.time())
                params: dict[str, Any] = {
                    "ready_timeout": _ANSWER_S,
                    "exit_reason": reason,
                    "sandbox_id": box.id,
                }
                yield Runtime(f"unix://{door.path}", params)
            finally:
                watching.cancel()
                await asyncio.wait([watching])
    finally:
        await unbroken(_removed(cloud, box.id), within_s=_REMOVE_TRIES * (_REMOVE_S + 1))


@contextlib.asynccontextmanager
async def _dialled(box: Box) -> AsyncGenerator[Relay]:
    dialling = asyncio.ensure_future(box.dial())
    try:
        stream = await asyncio.shield(dialling)
    except asyncio.CancelledError:
        await unbroken(_let_go(dialling), within_s=2 * _LET_GO_S)
        raise
    async with joinable(stream) as far:
        yield far


async def _let_go(dialling: asyncio.Future[Stream]) -> None:
    """Close a stream that nobody waits for, once it is open: an SDK cut off in it leaks."""
    await asyncio.wait([dialling], timeout=_LET_GO_S)
    if not dialling.done():
        dialling.cancel()
        await asyncio.wait([dialling])
    elif not dialling.cancelled() and dialling.exception() is None:
        await dialling.result().close()


async def reap(cloud: Cloud) -> int:
    """Remove what processes of this machine left behind when they were killed; return how many."""
    removed = 0
    for sandbox_id, labels in await cloud.find():
        if is_abandoned(labels):
            logger.warning("%s: removing %s, whose owner is gone", cloud.name, sandbox_id)
            await cloud.remove(sandbox_id)
            removed += 1
    return removed


async def _made(cloud: Cloud, asks: Asks) -> Box:
    """Make a place; when that fails or is cancelled, nothing of it is left at the vendor."""
    making = asyncio.create_task(cloud.make(asks))
    try:
        async with asyncio.timeout(asks.startup_s):
            return await asyncio.shield(making)
    except BaseException as error:
        await unbroken(_swept(cloud, asks, making), within_s=2 * FINISH_S + 3 * _REMOVE_S)
        if isinstance(error, TimeoutError) and not making.done():
            raise RuntimeFault(
                f"{cloud.name} made no sandbox within {asks.startup_s:g} s",
                hint="raise limits.startup_timeout_s",
            ) from error
        if isinstance(error, TimeoutError | OSError):
            raise RuntimeFault(f"{cloud.name} could not be reached: {bounded(error)}") from error
        raise


async def _swept(cloud: Cloud, asks: Asks, making: asyncio.Task[Box]) -> None:
    """End a making that nobody waits for, and remove whatever it made."""
    if not making.done():
        # A request that is cut off may still be carried out after we looked for its result.
        await asyncio.wait([making], timeout=FINISH_S)
        making.cancel()
        await asyncio.wait([making], timeout=FINISH_S)
    if making.done() and not making.cancelled() and making.exception() is None:
        await _removed(cloud, making.result().id)
        return
    try:
        for sandbox_id, _ in await cloud.find(asks.id):
            await _removed(cloud, sandbox_id)
    except HudError as error:
        logger.debug("%s: cannot look for what a failed start left: %s", cloud.name, error)


async def _removed(cloud: Cloud, sandbox_id: str) -> None:
    """Remove a sandbox, trying again when that fails; tell when it is left to its lifetime."""
    problem = ""
    for attempt in range(_REMOVE_TRIES):
        if attempt:
            await asyncio.sleep(_PAUSE_S)
        try:
            async with asyncio.timeout(_REMOVE_S):
                await cloud.remove(sandbox_id)
            return
        except (HudError, OSError, TimeoutError) as error:
            problem = bounded(str(error) or type(error).__qualname__, 300)
    logger.error(
        "%s: sandbox %s was not removed (%s); the vendor ends it when its lifetime is over",
        cloud.name,
        sandbox_id,
        problem,
    )


async def _answering(
    cloud: Cloud, box: Box, door: Door, reason: ExitReason, within_s: float
) -> None:
    """Wait until the environment answers.

    Raises:
        RuntimeFault: with the last lines it printed, when it does not.
    """
    probe = Runtime(
        f"unix://{door.path}", {"ready_timeout": max(within_s, 1.0), "exit_reason": reason}
    )
    try:
        async with connect(probe) as client:
            await client.bye()
    except RuntimeFault as error:
        ended = await reason.wait(0.2)
        why = f"the environment did not start: {ended}" if ended else "no environment answered"
        if not ended and door.last_error:
            why = f"{why} ({door.last_error})"
        printed = await _last_lines(box)
        said = f"; it last printed: {printed}" if printed else ""
        raise RuntimeFault(
            f"{cloud.name} sandbox {box.id}: {why}{said}",
            hint="does the image hold the environment, and `hud`? "
            "limits.startup_timeout_s gives it more time",
        ) from error


async def _last_lines(box: Box) -> str:
    try:
        async with asyncio.timeout(_LOG_S):
            return (await box.logs()).strip()[-_LOG_CHARS:]
    except Exception as error:
        logger.debug("the logs of %s cannot be read: %r", box.id, error)
        return ""
