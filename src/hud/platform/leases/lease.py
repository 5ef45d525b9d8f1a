"""One lent environment: a place that is held by a task until the lease is over."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import Any

from hud._core.errors import HudError, RuntimeFault
from hud._core.redact import redact
from hud.environment.task import Task
from hud.platform.builds.placing import Built
from hud.platform.leases.places import Places
from hud.runtimes.base import Runtime

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Borrower:
    """On whose behalf a lease is held."""

    team: str
    user_id: str
    key_id: str | None
    run_id: str | None


class Lease:
    """A place for one borrower. For one event loop.

    Attributes:
        state: `starting`, `ready` or `ended`.
        reason: Why it ended.
        tunnels: Connections that are open through it.
        unused_since: When the last tunnel closed, in the loop's time; None while one is open.
        over: Done with the reason once it is over.
    """

    def __init__(self, lease_id: str, borrower: Borrower, built: Built, places: Places) -> None:
        loop = asyncio.get_running_loop()
        self.id = lease_id
        self.borrower = borrower
        self.built = built
        self.state = "starting"
        self.reason: str | None = None
        self.tunnels = 0
        self.began = loop.time()
        self.unused_since: float | None = self.began
        self.over: asyncio.Future[str] = loop.create_future()
        self._places = places
        self._ready: asyncio.Future[Runtime] = loop.create_future()
        self._task = asyncio.create_task(self._hold())

    async def place(self) -> Runtime:
        """Return where the environment listens, once it does.

        Raises:
            RuntimeFault: when the lease is over; its message says why.
        """
        await asyncio.wait([self._ready, self.over], return_when=asyncio.FIRST_COMPLETED)
        if self.over.done():
            raise RuntimeFault(self.over.result())
        return self._ready.result()

    def vanished(self) -> str | None:
        """Return why the place is gone, None while it is there or nothing is known."""
        if not self._ready.done():
            return None
        reason: Any = self._ready.result().params.get("exit_reason")
        return reason() if reason is not None else None

    def end(self, reason: str) -> None:
        """Begin to end it; the place is torn down in its own time."""
        if not self.over.done():
            self.reason = redact(reason)
            self.over.set_result(self.reason)

    async def ended(self) -> None:
        """Return once the place is gone."""
        await asyncio.wait([self._task])

    async def _hold(self) -> None:
        task = Task(env=self.built.environment, id="lease")
        starting = asyncio.create_task(self._placed(task))
        await asyncio.wait([starting, self.over], return_when=asyncio.FIRST_COMPLETED)
        if not starting.done():
            starting.cancel()  # over before it began; cancelling tears down what was made
            await asyncio.wait([starting])
        self.state = "ended"

    async def _placed(self, task: Task) -> None:
        try:
            async with self._places.place(self.built, task) as place:
                self.state = "ready"
                self._ready.set_result(place)
                await asyncio.wait([self.over])
        except HudError as error:
            self.end(f"the environment could not be placed: {error.message}")
        except Exception as error:
            logger.exception("a lease of %s ended in an unexpected way", self.built.environment)
            self.end(f"the environment could not be placed: {type(error).__qualname__}")
