"""The scope of a runtime of a cloud: its client is open while it is entered, leftovers are reaped.

A scope entered several times is one; the last to leave closes it.
"""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from contextlib import AsyncExitStack
from typing import Self

from hud._core.errors import HudError, RuntimeFault, bounded
from hud.runtimes.cloud.place import Cloud, reap

logger = logging.getLogger(__name__)

_REAP_S = 60.0
_CHECK_S = 30.0


class CloudScope(ABC):
    """Base of the runtimes: holds the vendor's client between entering and leaving."""

    def __init__(self) -> None:
        self._stack: AsyncExitStack | None = None
        self._opening: asyncio.Task[Cloud] | None = None
        self._reaping: asyncio.Task[None] | None = None
        self._has_reaped = False
        self._users = 0

    @abstractmethod
    async def _open(self, stack: AsyncExitStack) -> Cloud:
        """Return the vendor's client; what it holds is let go of by `stack`."""

    async def check(self) -> None:
        """Find out whether the SDK and the key are here, and whether the vendor answers.

        Raises:
            InputError: when the SDK or the key is missing, or the key is refused.
            RuntimeFault: when the vendor does not answer in time.
        """
        try:
            async with asyncio.timeout(_CHECK_S), AsyncExitStack() as stack:
                await self._open(stack)
        except TimeoutError as error:
            raise RuntimeFault(
                f"{type(self).__name__}: the vendor did not answer within {_CHECK_S:g} s",
                hint="is there a network?",
            ) from error

    async def __aenter__(self) -> Self:
        self._users += 1
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._users -= 1
        if self._users:
            return
        stack, self._stack = self._stack, None
        opening, self._opening = self._opening, None
        reaping, self._reaping = self._reaping, None
        for task in (opening, reaping):
            if task is not None and not task.done():
                task.cancel()
                await asyncio.wait([task])
        if stack is not None:
            await stack.aclose()

    async def _cloud(self) -> Cloud:
        """Return the vendor's client, opened by whoever asks first."""
        if self._opening is None or (self._opening.done() and self._opening.exception()):
            self._stack = AsyncExitStack()
            self._opening = asyncio.create_task(self._open(self._stack))
        cloud = await asyncio.shield(self._opening)
        if not self._has_reaped:
            self._has_reaped = True
            self._reaping = asyncio.create_task(_reaped(cloud))
        return cloud


async def _reaped(cloud: Cloud) -> None:
    """Reap beside the rollouts; failing at it harms none of them."""
    try:
        async with asyncio.timeout(_REAP_S):
            await reap(cloud)
    except (HudError, OSError, TimeoutError) as error:
        logger.warning("%s: leftovers were not looked for: %s", cloud.name, bounded(str(error)))
