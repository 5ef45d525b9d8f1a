"""A socket of this machine whose connections lead to a control port far away.

How one gets there is the runtime's; see `Open`. Nothing far away is exposed by it: the socket is
this user's only.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
import socket
import tempfile
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from hud._core.accepting import Accepted, Leading
from hud._core.errors import bounded
from hud._core.relay import Relay
from hud.runtimes.warm.source import short_folder
from hud.sandbox import folders

logger = logging.getLogger(__name__)

OPEN_S = 30.0
_BACKLOG = 128

Open = Callable[[], AbstractAsyncContextManager[Relay]]
"""Opens one raw connection to the control port while it is entered; any exception says why not."""


class Door:
    """Listens at `path` while entered (or between `open` and `aclose`).

    Every connection gets one of its own to the far end; one that cannot be opened is closed.

    Attributes:
        last_error: Why the latest connection broke that did.
    """

    def __init__(self, far: Open, path: str | None = None, *, open_s: float = OPEN_S) -> None:
        """Choose where it leads.

        Args:
            far: Opens a connection to there.
            path: Where to listen, in a folder that is the caller's; else in one of its own.
            open_s: Seconds for opening one.
        """
        self._far = far
        self._open_s = open_s
        self._folder = None if path is not None else Path(_own_folder())
        self.path = path if path is not None else f"{self._folder}/control"
        self.last_error: str | None = None
        self._server: asyncio.Server | None = None
        self._leading = Leading()

    async def open(self) -> None:
        """Listen.

        Raises:
            OSError: when that is not possible.
        """
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            listener.bind(self.path)
            Path(self.path).chmod(0o600)
            self._server = await asyncio.get_running_loop().create_unix_server(
                lambda: Accepted(self._begin), sock=listener, backlog=_BACKLOG
            )
        except BaseException:
            listener.close()
            raise

    def break_off(self) -> None:
        """End every connection: what is far away is gone, whatever its side of them says."""
        self._leading.break_off()

    def hang_up(self) -> None:
        """End every connection and take no more: what was at the far end is gone."""
        if self._server is not None:
            self._server.close()
        self.break_off()

    async def aclose(self) -> None:
        """Stop listening, end every connection, and remove the socket."""
        server, self._server = self._server, None
        if server is not None:
            server.close()
            with contextlib.suppress(OSError):
                Path(self.path).unlink()
        await self._leading.aclose()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    async def __aenter__(self) -> Self:
        try:
            await asyncio.to_thread(folders.sweep_once)
            await self.open()
        except BaseException:
            await self.aclose()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    def _begin(self, near: Accepted) -> None:
        self._leading.begin(self._lead(near))

    async def _lead(self, near: Accepted) -> None:
        try:
            async with AsyncExitStack() as stack:
                async with asyncio.timeout(self._open_s):
                    far = await stack.enter_async_context(self._far())
                stack.callback(near.close)  # the client need not wait for the far end's
                near.resume()
                far.join(near)  # a far side with a greeting has a `join` of its own
                await asyncio.wait([near.closed, far.closed])
        except Exception as error:
            why = str(error) or type(error).__qualname__
            self.last_error = bounded(f"{type(error).__qualname__}: {why}", 300)
            logger.info("a connection to a control port broke: %s", self.last_error)
        finally:
            near.close()


def _own_folder() -> str:
    return tempfile.mkdtemp(prefix=folders.prefix_of("door"), dir=short_folder())
