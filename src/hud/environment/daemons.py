"""The daemons of one environment through the life of its episodes: begin, hand over, end.

Each daemon decides what these mean for it (`daemon`); when an episode does what is `episode`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator

from hud.environment.daemon import Daemon

logger = logging.getLogger(__name__)


class Daemons:
    """What an environment runs beside its templates, in the order it was declared."""

    def __init__(self) -> None:
        self._held: list[Daemon] = []
        self._stages: set[Stage] = set()
        self._is_fresh = True

    def __iter__(self) -> Iterator[Daemon]:
        return iter(self._held)

    def __len__(self) -> int:
        return len(self._held)

    def add(self, daemon: Daemon) -> None:
        """Hold one more.

        Raises:
            ValueError: when the name is taken by another daemon.
        """
        if self.find(daemon.name) is not None:
            raise ValueError(f"the environment has two capabilities {daemon.name!r}")
        self._held.append(daemon)

    def find(self, name: str) -> Daemon | None:
        """Return the daemon behind that capability, or None when it has none."""
        return next((held for held in self._held if held.name == name), None)

    @property
    def is_exclusive(self) -> bool:
        """Whether one episode at a time may use them."""
        return any(daemon.is_exclusive for daemon in self._held)

    def bar(self, transport: asyncio.BaseTransport) -> bool:
        """Whether what connected may be an agent's process, which must not reach the control port.

        Where agents have a network or namespaces of their own nothing needs to be asked. Where only
        a uid separates them, a local process whose uid cannot be told is refused as well.
        """
        barred = {daemon.untrusted_uid for daemon in self._held} - {None}
        if not barred:
            return False
        from hud._core.peer_uid import is_local, peer_uid

        connection = transport.get_extra_info("socket")
        if connection is None or not is_local(connection):
            return False
        uid = peer_uid(connection)
        return uid is None or uid in barred

    def started(self) -> None:
        """Note that all were started just now: the next episode finds them fresh."""
        self._is_fresh = True

    def enter(self) -> Stage:
        """Begin an episode; close the stage when it is over."""
        stage = Stage(self)
        self._stages.add(stage)
        return stage

    async def begin(self, stage: Stage) -> None:
        """Make the daemons fresh for an episode, unless others are using them."""
        if len(self._stages) > 1 and self.is_exclusive:
            logger.warning("two episodes use one environment at once: they share its state")
            return
        fresh, self._is_fresh = self._is_fresh, False
        if not fresh:
            for daemon in self._held:
                await daemon.begin_episode()

    async def hand_over(self) -> None:
        for daemon in self._held:
            await daemon.hand_over()

    async def end(self, stage: Stage) -> None:
        """Stop what the agent left running, unless it may be another episode's."""
        if len(self._stages) > 1 and self.is_exclusive:
            logger.warning("an episode ends while another uses its environment: nothing is stopped")
            return
        # What shares another one's sandbox was declared after it, and ends before it.
        for daemon in reversed(self._held):
            await daemon.end_episode()

    def leave(self, stage: Stage) -> None:
        self._stages.discard(stage)


class Stage:
    """One episode's use of the daemons."""

    def __init__(self, daemons: Daemons) -> None:
        self._daemons = daemons
        self._ended = False

    async def begin(self) -> None:
        """Before the template's first half.

        Raises:
            CapabilityFault: when a daemon cannot be made fresh.
        """
        await self._daemons.begin(self)

    async def hand_over(self) -> None:
        """After the template's first half."""
        await self._daemons.hand_over()

    async def end(self) -> None:
        """Before grading."""
        if not self._ended:
            self._ended = True
            await self._daemons.end(self)

    async def close(self) -> None:
        """After everything; an episode that was not graded ends here."""
        try:
            await self.end()
        finally:
            self._daemons.leave(self)
