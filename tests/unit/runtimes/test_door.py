"""A door leads each connection to one of its own far away, and lets go of all it holds."""

from __future__ import annotations

import asyncio
import contextlib
import stat
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from hud._core.relay import Relay
from hud.runtimes.door import Door
from hud.runtimes.stream import PIECE_BYTES, joinable

DEADLINE_S = 30.0
MEGABYTES = bytes(range(256)) * (4 << 12)


class Pieces:
    """A stream of a test: what is written to it can be read from it, as soon as it may be."""

    def __init__(self, *, is_open: bool = True, breaks: Exception | None = None) -> None:
        self.written: list[bytes] = []
        self.closed = 0
        self.may_write = asyncio.Event()
        self.breaks = breaks
        self.is_read_from_when_full: asyncio.Future[bool] = (
            asyncio.get_running_loop().create_future()
        )
        self._pieces: asyncio.Queue[bytes] = asyncio.Queue()
        if is_open:
            self.may_write.set()

    async def read(self) -> bytes:
        piece = await self._pieces.get()
        if piece == b"!" and self.breaks is not None:
            raise self.breaks
        return piece

    async def write(self, data: bytes) -> None:
        await self.may_write.wait()
        self.written.append(data)
        self._pieces.put_nowait(b"" if data == b"end" else data)

    async def close(self) -> None:
        self.closed += 1

    @contextlib.asynccontextmanager
    async def opened(self) -> AsyncGenerator[Relay]:
        async with joinable(self) as far:
            pause = far.pause_writing

            def paused() -> None:
                pause()
                near = far.other
                assert near is not None and near.transport is not None
                if not self.is_read_from_when_full.done():
                    self.is_read_from_when_full.set_result(near.transport.is_reading())

            far.pause_writing = paused
            yield far


@pytest.fixture(autouse=True)
async def deadline() -> AsyncGenerator[None]:
    async with asyncio.timeout(DEADLINE_S):
        yield


@pytest.fixture
async def echo(tmp_path: Path) -> AsyncGenerator[Path]:
    """A real service that answers with what it is sent, once that has ended."""
    path = tmp_path / "echo"

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.read())
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_unix_server(answer, path):
        yield path


@contextlib.asynccontextmanager
async def socket_to(path: Path) -> AsyncGenerator[Relay]:
    far = Relay()
    try:
        await asyncio.get_running_loop().create_unix_connection(lambda: far, str(path))
        yield far
    finally:
        far.close()


@contextlib.asynccontextmanager
async def through(door: Door) -> AsyncGenerator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_unix_connection(door.path)
    try:
        yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def test_each_connection_has_its_own_way_with_ends_passed_on(echo: Path) -> None:
    async def ask(door: Door, question: bytes) -> bytes:
        async with through(door) as (reader, writer):
            writer.write(question)
            writer.write_eof()
            return await reader.read()

    async with Door(lambda: socket_to(echo)) as door:
        answers = await asyncio.gather(*(ask(door, bytes([n]) * 70_000) for n in range(8)))
    assert answers == [bytes([n]) * 70_000 for n in range(8)]


async def test_the_socket_is_this_users_only_and_goes_with_the_door(
    echo: Path, tmp_path: Path
) -> None:
    async with (
        Door(lambda: socket_to(echo)) as own,
        Door(lambda: socket_to(echo), f"{tmp_path}/named") as named,
    ):
        for door in (own, named):
            assert stat.S_IMODE(Path(door.path).stat().st_mode) == 0o600
        assert stat.S_IMODE(Path(own.path).parent.stat().st_mode) == 0o700
    assert not Path(own.path).parent.exists()
    assert not Path(named.path).exists()


async def test_a_door_that_cannot_listen_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "taken").touch()
    with pytest.raises(OSError, match="in use"):
        async with Door(lambda: socket_to(tmp_path), f"{tmp_path}/taken"):
            pass
    assert (tmp_path / "taken").exists()


async def test_a_way_that_cannot_be_opened_closes_its_connection_and_says_why(
    tmp_path: Path,
) -> None:
    async with Door(lambda: socket_to(tmp_path / "nothing")) as door:
        async with through(door) as (reader, _):
            assert await reader.read() == b""
        assert door.last_error is not None
        assert door.last_error.startswith("FileNotFoundError: ")


async def test_a_way_that_does_not_open_in_time_closes_its_connection() -> None:
    @contextlib.asynccontextmanager
    async def never() -> AsyncGenerator[Relay]:
        await asyncio.Event().wait()
        yield Relay()

    async with Door(never, open_s=0.01) as door:
        async with through(door) as (reader, _):
            assert await reader.read() == b""
        assert door.last_error == "TimeoutError: TimeoutError"


async def test_a_stream_carries_any_amount_in_pieces_and_in_order() -> None:
    stream = Pieces()
    async with Door(stream.opened) as door, through(door) as (reader, writer):
        writer.write(MEGABYTES)
        assert await reader.readexactly(len(MEGABYTES)) == MEGABYTES
    assert max(map(len, stream.written)) <= PIECE_BYTES
    assert stream.closed == 1


async def test_whoever_sends_faster_than_a_stream_takes_is_paused() -> None:
    stream = Pieces(is_open=False)
    async with Door(stream.opened) as door, through(door) as (reader, writer):
        writer.write(MEGABYTES)
        assert not await stream.is_read_from_when_full
        stream.may_write.set()
        assert await reader.readexactly(len(MEGABYTES)) == MEGABYTES


async def test_the_end_of_a_stream_closes_the_connection_after_what_came_before() -> None:
    stream = Pieces()
    async with Door(stream.opened) as door, through(door) as (reader, writer):
        writer.write(b"one")
        assert await reader.readexactly(3) == b"one"
        writer.write(b"end")
        assert await reader.read() == b""
    assert stream.closed == 1


async def test_a_stream_that_breaks_says_why() -> None:
    stream = Pieces(breaks=RuntimeError("the tunnel fell in"))
    async with Door(stream.opened) as door, through(door) as (reader, writer):
        writer.write(b"!")
        assert await reader.read() == b""
        while door.last_error is None:  # noqa: ASYNC110 -- a door tells nobody
            await asyncio.sleep(0)
    assert stream.closed == 1
    assert door.last_error == "RuntimeError: the tunnel fell in"


async def test_the_way_is_closed_when_the_client_goes() -> None:
    closed = asyncio.Event()

    class Told(Pieces):
        async def close(self) -> None:
            closed.set()

    async with Door(Told().opened) as door:
        async with through(door) as (reader, writer):
            writer.write(b"here")
            assert await reader.readexactly(4) == b"here"
        await closed.wait()


async def test_breaking_off_ends_connections_and_takes_new_ones_hanging_up_takes_none() -> None:
    streams = [Pieces(), Pieces()]
    left = list(streams)
    async with Door(lambda: left.pop().opened()) as door:
        for end in (door.break_off, door.hang_up):
            async with through(door) as (reader, writer):
                writer.write(b"here")
                assert await reader.readexactly(4) == b"here"
                end()
                assert await reader.read() == b""
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_unix_connection(door.path)
    assert [stream.closed for stream in streams] == [1, 1]


async def test_closing_ends_what_is_open_and_what_is_being_opened() -> None:
    began = asyncio.Event()

    @contextlib.asynccontextmanager
    async def never() -> AsyncGenerator[Relay]:
        began.set()
        await asyncio.Event().wait()
        yield Relay()

    async with Door(never) as door, through(door) as (reader, _):
        await began.wait()
        await door.aclose()
        assert await reader.read() == b""


async def test_a_stream_is_let_go_of_to_the_end_however_the_door_is_closed_meanwhile() -> None:
    closing, may_close = asyncio.Event(), asyncio.Event()

    class Slow(Pieces):
        async def close(self) -> None:
            closing.set()
            await may_close.wait()
            await super().close()

    stream = Slow()
    door = Door(stream.opened)
    await door.open()
    async with through(door) as (reader, writer):
        writer.write(b"end")
        assert await reader.read() == b""
    await closing.wait()
    leaving = asyncio.create_task(door.aclose())
    await asyncio.sleep(0)
    may_close.set()
    await leaving
    assert stream.closed == 1
