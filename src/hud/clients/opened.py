"""Live capability clients of one connection: connected once, shared, closed together.

Which class drives a row is `hud.capabilities.registry`; where the row listens is `forward`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from hud._core.errors import CapabilityFault, RuntimeFault
from hud.capabilities.base import CapabilityClient
from hud.protocol.capability import Capability

logger = logging.getLogger(__name__)

CONNECT_LIMIT_S = 120.0
"""Last resort for clients that do not bound their own connecting."""
CLOSE_LIMIT_S = 10.0


@dataclass(slots=True, eq=False)
class _Entry:
    """One client, connected or being connected; `ready` is done once either outcome is known."""

    name: str
    cls: type[CapabilityClient]
    options: dict[str, Any]
    ready: asyncio.Future[CapabilityClient] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )


class OpenedClients:
    """The clients opened over one connection, by capability, class and options."""

    def __init__(self) -> None:
        self._entries: list[_Entry] = []
        self._closed = False

    async def open(
        self, row: Capability, cls: type[CapabilityClient], options: Mapping[str, Any]
    ) -> CapabilityClient:
        """Return the client of a row, connecting it when no one has yet.

        Those who ask while it is being connected wait for the same connection, and get the same
        failure. Whoever began is the one whose cancellation ends it; the next one then begins
        anew. What failed is forgotten, and so is a client whose `is_closed` is true.

        Raises:
            CapabilityFault: when it cannot be connected.
            RuntimeFault: when the connection it goes through is closed.
        """
        while True:
            self._check_open(row)
            entry = self._find(row, cls, options)
            if entry is None:
                return await self._connect(row, cls, dict(options))
            await asyncio.wait([entry.ready])
            if not entry.ready.cancelled():
                return entry.ready.result()

    async def aclose(self) -> None:
        """Close every client, each within bounds; closing twice is no error."""
        self._closed = True
        entries, self._entries = self._entries, []
        live = [
            entry
            for entry in entries
            if entry.ready.done() and not entry.ready.cancelled() and not entry.ready.exception()
        ]
        if live:
            await asyncio.gather(*(_close(entry.name, entry.ready.result()) for entry in live))

    def _find(
        self, row: Capability, cls: type[CapabilityClient], options: Mapping[str, Any]
    ) -> _Entry | None:
        for entry in self._entries:
            if entry.name == row.name and entry.cls is cls and entry.options == options:
                if not _is_over(entry):
                    return entry
                self._entries.remove(entry)
                return None
        return None

    async def _connect(
        self, row: Capability, cls: type[CapabilityClient], options: dict[str, Any]
    ) -> CapabilityClient:
        entry = _Entry(row.name, cls, options)
        self._entries.append(entry)
        try:
            client = await _connected(row, cls, options)
            if self._closed:
                await _close(row.name, client)
            self._check_open(row)
        except BaseException as error:
            if entry in self._entries:
                self._entries.remove(entry)
            if isinstance(error, Exception):
                entry.ready.set_exception(error)
                entry.ready.exception()  # nobody else may be waiting for it
            else:
                entry.ready.cancel()
            raise
        entry.ready.set_result(client)
        return client

    def _check_open(self, row: Capability) -> None:
        if self._closed:
            raise RuntimeFault(
                f"capability {row.name!r} cannot be opened: the connection is closed"
            )


def _is_over(entry: _Entry) -> bool:
    """Tell whether a client was closed by who opened it; those that cannot say count as live."""
    if not entry.ready.done() or entry.ready.cancelled() or entry.ready.exception():
        return False
    return getattr(entry.ready.result(), "is_closed", False) is True


async def _connected(
    row: Capability, cls: type[CapabilityClient], options: dict[str, Any]
) -> CapabilityClient:
    limit = asyncio.timeout(CONNECT_LIMIT_S)
    try:
        async with limit:
            return await cls.connect(row, **options)
    except (OSError, EOFError) as error:
        reason = str(error) or type(error).__qualname__
        if isinstance(error, TimeoutError) and limit.expired():
            reason = f"no connection within {CONNECT_LIMIT_S:g} s"
        raise CapabilityFault(f"capability {row.name!r} ({row.protocol}): {reason}") from error


async def _close(name: str, client: CapabilityClient) -> None:
    try:
        async with asyncio.timeout(CLOSE_LIMIT_S):
            await client.close()
    except Exception as error:
        logger.warning("capability %r did not close: %r", name, error)
