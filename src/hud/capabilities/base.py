"""The seam of live capability clients: connect to a row, drive what is behind it, close.

Which class drives which protocol is `registry`; tunnelling the row's address is `hud.clients`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, Self

from hud.protocol.capability import Capability


class CapabilityClient(ABC):
    """One live connection to a capability's daemon.

    Attributes:
        protocol: The protocol id it speaks (`ssh/2`), or its family alone (`ssh`).
        capability: The row it was connected with.
    """

    protocol: ClassVar[str]
    capability: Capability

    @classmethod
    @abstractmethod
    async def connect(cls, cap: Capability) -> Self:
        """Connect to the daemon at `cap.url` and return a client that is ready to use.

        Cancelling it leaves nothing open.

        Raises:
            CapabilityFault: when the daemon cannot be reached, or is not what the row says.
            InputError: when the row itself cannot be used.
        """

    @abstractmethod
    async def close(self) -> None:
        """Close the connection; closing twice, or after the daemon is gone, is no error."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()
