"""Peers that vanish: whatever they had sent, the server stays healthy and keeps nothing of them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable

import pytest

from hud.environment import Environment
from tests.wire.harness import Place, Steps, Wire, own_tasks, until

REQUESTS: list[tuple[str, dict[str, str]]] = [
    ("hello", {}),
    ("tasks.list", {}),
    ("tasks.start", {"id": "it"}),
    ("hello", {}),
    ("tasks.grade", {"answer": "x"}),
    ("tasks.start", {"id": "it"}),
    ("tasks.cancel", {}),
    ("tasks.start", {"id": "it"}),
    ("bye", {}),
]
SCRIPT = [
    json.dumps({"jsonrpc": "2.0", "id": number, "method": method, "params": params}).encode()
    + b"\n"
    for number, (method, params) in enumerate(REQUESTS)
]
LEFT_BEHIND = {3: 1, 4: 1, 6: 1, 8: 1}
"""How many tasks are parked when a peer vanishes after so many answered requests."""


class Counted:
    def __init__(self) -> None:
        self.begun = 0
        self.ended = 0
        self.env = Environment("counted")

        @self.env.template()
        async def it() -> Steps:
            self.begun += 1
            try:
                yield "p"
                await asyncio.sleep(0)
                yield 1.0
            finally:
                self.ended += 1


async def close(wire: Wire) -> None:
    await wire.close()


async def abort(wire: Wire) -> None:
    wire.writer.transport.abort()


async def half_close(wire: Wire) -> None:
    wire.writer.write_eof()


Leave = Callable[[Wire], Awaitable[None]]


@pytest.mark.parametrize("leave", [close, abort, half_close])
async def test_a_peer_may_vanish_after_any_byte(place: Place, leave: Leave) -> None:
    counted = Counted()
    before = own_tasks()
    url = await place.serve(counted.env)
    everything = b"".join(SCRIPT)
    for size in range(len(everything) + 1):
        wire = await place.connect(url)
        wire.send_bytes(everything[:size])
        await leave(wire)

    healthy = await place.connect(url)
    await healthy.result("tasks.start", {"id": "it"})
    assert await healthy.result("tasks.grade", {"answer": 1}) == {"score": 1.0}

    await place.stop()

    await until(lambda: own_tasks() <= before)
    assert counted.begun > 0
    assert counted.ended == counted.begun


@pytest.mark.parametrize("leave", [close, abort, half_close])
@pytest.mark.parametrize("answered", range(len(SCRIPT) + 1))
async def test_a_peer_may_vanish_after_any_reply(place: Place, leave: Leave, answered: int) -> None:
    counted = Counted()
    url = await place.serve(counted.env)
    wire = await place.connect(url)
    for line in SCRIPT[:answered]:
        wire.send_bytes(line)
        assert "result" in await wire.reply()
    await leave(wire)

    parked = LEFT_BEHIND.get(answered, 0)
    assert counted.begun - counted.ended == parked
    fresh = await place.connect(url)
    reply = await fresh.call("tasks.grade", {"answer": 1})
    while parked and "error" in reply:
        assert reply["error"]["message"] == "no task in progress"
        reply = await fresh.call("tasks.grade", {"answer": 1})
    if parked:
        assert reply["result"] == {"score": 1.0}
    else:
        assert reply["error"]["message"] == "no task in progress"
    assert counted.ended == counted.begun


async def test_a_peer_that_reads_nothing_is_held_back_and_may_vanish(place: Place) -> None:
    counted = Counted()
    url = await place.serve(counted.env)
    wire = await place.connect(url)
    wire.writer.transport.pause_reading()  # type: ignore[attr-defined]
    for _ in range(20_000):
        wire.send("tasks.list")
    wire.writer.transport.abort()

    other = await place.connect(url)
    assert "result" in await other.call("tasks.list")


async def test_a_peer_that_reads_late_still_gets_every_reply(place: Place) -> None:
    counted = Counted()
    wire = await place.connect(await place.serve(counted.env))
    wire.writer.transport.pause_reading()  # type: ignore[attr-defined]
    sent = [wire.send("tasks.list") for _ in range(20_000)]
    await asyncio.sleep(0)
    wire.writer.transport.resume_reading()  # type: ignore[attr-defined]

    assert [(await wire.reply())["id"] for _ in sent] == sent
