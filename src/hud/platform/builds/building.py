"""The builds of one server: takes them from the queue, has them built, says how they ended."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Callable, Generator, Mapping, Sequence
from dataclasses import dataclass

from hud._core.errors import HudError, StoreError
from hud.platform.builds import queue
from hud.platform.builds.asking import opened
from hud.platform.builds.builder import BuildAsk, Builder, BuildFailed, BuildTimedOut, Built
from hud.platform.builds.contexts import Contexts, forget_abandoned
from hud.platform.builds.identity import this_worker
from hud.platform.builds.lines import append_lines
from hud.platform.builds.log import BuildLog
from hud.platform.builds.records import BuildRecord, BuildStatus
from hud.platform.builds.secrecy import Secrecy
from hud.platform.database import Database, now_us
from hud.platform.errors import ApiError
from hud.platform.secrets import SecretBox

logger = logging.getLogger(__name__)

LISTENERS_AT_MOST = 1_000
_HEARTBEAT_S = 5.0
_SWEEP_S = 600.0
_TRY_AGAIN_S = 1.0


class Listener:
    """Hears that something about one build changed. For one event loop.

    Attributes:
        is_over: There will be nothing more: the server ends.
    """

    def __init__(self) -> None:
        self._arrived = asyncio.Event()
        self.is_over = False

    def tell(self) -> None:
        """Take in that there is something new."""
        self._arrived.set()

    def end(self) -> None:
        """Take in that there will be nothing more."""
        self.is_over = True
        self._arrived.set()

    async def wait(self, timeout_s: float) -> None:
        """Return when something is new, or after `timeout_s`."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._arrived.wait()
        self._arrived.clear()


@dataclass(slots=True)
class _UnderWay:
    """One build that runs here."""

    record: BuildRecord
    task: asyncio.Task[None]
    is_cancelled: bool = False
    is_missed: bool = False


class Builds:
    """What a server builds. The database stays its owner's to close.

    Args:
        at_once: How many builds run here together; 0 leaves them to other servers.
        timeout_s: How long one may take.
    """

    def __init__(
        self,
        database: Database,
        box: SecretBox,
        contexts: Contexts,
        builder: Builder,
        *,
        at_once: int,
        timeout_s: float,
    ) -> None:
        self.contexts = contexts
        self._database, self._box, self._builder = database, box, builder
        self._at_once, self._timeout_s = at_once, timeout_s
        self._worker = this_worker()
        self._under_way: dict[str, _UnderWay] = {}
        self._listeners: dict[str, set[Listener]] = {}
        self._wanted = asyncio.Event()
        self._is_over = False
        self._loop: asyncio.AbstractEventLoop | None = None

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        """Build while the block runs; what is not done by its end is put back into the queue."""
        self._loop = asyncio.get_running_loop()
        async with contextlib.AsyncExitStack() as stack:
            stack.push_async_callback(self._stop)
            for work in (self._serve(), self._beat(), self._sweep()):
                task = asyncio.create_task(work)
                stack.push_async_callback(_ended, task)
            yield

    def end(self) -> None:
        """Tell every listener that there will be nothing more."""
        self._is_over = True
        for listeners in self._listeners.values():
            for listener in listeners:
                listener.end()

    def wake(self) -> None:
        """Look at the queue: something was put into it. May be called from any thread."""
        self._soon(self._wanted.set)

    def tell(self, build_id: str) -> None:
        """Tell those who listen to a build that something about it changed."""
        for listener in self._listeners.get(build_id, ()):
            listener.tell()

    def stop_build(self, build_id: str) -> None:
        """End a build that was cancelled, if it runs here. May be called from any thread."""
        self._soon(lambda: self._stop_build(build_id))

    def _soon(self, call: Callable[[], None]) -> None:
        if self._loop is not None:
            self._loop.call_soon_threadsafe(call)

    def _stop_build(self, build_id: str) -> None:
        self.tell(build_id)
        self._wanted.set()
        if (found := self._under_way.get(build_id)) is not None:
            found.is_cancelled = True
            found.task.cancel()

    def is_here(self, build_id: str) -> bool:
        """Tell whether a build runs in this process, so that `Listener` hears all of it."""
        return build_id in self._under_way

    @contextlib.contextmanager
    def listening(self, build_id: str) -> Generator[Listener]:
        """Listen to a build while the block runs.

        Raises:
            ApiError: with status 503, when too many listen already.
        """
        if sum(map(len, self._listeners.values())) >= LISTENERS_AT_MOST:
            raise ApiError(503, "too many listen to this server", kind="busy")
        listener = Listener()
        if self._is_over:
            listener.end()
        self._listeners.setdefault(build_id, set()).add(listener)
        try:
            yield listener
        finally:
            held = self._listeners[build_id]
            held.discard(listener)
            if not held:
                del self._listeners[build_id]

    async def _stop(self) -> None:
        self.end()
        tasks = [each.task for each in self._under_way.values()]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def _serve(self) -> None:
        """Take builds from the queue whenever there is room for one."""
        while True:
            self._wanted.clear()
            try:
                while len(self._under_way) < self._at_once:
                    record = await asyncio.to_thread(self._claim)
                    if record is None:
                        break
                    task = asyncio.create_task(self._run(record))
                    self._under_way[record.id] = _UnderWay(record, task)
                    self.tell(record.id)
            except StoreError as error:
                logger.warning("builds cannot be taken from the queue: %s", error)
                await asyncio.sleep(_TRY_AGAIN_S)
                continue
            with contextlib.suppress(TimeoutError):
                # Other servers put builds into the queue too.
                async with asyncio.timeout(_HEARTBEAT_S):
                    await self._wanted.wait()

    def _claim(self) -> BuildRecord | None:
        with self._database.reading() as connection:
            if not queue.is_anybody_waiting(connection):
                return None
        with self._database.writing() as connection:
            return queue.claim(connection, self._worker)

    async def _beat(self) -> None:
        """Say that this server is alive, and notice builds of servers that are not."""
        while True:
            try:
                await self._recover()
                mine = list(self._under_way.values())
                if mine:
                    self._look_after(mine, await asyncio.to_thread(self._heartbeat, mine))
            except StoreError as error:
                logger.warning("builds cannot be looked after: %s", error)
            await asyncio.sleep(_HEARTBEAT_S)

    def _heartbeat(self, mine: Sequence[_UnderWay]) -> Mapping[str, BuildStatus]:
        with self._database.writing() as connection:
            return queue.heartbeat(connection, self._worker, [each.record.id for each in mine])

    @staticmethod
    def _look_after(mine: Sequence[_UnderWay], held: Mapping[str, BuildStatus]) -> None:
        """End builds that were cancelled at another server, or were given to one."""
        for found in mine:
            status = held.get(found.record.id)
            # One that has just ended is missing too: it gets until the next look to be gone.
            if status is BuildStatus.CANCELLING or (status is None and found.is_missed):
                found.is_cancelled = status is not None
                found.task.cancel()
            found.is_missed = status is None

    async def _recover(self) -> None:
        for record in await asyncio.to_thread(self._recovered):
            if record.status.is_over:
                self.contexts.forget(record.id)
            self.tell(record.id)
            self.wake()

    def _recovered(self) -> list[BuildRecord]:
        with self._database.reading() as connection:
            if not queue.abandoned(connection):
                return []
        with self._database.writing() as connection:
            found = queue.recover(connection)
            for record, said in found:
                append_lines(connection, record.team, record.id, [(now_us(), said)])
        return [record for record, _ in found]

    async def _sweep(self) -> None:
        """Forget uploads that nobody came back for."""
        while True:
            try:
                known = await asyncio.to_thread(forget_abandoned, self._database)
                await asyncio.to_thread(self.contexts.sweep, known)
            except (StoreError, OSError) as error:
                logger.warning("uploads cannot be looked after: %s", error)
            await asyncio.sleep(_SWEEP_S)

    async def _run(self, record: BuildRecord) -> None:
        """Build one; whatever happens, it is over or back in the queue afterwards."""
        try:
            await self._build(record)
        except StoreError as error:
            # It stays under way by name; a heartbeat that fails to come puts it back.
            logger.error("build %s could not be recorded: %s", record.id, error)
        finally:
            self._under_way.pop(record.id, None)
            self.tell(record.id)
            self.wake()

    async def _build(self, record: BuildRecord) -> None:
        try:
            ask, variables = await asyncio.to_thread(self._opened, record)
        except HudError as error:
            await self._end(record, BuildStatus.FAILED, error.message)
            return
        values = [*ask.build_secrets.values(), *ask.variables.values()]
        log = BuildLog(self._database, record, Secrecy(values), lambda: self.tell(record.id))
        async with log.writing():
            try:
                built = await self._built(record, ask, log)
            except asyncio.CancelledError:
                found = self._under_way.get(record.id)
                if found is not None and found.is_cancelled:
                    log.say("stopped")
                    await log.flush()
                    await self._end(record, BuildStatus.STOPPED, "it was cancelled")
                    return
                log.say("the server ends; this is built again when one is there")
                await asyncio.shield(asyncio.to_thread(self._put_back, record))
                raise
            except HudError as error:
                status, said = _outcome(error)
                log.say(f"error: {said}")
                if error.hint:
                    log.say(f"hint: {error.hint}")
                await log.flush()
                await self._end(record, status, Secrecy(values).clean(said))
                return
            except Exception:
                logger.exception("build %s failed in the server", record.id)
                log.say("error: the server failed at this build; its own log says more")
                await log.flush()
                await self._end(record, BuildStatus.FAILED, "the server failed at this build")
                return
            await log.flush()
            await asyncio.shield(asyncio.to_thread(self._succeed, record, built, variables))

    async def _built(self, record: BuildRecord, ask: BuildAsk, log: BuildLog) -> Built:
        context = self.contexts.path(record.id)
        if not context.exists():
            raise BuildFailed("the context that was uploaded is not on this server any more")
        log.say(f"building {ask.name} ({self._builder.name}, {record.size_bytes:,} bytes)")
        try:
            async with asyncio.timeout(self._timeout_s):
                return await self._builder.build(context, ask, log.say)
        except TimeoutError as error:
            raise BuildTimedOut(
                f"it took longer than the {self._timeout_s:g} s that a build may take"
            ) from error

    def _opened(self, record: BuildRecord) -> tuple[BuildAsk, dict[str, str]]:
        with self._database.reading() as connection:
            return opened(connection, self._box, record)

    def _put_back(self, record: BuildRecord) -> None:
        with self._database.writing() as connection:
            queue.put_back(connection, record)

    def _succeed(self, record: BuildRecord, built: Built, variables: Mapping[str, str]) -> None:
        with self._database.writing() as connection:
            done = queue.succeed(connection, self._box, record, built, variables)
        if done is not None:
            self.contexts.forget(record.id)

    async def _end(self, record: BuildRecord, status: BuildStatus, error: str) -> None:
        def keep() -> BuildRecord | None:
            with self._database.writing() as connection:
                return queue.end(connection, record, status, error)

        if await asyncio.shield(asyncio.to_thread(keep)) is not None:
            self.contexts.forget(record.id)


def _outcome(error: HudError) -> tuple[BuildStatus, str]:
    match error:
        case BuildTimedOut():
            return BuildStatus.TIMED_OUT, error.message
        case _:
            return BuildStatus.FAILED, error.message


async def _ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait([task])
