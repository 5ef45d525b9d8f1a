"""The seam of what an environment runs to serve a capability: an SSH server, a browser, a tool.

Each kind is a module of its own; when they are started and stopped is `Environment`'s part, when
an episode begins and ends is the server's.
"""

from __future__ import annotations

import socket
from abc import ABC, abstractmethod
from typing import ClassVar

from hud.protocol.capability import Capability


class Daemon(ABC):
    """One capability's serving side. `start` and `stop` are called in turn, maybe repeatedly.

    Attributes:
        name: Name of the capability's row.
        is_exclusive: Whether episodes change its state, so that one at a time may use it.
    """

    is_exclusive: ClassVar[bool] = True

    def __init__(self, name: str) -> None:
        self.name = name

    @property
    def untrusted_uid(self) -> int | None:
        """Uid of the agent's processes where only it keeps them from the control port, or None."""
        return None

    @abstractmethod
    async def start(self) -> None:
        """Start it and return once it answers; on failure or cancellation nothing stays behind.

        Raises:
            CapabilityFault: when it cannot be started, saying what its log said last.
        """

    @abstractmethod
    async def stop(self) -> None:
        """End everything it started; stopping twice, or before a start, is no error."""

    @abstractmethod
    def capability(self) -> Capability:
        """Return the row clients see; valid while it is started."""

    async def dial(self) -> socket.socket | None:
        """Return a new connection to it, non-blocking, or None to dial the row's own address.

        A daemon inside a sandbox listens where only the sandbox reaches, so it must be asked.
        """
        return None

    async def begin_episode(self) -> None:  # noqa: B027 -- there may be nothing to do
        """Make it fresh for an episode that follows another one on the same environment.

        Called before the template's first half runs, except for the first episode after `start`.
        """

    async def hand_over(self) -> None:  # noqa: B027
        """Give what the template's first half has set up to the agent; called once it yielded."""

    async def end_episode(self) -> None:  # noqa: B027
        """Stop what the agent left running and cut its connections; called before grading.

        The state to be graded stays. Until the next `begin_episode` nobody may connect.
        """
