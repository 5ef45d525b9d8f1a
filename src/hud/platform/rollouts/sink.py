"""What a run does, on its way into the store: its end waits until it is decided what becomes of it.

An attempt that is tried again has no end of its own, and one whose lease is lost records nothing
any more: it is another worker's now.
"""

from __future__ import annotations

from hud.platform.rollouts.order import Order
from hud.store import Store
from hud.store.sink import StoreSink, run_end
from hud.trace.sinks import Event, RunEnded


class OrderSink:
    """Records one order's run.

    Attributes:
        ended: How the run ended, held back until `settle`.
        is_lost: Nothing is recorded any more.
    """

    def __init__(self, store: Store, order: Order) -> None:
        self._sink = StoreSink(store, team=order.team)
        self._team = order.team
        self.ended: RunEnded | None = None
        self.is_lost = False

    def put(self, event: Event) -> None:
        """Take in what happened."""
        if self.is_lost:
            return
        if isinstance(event, RunEnded):
            self.ended = event
        else:
            self._sink.put(event)

    async def committed(self) -> None:
        """Return at once: what counts is that everything is durable with the end."""

    async def aclose(self) -> None:
        """Hold nothing."""

    def record_end(self, ended: RunEnded) -> None:
        """Put the end into the store, which makes it durable in its own time."""
        self._sink.store.put(run_end(ended, team=self._team))

    async def settle(self) -> None:
        """Record the end, and return once the whole run is durable.

        Raises:
            StoreError: when it cannot be kept.
        """
        if self.ended is not None and not self.is_lost:
            self.record_end(self.ended)
        await self._sink.store.committed()
