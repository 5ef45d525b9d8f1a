"""The daemon that follows a workspace's files, through the connections it hands out."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any, cast

import pytest

from hud._core import json
from hud._core.errors import CapabilityFault
from hud.environment.filetracking import PROTOCOL, FileTracker
from hud.environment.filetracking.feed import Backlog
from hud.environment.filetracking.tracker import MAX_FOLLOWERS

DEADLINE_S = 60
NEVER = 3_600.0


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "root").mkdir()
    return tmp_path / "root"


@contextlib.asynccontextmanager
async def tracking(root: Path, interval: float = NEVER) -> AsyncGenerator[FileTracker]:
    tracker = FileTracker(root, interval=interval)
    await tracker.start()
    try:
        yield tracker
    finally:
        await tracker.stop()


class Follower:
    """One connection, as a client has it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def say(self, message: object) -> None:
        self.writer.write(json.encode(message) + b"\n")

    async def told(self) -> dict[str, Any]:
        async with asyncio.timeout(DEADLINE_S):
            line = await self.reader.readline()
        assert line, "the connection ended"
        return cast("dict[str, Any]", json.decode(line))

    async def flushed(self) -> list[dict[str, Any]]:
        """Have the files looked at, and return what comes until that is over."""
        self.say({"flush": "mine"})
        told: list[dict[str, Any]] = []
        while (message := await self.told()) != {"flushed": "mine"}:
            told.append(message)
        return told


@contextlib.asynccontextmanager
async def follower(tracker: FileTracker, after: int | None = None) -> AsyncGenerator[Follower]:
    sock = await tracker.dial()
    assert sock is not None
    reader, writer = await asyncio.open_connection(sock=sock, limit=1 << 24)
    made = Follower(reader, writer)
    made.say({"after": after})
    try:
        yield made
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


def paths(messages: list[dict[str, Any]]) -> list[list[str]]:
    return [sorted(row["path"] for row in told["batch"]["patches"]) for told in messages]


async def test_what_a_command_wrote_is_told_soon_after_it_ended(root: Path) -> None:
    async with tracking(root) as tracker, follower(tracker) as held:
        (root / "a").write_text("x\n")
        tracker.changed()
        told = await held.told()
    assert (told["seq"], told["episode"]) == (1, 1)
    assert told["batch"]["patches"][0]["patch"].endswith("+x\n")
    assert told["batch"]["root"] == "/workspace"


async def test_what_nothing_announces_is_found_within_the_interval(root: Path) -> None:
    async with tracking(root, interval=0.05) as tracker, follower(tracker) as held:
        (root / "a").write_text("x\n")
        assert paths([await held.told()]) == [["a"]]


async def test_a_late_follower_misses_nothing_of_the_episode(root: Path) -> None:
    async with tracking(root) as tracker:
        for name in "abc":
            (root / name).write_text(name)
            await tracker.flush()
        async with follower(tracker) as held:
            assert paths(await held.flushed()) == [["a"], ["b"], ["c"]]
        async with follower(tracker, after=2) as held:
            assert paths(await held.flushed()) == [["c"]]
        async with follower(tracker, after=99) as held:
            assert await held.flushed() == []


async def test_the_setup_is_told_apart_from_the_agent_and_from_another_episode(
    root: Path,
) -> None:
    (root / "before").write_text("x")
    async with tracking(root) as tracker:
        (root / "template").write_text("x")
        await tracker.hand_over()
        (root / "agent").write_text("x")
        await tracker.end_episode()
        (root / "grader").write_text("x")
        async with follower(tracker) as held:
            told = await held.flushed()
            assert paths(told) == [["template"], ["agent"]]
            assert [one["batch"]["phase"] for one in told] == ["setup", "agent"]
        tracker.changed()
        await tracker.begin_episode()
        (root / "template").unlink()
        await tracker.hand_over()
        async with follower(tracker) as held:
            told = await held.flushed()
            assert paths(told) == [["template"]]
            assert (told[0]["episode"], told[0]["seq"]) == (2, 3)


async def test_what_was_written_while_the_agent_was_stopped_is_told_too(root: Path) -> None:
    async with tracking(root) as tracker, follower(tracker) as held:
        await tracker.end_episode()
        (root / "late").write_text("x")
        await tracker.end_episode()
        assert paths(await held.flushed()) == [["late"]]


async def test_batches_that_were_dropped_are_counted() -> None:
    backlog = Backlog(max_messages=3, max_bytes=10_000)
    for number in range(5):
        backlog.add({"batch": number})
    assert backlog.next(0) == (2, backlog.next(2)[1])
    lost, message = backlog.next(3)
    assert lost == 0 and message is not None and message.seq == 4
    backlog.add({"batch": "x" * 20_000})
    assert backlog.next(0) == (6, None)
    assert backlog.next(6) == (0, None)


async def test_a_follower_is_told_how_many_it_lost(root: Path) -> None:
    async with tracking(root) as tracker:
        tracker._backlog = Backlog(max_messages=2)  # pyright: ignore[reportPrivateUsage]
        for name in "abcd":
            (root / name).write_text(name)
            await tracker.flush()
        async with follower(tracker) as held:
            told = await held.flushed()
    assert told[0] == {"lost": 2}
    assert paths(told[1:]) == [["c"], ["d"]]


async def test_a_slow_follower_keeps_nobody_waiting(root: Path) -> None:
    async with tracking(root) as tracker, follower(tracker), follower(tracker) as quick:
        for number in range(30):  # far more than a socket holds; the first follower never reads
            (root / "file").write_text(f"{number}\n" * 10_000)
            assert len(await quick.flushed()) == 1


async def test_many_followers_are_refused_and_room_comes_back(root: Path) -> None:
    async with tracking(root) as tracker:
        async with contextlib.AsyncExitStack() as stack:
            for _ in range(MAX_FOLLOWERS):
                await stack.enter_async_context(follower(tracker))
            with pytest.raises(CapabilityFault, match="followers"):
                await tracker.dial()
        async with asyncio.timeout(DEADLINE_S):
            while True:
                with contextlib.suppress(CapabilityFault):
                    async with follower(tracker) as held:
                        assert await held.flushed() == []
                        break
                await asyncio.sleep(0)


@pytest.mark.parametrize(
    "line",
    [b'{"jsonrpc":"2.0","id":7,"method":"setup","params":{}}\n', b"{}\n", b'{"after":true}\n'],
)
async def test_a_client_of_another_protocol_gets_an_error_reply(root: Path, line: bytes) -> None:
    async with tracking(root) as tracker:
        sock = await tracker.dial()
        reader, writer = await asyncio.open_connection(sock=sock)
        writer.write(line)
        async with asyncio.timeout(DEADLINE_S):
            reply = json.decode(await reader.readline())
            assert await reader.read() == b""
        writer.close()
    assert reply["error"]["code"] == -32601
    assert PROTOCOL in reply["error"]["message"]


@pytest.mark.parametrize("line", [b"no json\n", b"[1]\n", b"x" * 200_000, b""])
async def test_a_client_that_makes_no_sense_is_hung_up_on(root: Path, line: bytes) -> None:
    async with tracking(root) as tracker:
        sock = await tracker.dial()
        reader, writer = await asyncio.open_connection(sock=sock)
        writer.write(line)
        writer.write_eof()
        async with asyncio.timeout(DEADLINE_S):
            with contextlib.suppress(ConnectionError):
                await reader.read()
        writer.close()
        async with follower(tracker) as held:
            assert await held.flushed() == []


async def test_files_that_cannot_be_looked_at_are_said_and_break_nothing(root: Path) -> None:
    async with tracking(root) as tracker, follower(tracker) as held:
        root.rename(root.with_name("away"))
        told = await held.flushed()
        assert "FileNotFoundError" in told[0]["failed"]
        assert await held.flushed() == [], "said once"
        root.with_name("away").rename(root)
        (root / "back").write_text("x")
        assert paths(await held.flushed()) == [["back"]]
        assert tracker.failure is None


async def test_a_tracker_without_a_folder_starts_all_the_same(tmp_path: Path) -> None:
    async with tracking(tmp_path / "nowhere") as tracker, follower(tracker) as held:
        assert "failed" in (await held.flushed())[0]


async def test_its_row_and_its_end(root: Path) -> None:
    tracker = FileTracker(lambda: root, guest_path="/w", interval=NEVER)
    with pytest.raises(CapabilityFault, match="not started"):
        await tracker.dial()
    await tracker.stop()
    for _ in range(2):
        await tracker.start()
        await tracker.start()
        row = tracker.capability()
        assert (row.name, row.protocol, row.params) == (
            "filetracking",
            PROTOCOL,
            {"guest_path": "/w"},
        )
        sock = await tracker.dial()
        assert sock is not None
        await tracker.stop()
        await tracker.stop()
        reader, writer = await asyncio.open_connection(sock=sock)
        assert await reader.read() == b""
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
    assert not tracker.is_exclusive


async def test_stopping_ends_a_look_that_is_under_way(root: Path) -> None:
    for number in range(3_000):
        (root / str(number)).write_text("x")
    tracker = FileTracker(root, interval=NEVER)
    await tracker.start()
    (root / "new").write_text("x")
    looking = asyncio.create_task(tracker.flush())
    await asyncio.sleep(0)
    async with asyncio.timeout(DEADLINE_S):
        await tracker.stop()
        await looking
    for thread in threading.enumerate():
        if thread.name.startswith("hud-files"):
            await asyncio.to_thread(thread.join, DEADLINE_S)
            assert not thread.is_alive()


async def test_the_thread_that_looks_is_of_low_priority(root: Path) -> None:
    async with tracking(root):
        looking = [one for one in threading.enumerate() if one.name.startswith("hud-files")]
        (thread,) = looking
        assert thread.native_id is not None
        own = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
        assert os.getpriority(os.PRIO_PROCESS, thread.native_id) > own
