"""Reading the body of a request, bounded: one by its own limit, all together by what memory holds.

A slow sender holds what it has sent so far, and not for ever.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator

from fastapi import Request

from hud.platform.errors import ApiError

_MIB = 1024 * 1024
TOGETHER_BYTES = 256 * _MIB
LONGEST_S = 600.0


class Bodies:
    """Reads bodies; together they hold at most `limit_bytes`. For one event loop."""

    def __init__(self, limit_bytes: int = TOGETHER_BYTES) -> None:
        self._limit = limit_bytes
        self._held = 0

    @contextlib.asynccontextmanager
    async def read(self, request: Request, limit_bytes: int) -> AsyncGenerator[bytes]:
        """Yield the body of `request`; its bytes count as held until the block ends.

        Raises:
            ApiError: with status 413 when it is longer than `limit_bytes`, 408 when it takes too
                long, 503 when too much is held already.
        """
        parts: list[bytes] = []
        try:
            try:
                async with asyncio.timeout(LONGEST_S):
                    await self._fill(parts, request, limit_bytes)
            except TimeoutError:
                raise ApiError(408, "the body did not come in time", kind="timeout") from None
            yield parts[0] if len(parts) == 1 else b"".join(parts)
        finally:
            self._held -= sum(map(len, parts))

    async def _fill(self, parts: list[bytes], request: Request, limit_bytes: int) -> None:
        size = 0
        async for part in request.stream():
            size += len(part)
            if size > limit_bytes:
                raise ApiError(
                    413, f"the body is longer than {limit_bytes // _MIB} MiB", kind="too_large"
                )
            if self._held + len(part) > self._limit:
                raise ApiError(
                    503,
                    "the server is taking in as much as it can hold",
                    kind="busy",
                    hint="send it again in a moment",
                )
            self._held += len(part)
            parts.append(part)


class Gate:
    """Lets in what weighs `capacity` together; what is heavier comes in alone."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._inside = 0
        self._waiting: list[asyncio.Future[None]] = []

    @contextlib.asynccontextmanager
    async def hold(self, weight: int) -> AsyncGenerator[None]:
        """Wait until there is room for `weight`, and hold it while the block runs."""
        while self._inside and self._inside + weight > self._capacity:
            turn = asyncio.get_running_loop().create_future()
            self._waiting.append(turn)
            await turn
        self._inside += weight
        try:
            yield
        finally:
            self._inside -= weight
            waiting, self._waiting = self._waiting, []
            for turn in waiting:
                if not turn.done():
                    turn.set_result(None)
