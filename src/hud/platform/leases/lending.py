"""All leases of one server: lent, found again, heard of, and taken back from who vanished."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Generator
from dataclasses import dataclass

from starlette.concurrency import run_in_threadpool

from hud._core.errors import StoreError
from hud._core.ids import new_id
from hud.platform.builds.placing import Built, Deployed
from hud.platform.database import Database
from hud.platform.errors import ApiError, not_found
from hud.platform.leases import records
from hud.platform.leases.lease import Borrower, Lease
from hud.platform.leases.places import Places

logger = logging.getLogger(__name__)

_TOLD_EVERY_S = 10.0


@dataclass(frozen=True, slots=True)
class LendingLimits:
    """How much is lent, and for how long.

    Attributes:
        per_team: Leases of one team at a time.
        on_server: Leases of one server at a time.
        tunnels: Connections through one lease at a time.
        unused_s: A lease nobody is connected to for so long is over: its client vanished.
        lifetime_s: No lease lasts longer.
        look_s: How often they are looked at.
    """

    per_team: int = 100
    on_server: int = 400
    tunnels: int = 256
    unused_s: float = 20.0
    lifetime_s: float = 24 * 3600.0
    look_s: float = 5.0


class Leases:
    """The leases of one server process. For one event loop."""

    def __init__(
        self,
        database: Database,
        deployed: Deployed,
        places: Places,
        limits: LendingLimits | None = None,
    ) -> None:
        self.limits = limits or LendingLimits()
        self.server = new_id()
        self._database = database
        self._deployed = deployed
        self._places = places
        self._held: dict[tuple[str, str], Lease] = {}
        self._is_over = False

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        """Look after the leases while the block runs; then end them all."""
        looking = asyncio.create_task(self._look())
        try:
            yield
        finally:
            self._is_over = True
            looking.cancel()
            await asyncio.wait([looking])
            held = list(self._held.values())
            for lease in held:
                lease.end("the server ends")
            if held:
                await asyncio.wait([asyncio.create_task(lease.ended()) for lease in held])
                with contextlib.suppress(StoreError):
                    await run_in_threadpool(self._write, [records.Heard.of(one) for one in held])

    async def lend(self, borrower: Borrower, environment: str) -> Lease:
        """Begin a lease of an environment's latest build; returns before its place is there.

        Raises:
            ApiError: with status 404 or 409 without such a build, 429 or 503 at a limit.
            InputError: when the build cannot be run here.
        """
        if self._is_over or len(self._held) >= self.limits.on_server:
            raise ApiError(503, "this server lends no more environments now", kind="busy")
        built = await run_in_threadpool(self._find, borrower.team, environment)
        lease = Lease(new_id(), borrower, built, self._places)
        self._held[borrower.team, lease.id] = lease
        try:
            await run_in_threadpool(self._add, lease)
        except BaseException:
            lease.end("it could not be recorded")
            self._held.pop((borrower.team, lease.id), None)
            raise
        return lease

    def _find(self, team: str, environment: str) -> Built:
        with self._database.reading() as connection:
            if records.count_open(connection, team) >= self.limits.per_team:
                raise ApiError(
                    429,
                    f"this team has {self.limits.per_team} environments lent already",
                    kind="too_many",
                    hint="end some of them, or run fewer rollouts at once: --max-concurrent",
                )
        return self._deployed.find(team, environment)

    def _add(self, lease: Lease) -> None:
        with self._database.writing() as connection:
            records.add(connection, lease, self.server)

    def find(self, team: str, lease_id: str) -> Lease:
        """Return a lease of the team that this server holds.

        Raises:
            ApiError: with status 404, when there is none.
        """
        lease = self._held.get((team, lease_id))
        if lease is None:
            not_found("lease", lease_id)
        return lease

    def of_run(self, team: str, run_id: str) -> Lease | None:
        """Return the newest lease of the team for a run, None when this server holds none."""
        held = [
            lease
            for (of_team, _), lease in self._held.items()
            if of_team == team and lease.borrower.run_id == run_id and not lease.over.done()
        ]
        return held[-1] if held else None

    @contextlib.contextmanager
    def tunnelling(self, lease: Lease) -> Generator[None]:
        """Count a connection through a lease while the block runs.

        Raises:
            ApiError: with status 429, when it has too many already.
        """
        if lease.tunnels >= self.limits.tunnels:
            raise ApiError(
                429, f"this lease has {lease.tunnels} connections already", kind="too_many"
            )
        lease.tunnels += 1
        lease.unused_since = None
        try:
            yield
        finally:
            lease.tunnels -= 1
            if lease.tunnels == 0:
                lease.unused_since = asyncio.get_running_loop().time()

    async def take_back(self, lease: Lease, reason: str) -> None:
        """End a lease; returns once its place is gone."""
        lease.end(reason)
        await lease.ended()
        self._held.pop((lease.borrower.team, lease.id), None)
        await run_in_threadpool(self._write, [records.Heard.of(lease)])

    def _write(self, news: list[records.Heard]) -> None:
        with self._database.writing() as connection:
            records.hear(connection, news)

    async def _look(self) -> None:
        told: dict[str, str] = {}
        last = -_TOLD_EVERY_S
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(self.limits.look_s)
            now = loop.time()
            for lease in list(self._held.values()):
                self._judge(lease, now)
            is_due = now - last >= _TOLD_EVERY_S
            news = [
                records.Heard.of(lease)
                for lease in self._held.values()
                if is_due or told.get(lease.id) != lease.state
            ]
            try:
                if news:
                    await run_in_threadpool(self._write, news)
                if is_due:
                    last = now
                    await run_in_threadpool(self._sweep)
            except StoreError as error:
                logger.warning("leases cannot be recorded: %s", error)
                continue
            for heard in news:
                told[heard.id] = heard.state
                if heard.state == "ended":
                    self._held.pop((heard.team, heard.id), None)
                    told.pop(heard.id, None)

    def _judge(self, lease: Lease, now: float) -> None:
        """End a lease whose client, place or time is gone."""
        limits = self.limits
        if lease.over.done():
            return
        if lease.unused_since is not None and now - lease.unused_since > limits.unused_s:
            lease.end(f"nobody was connected to it for {limits.unused_s:g} s")
        elif now - lease.began > limits.lifetime_s:
            lease.end(f"it lasted longer than {limits.lifetime_s:g} s")
        elif gone := lease.vanished():
            lease.end(f"the environment is gone: {gone}")

    def _sweep(self) -> None:
        with self._database.writing() as connection:
            gone = records.sweep(connection)
        if gone:
            logger.warning("%d leases of servers that are gone were ended", gone)
