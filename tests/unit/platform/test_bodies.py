"""Bodies are read within what memory holds, and what is heavy waits for its turn."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from hud.platform.errors import ApiError
from hud.platform.ingest.bodies import Bodies, Gate


class Asked:
    """A request whose body comes in parts."""

    def __init__(self, *parts: bytes) -> None:
        self.parts = parts

    async def stream(self) -> AsyncIterator[bytes]:
        for part in self.parts:
            yield part


async def read(bodies: Bodies, limit: int, *parts: bytes) -> bytes:
    request: Any = Asked(*parts)
    async with bodies.read(request, limit) as content:
        return content


async def test_a_body_is_read_whole_up_to_its_limit() -> None:
    bodies = Bodies(100)
    assert await read(bodies, 10, b"12345", b"", b"67890") == b"1234567890"
    assert await read(bodies, 10) == b""
    with pytest.raises(ApiError) as refused:
        await read(bodies, 10, b"12345", b"678901")
    assert refused.value.status == 413


async def test_more_than_memory_holds_is_refused_until_something_is_done_with() -> None:
    bodies = Bodies(10)
    first: Any = Asked(b"123456")
    async with bodies.read(first, 10) as content:
        assert content == b"123456"
        with pytest.raises(ApiError) as refused:
            await read(bodies, 10, b"1234", b"5")
        assert refused.value.status == 503
    assert await read(bodies, 10, b"1234567890") == b"1234567890"


async def test_what_fits_comes_in_together_and_what_is_too_heavy_alone() -> None:
    gate = Gate(10)
    inside: list[int] = []
    most = 0

    async def pass_with(weight: int) -> None:
        nonlocal most
        async with gate.hold(weight):
            inside.append(weight)
            most = max(most, sum(inside))
            assert sum(inside) <= 10 or inside == [weight]
            await asyncio.sleep(0)
            inside.remove(weight)

    async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
        for weight in (3, 3, 3, 50, 9, 1, 10, 4):
            tasks.create_task(pass_with(weight))
    assert most == 50 and inside == []


async def test_somebody_who_gives_up_waiting_holds_nothing() -> None:
    gate = Gate(10)

    async def wait() -> None:
        async with gate.hold(5):
            raise AssertionError

    async with gate.hold(10):
        waiting = asyncio.create_task(wait())
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait([waiting])
        assert waiting.cancelled()
    async with asyncio.timeout(60), gate.hold(10):
        pass
