"""Connections that were accepted and are led on to somewhere: each waits, unread, until it is.

Where they are led, and over what, is the caller's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, cast

from hud._core.relay import Relay


class Accepted(Relay):
    """A connection that reads nothing until `resume`.

    Args:
        begin: Told of it once it is there.
    """

    def __init__(self, begin: Callable[[Accepted], None]) -> None:
        super().__init__()
        self._begin = begin

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        cast("asyncio.Transport", transport).pause_reading()
        self._begin(self)

    def resume(self) -> None:
        """Begin to read, unless it is closed meanwhile; before `join`."""
        if self.transport is not None and not self.transport.is_closing():
            self.transport.resume_reading()


class Leading:
    """The tasks that lead connections on, one each. For one event loop; end it with `aclose`."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def begin(self, leading: Coroutine[Any, Any, None]) -> None:
        """Lead a connection on."""
        task = asyncio.get_running_loop().create_task(leading)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def break_off(self) -> None:
        """Have every task end: what they lead to is gone, whatever its side of them says."""
        for task in self._tasks:
            if not task.cancelling():  # a second time would cut short its letting go
                task.cancel()

    async def aclose(self) -> None:
        """End every task, and wait until they have."""
        if self._tasks:
            self.break_off()
            await asyncio.wait(list(self._tasks))
