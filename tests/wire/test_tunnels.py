"""Capability streams: one request, then raw bytes both ways, until both sides have ended."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any

import pytest

from hud.clients import HudClient, connect
from hud.environment import Capability, Environment
from hud.runtimes.base import Runtime
from tests.wire.harness import DEADLINE_S, Place, Steps, Wire, own_tasks, until, waited

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
MEGABYTE = 1 << 20


@contextlib.asynccontextmanager
async def daemon(handler: Handler) -> AsyncGenerator[int]:
    """Serve `handler` on a free port, as a capability's daemon would be."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await handler(reader, writer)
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65_536):
        writer.write(data)
        await writer.drain()
    writer.write_eof()


def with_port(port: int) -> Environment:
    rows = [
        Capability("pipe", "raw/1", f"raw://127.0.0.1:{port}"),
        Capability("nowhere", "raw/1", ""),
    ]
    env = Environment("piped", capabilities=rows)

    @env.template()
    async def it() -> Steps:
        yield "p"
        yield 1.0

    return env


async def opened(place: Place, url: str) -> Wire:
    wire = await place.connect(url)
    assert await wire.result("tunnel.open", {"capability": "pipe"}) == {"capability": "pipe"}
    return wire


async def exactly(wire: Wire, size: int) -> bytes:
    async with asyncio.timeout(DEADLINE_S):
        return await wire.reader.readexactly(size)


async def test_bytes_pass_both_ways_and_half_close_is_honoured(place: Place) -> None:
    async with daemon(echo) as port:
        wire = await opened(place, await place.serve(with_port(port)))
        wire.send_bytes(b"\x00\xff\n{}\n")
        assert await exactly(wire, 6) == b"\x00\xff\n{}\n"

        wire.send_bytes(b"last words")
        wire.writer.write_eof()

        assert await wire.ended() == b"last words"


async def test_the_daemon_may_end_first_and_still_be_sent_to(place: Place) -> None:
    received: list[bytes] = []
    done = asyncio.Event()

    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"greeting")
        writer.write_eof()
        received.append(await reader.read())
        done.set()

    async with daemon(greet) as port:
        wire = await opened(place, await place.serve(with_port(port)))
        assert await wire.ended() == b"greeting"

        wire.send_bytes(b"thanks")
        wire.writer.write_eof()
        await waited(done)

    assert received == [b"thanks"]


async def test_bytes_right_behind_the_preface_reach_the_daemon(place: Place) -> None:
    async with daemon(echo) as port:
        wire = await place.connect(await place.serve(with_port(port)))
        early = os.urandom(300_000)
        preface = (
            b'{"jsonrpc":"2.0","id":1,"method":"tunnel.open","params":{"capability":"pipe"}}\n'
        )

        wire.send_bytes(preface + early)
        wire.writer.write_eof()

        assert (await wire.reply())["result"] == {"capability": "pipe"}
        assert await wire.ended() == early


@pytest.mark.parametrize("name", ["nobody", "nowhere"])
async def test_a_capability_that_cannot_be_dialled_is_refused(place: Place, name: str) -> None:
    wire = await place.connect(await place.serve(with_port(1)))

    error = await wire.error("tunnel.open", {"capability": name})

    assert error["code"] == -32602
    assert name in error["message"]
    assert await wire.ended() == b""


async def test_an_unreachable_daemon_is_told_from_an_unknown_one(place: Place) -> None:
    async with daemon(echo) as port:
        pass
    before = own_tasks()
    wire = await place.connect(await place.serve(with_port(port)))
    wire.send("tunnel.open", {"capability": "pipe"})
    wire.send_bytes(b"x" * 100_000)

    error = (await wire.reply())["error"]

    assert (error["code"], error["data"]["boundary"]) == (-32000, "capability")
    assert "pipe" in error["message"]
    assert await wire.ended() == b""
    await wire.close()
    await until(lambda: own_tasks() <= before)


async def test_a_stream_is_opened_by_a_connections_first_request_only(place: Place) -> None:
    async with daemon(echo) as port:
        wire = await place.connect(await place.serve(with_port(port)))
        await wire.result("hello")

        assert (await wire.error("tunnel.open", {"capability": "pipe"}))["code"] == -32600
        assert "result" in await wire.call("hello")


async def test_fifty_megabytes_pass_unharmed(place: Place) -> None:
    async with daemon(echo) as port:
        wire = await opened(place, await place.serve(with_port(port)))
        block, blocks = os.urandom(MEGABYTE), 50
        sent, received = hashlib.sha256(), hashlib.sha256()

        async def send() -> None:
            for _ in range(blocks):
                wire.writer.write(block)
                sent.update(block)
                await wire.writer.drain()
            wire.writer.write_eof()

        async with asyncio.timeout(DEADLINE_S), asyncio.TaskGroup() as group:
            group.create_task(send())
            while data := await wire.reader.read(MEGABYTE):
                received.update(data)

    assert sent.hexdigest() == received.hexdigest()


async def _stalls(writer: asyncio.StreamWriter) -> int:
    """Write until the stream takes no more, and return how much it took."""
    block, written = b"x" * 65_536, 0
    while written < 64 * MEGABYTE:
        writer.write(block)
        written += len(block)
        try:
            # Everything on the way is in this process: a pause this long is a full pipe.
            await asyncio.wait_for(writer.drain(), 0.5)
        except TimeoutError:
            break
    return written


@pytest.mark.parametrize("early", [0, 8 * MEGABYTE], ids=["", "much early"])
async def test_a_daemon_that_does_not_read_stops_the_sender(place: Place, early: int) -> None:
    read = asyncio.Event()
    total = 0

    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal total
        await read.wait()
        while data := await reader.read(MEGABYTE):
            total += len(data)

    async with daemon(slow) as port:
        wire = await place.connect(await place.serve(with_port(port)))
        preface = (
            b'{"jsonrpc":"2.0","id":1,"method":"tunnel.open","params":{"capability":"pipe"}}\n'
        )
        wire.send_bytes(preface + b"y" * early)
        assert "result" in await wire.reply()

        written = await _stalls(wire.writer)
        read.set()
        wire.writer.write_eof()
        assert await wire.ended() == b""

    assert written < 48 * MEGABYTE, "nothing held the sender back"
    assert total == written + early


async def test_a_client_that_does_not_read_stops_the_daemon(place: Place) -> None:
    taken: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    go_on = asyncio.Event()

    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        taken.set_result(await _stalls(writer))
        await go_on.wait()
        writer.write_eof()
        await reader.read()

    async with daemon(flood) as port:
        url = await place.serve(with_port(port))
        wire = await opened(place, url)
        wire.writer.transport.pause_reading()  # type: ignore[attr-defined]
        written = await taken
        go_on.set()
        wire.writer.transport.resume_reading()  # type: ignore[attr-defined]

        assert written < 48 * MEGABYTE, "nothing held the daemon back"
        assert len(await wire.ended()) == written


async def test_many_streams_and_sessions_share_the_port(place: Place) -> None:
    async with daemon(echo) as port:
        url = await place.serve(with_port(port))
        streams = [await opened(place, url) for _ in range(20)]
        sessions = [await place.connect(url) for _ in range(20)]
        for number, (stream, session) in enumerate(zip(streams, sessions, strict=True)):
            stream.send_bytes(b"%03d" % number)
            session.send("tasks.start", {"id": "it"})

        for number, (stream, session) in enumerate(zip(streams, sessions, strict=True)):
            assert await exactly(stream, 3) == b"%03d" % number
            assert (await session.reply())["result"] == {"prompt": "p"}


@pytest.mark.parametrize("who", ["client", "daemon", "server"])
async def test_whoever_goes_first_no_task_stays_behind(place: Place, who: str) -> None:
    hang_up = asyncio.Event()

    async def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await hang_up.wait()

    async with daemon(hold) as port:
        before = own_tasks()
        url = await place.serve(with_port(port))
        wire = await opened(place, url)
        match who:
            case "client":
                await wire.close()
                hang_up.set()
            case "daemon":
                hang_up.set()
                assert await wire.ended() == b""
                await wire.close()
            case _:
                await place.stop()
                hang_up.set()
        await until(lambda: own_tasks() <= before)


async def test_a_client_reaches_the_daemon_through_its_own_local_port(place: Place) -> None:
    async with daemon(echo) as port:
        url = await place.serve(with_port(port))
        async with connect(Runtime(url)) as client:
            row = client.binding("pipe")
            host, local = row.address or ("", 0)
            assert host == "127.0.0.1"
            assert local != port
            reader, writer = await asyncio.open_connection(host, local)
            payload = os.urandom(200_000)
            writer.write(payload)
            writer.write_eof()
            async with asyncio.timeout(DEADLINE_S):
                assert await reader.read() == payload
            writer.close()
            assert client.binding("nowhere").url == ""


async def test_a_local_port_whose_daemon_is_gone_ends_at_once(place: Place) -> None:
    async with daemon(echo) as port:
        pass
    url = await place.serve(with_port(port))
    async with connect(Runtime(url)) as client:
        host, local = client.binding("pipe").address or ("", 0)
        reader, writer = await asyncio.open_connection(host, local)
        async with asyncio.timeout(DEADLINE_S):
            assert await reader.read() == b""
        writer.close()


async def test_closing_the_client_closes_its_local_ports(place: Place) -> None:
    async with daemon(echo) as port:
        url = await place.serve(with_port(port))
        before = own_tasks()
        async with connect(Runtime(url)) as client:
            address: Any = client.binding("pipe").address
            reader, writer = await asyncio.open_connection(*address)
            writer.write(b"x")
            async with asyncio.timeout(DEADLINE_S):
                await reader.readexactly(1)
            assert isinstance(client, HudClient)

        async with asyncio.timeout(DEADLINE_S):
            assert await reader.read() == b""
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(*address)
        writer.close()
        await until(lambda: own_tasks() <= before)
