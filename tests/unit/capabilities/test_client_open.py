"""`HudClient.open`: live clients through the tunnel, connected once, shared, closed together."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Sequence
from typing import Any, ClassVar, Self

import pytest

from hud import Environment
from hud.capabilities import Capability, registry
from hud.clients import HudClient, connect
from hud.errors import CapabilityFault, InputError, RuntimeFault
from hud.runtimes.local import LocalRuntime
from tests.plugins.hud_line.hud_line import LineClient
from tests.plugins.line_daemon import LineDaemon, line_daemon
from tests.wire.harness import own_tasks, until


@pytest.fixture(autouse=True)
def line_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_registered", {"line": LineClient})


@pytest.fixture
async def daemon() -> AsyncGenerator[LineDaemon]:
    async with line_daemon() as daemon:
        yield daemon


@contextlib.asynccontextmanager
async def connected(rows: Sequence[Capability]) -> AsyncGenerator[HudClient]:
    env = Environment("opened", capabilities=rows)

    @env.template()
    async def work() -> AsyncGenerator[Any, Any]:
        yield "work"
        yield 1.0

    task = env.tasks["work"]()
    async with LocalRuntime(env) as runtime, runtime(task) as place, connect(place) as client:
        yield client


class Slow(LineClient):
    """Connects when it is told to."""

    began: ClassVar[asyncio.Event]
    go: ClassVar[asyncio.Event]
    attempts: ClassVar[int]

    @classmethod
    async def connect(cls, cap: Capability, *, connect_timeout_s: float = 10.0) -> Self:
        cls.attempts += 1
        cls.began.set()
        await cls.go.wait()
        return await super().connect(cap, connect_timeout_s=connect_timeout_s)


@pytest.fixture
def slow() -> type[Slow]:
    Slow.began, Slow.go, Slow.attempts = asyncio.Event(), asyncio.Event(), 0
    return Slow


@pytest.mark.parametrize("ref", ["line", "line/1", "wire"])
async def test_a_client_is_opened_by_name_family_or_id(daemon: LineDaemon, ref: str) -> None:
    row = Capability("wire", "line/1", daemon.row.url)
    async with connected([row]) as client:
        opened = await client.open(ref)

        assert isinstance(opened, LineClient)
        assert await opened.ask("hello") == "HELLO"
        assert opened.capability == client.binding("wire")
        assert opened.capability.address != daemon.row.address, "it goes through the tunnel"


async def test_it_is_opened_once_whatever_it_is_called(daemon: LineDaemon) -> None:
    async with connected([daemon.row]) as client:
        first = await client.open("line")

        assert await client.open("line/1") is first
        assert await client.open("line", LineClient) is first
        assert daemon.accepted == 1


async def test_concurrent_opens_share_one_connect(daemon: LineDaemon, slow: type[Slow]) -> None:
    async with connected([daemon.row]) as client:
        opening = [asyncio.create_task(client.open("line", slow)) for _ in range(20)]
        await slow.began.wait()
        slow.go.set()

        opened = await asyncio.gather(*opening)

        assert len(set(map(id, opened))) == 1
        assert (slow.attempts, daemon.accepted) == (1, 1)


async def test_another_class_or_other_options_are_another_client(daemon: LineDaemon) -> None:
    class Other(LineClient): ...

    async with connected([daemon.row]) as client:
        first = await client.open("line")
        other = await client.open("line", Other)
        slow = await client.open("line", connect_timeout_s=30.0)

        assert len({id(first), id(other), id(slow)}) == 3
        assert isinstance(other, Other)
        assert await client.open("line", connect_timeout_s=30.0) is slow
        assert await client.open("line", Other) is other
        assert daemon.accepted == 3


async def test_options_reach_connect(daemon: LineDaemon) -> None:
    tokens: list[str | None] = []

    class Claiming(LineClient):
        @classmethod
        async def connect(
            cls, cap: Capability, *, connect_timeout_s: float = 10.0, token: str | None = None
        ) -> Self:
            tokens.append(token)
            return await super().connect(cap, connect_timeout_s=connect_timeout_s)

    async with connected([daemon.row]) as client:
        bindings = {"line": {"token": "slot-3"}}
        await client.open("line", Claiming, **bindings["line"])
        with pytest.raises(TypeError, match="tokin"):
            await client.open("line", Claiming, tokin="slot-3")

    assert tokens == ["slot-3"]


async def test_closing_the_connection_closes_what_was_opened(daemon: LineDaemon) -> None:
    async with connected([daemon.row]) as client:
        opened = await client.open("line", LineClient)
        await opened.ask("hello")
        assert len(daemon.open) == 1

        await client.close()
        await until(lambda: not daemon.open)

        with pytest.raises(CapabilityFault):
            await opened.ask("hello")
        with pytest.raises(RuntimeFault, match="closed"):
            await client.open("line")


async def test_a_client_that_does_not_close_does_not_keep_the_others_open(
    daemon: LineDaemon, caplog: pytest.LogCaptureFixture
) -> None:
    class Unclosable(LineClient):
        async def close(self) -> None:
            await super().close()
            raise OSError("no")

    async with connected([daemon.row]) as client:
        await client.open("line", Unclosable)
        await client.open("line", LineClient)

        await client.close()
        await until(lambda: not daemon.open)

    assert "did not close" in caplog.text


async def test_a_failed_open_is_the_same_for_all_who_wait_and_is_tried_again(
    daemon: LineDaemon, slow: type[Slow]
) -> None:
    await daemon.kill()
    async with connected([daemon.row]) as client:
        opening = [asyncio.create_task(client.open("line", slow)) for _ in range(5)]
        await slow.began.wait()
        slow.go.set()

        failures = await asyncio.gather(*opening, return_exceptions=True)

        assert all(isinstance(failure, CapabilityFault) for failure in failures), failures
        assert slow.attempts == 1
        with pytest.raises(CapabilityFault):
            await client.open("line", slow)
        assert slow.attempts == 2


async def test_one_who_stops_waiting_stops_no_other(daemon: LineDaemon, slow: type[Slow]) -> None:
    async with connected([daemon.row]) as client:
        first = asyncio.create_task(client.open("line", slow))
        await slow.began.wait()
        second = asyncio.create_task(client.open("line", slow))
        third = asyncio.create_task(client.open("line", slow))
        await asyncio.sleep(0)

        second.cancel()
        await asyncio.wait([second])
        assert slow.attempts == 1
        first.cancel()
        await asyncio.wait([first])
        assert (first.cancelled(), second.cancelled(), third.done()) == (True, True, False)

        slow.go.set()
        opened = await third
        assert await opened.ask("still") == "STILL"
        assert (slow.attempts, daemon.accepted) == (2, 1)
        assert await client.open("line", slow) is opened


async def test_an_open_cut_off_by_close_leaves_nothing_behind(
    daemon: LineDaemon, slow: type[Slow]
) -> None:
    async with connected([daemon.row]) as client:
        before = own_tasks()
        opening = asyncio.create_task(client.open("line", slow))
        await slow.began.wait()

        await client.close()
        slow.go.set()
        await asyncio.wait([opening])

        assert isinstance(opening.exception(), CapabilityFault | RuntimeFault)
        await until(lambda: not daemon.open)
        assert own_tasks() <= before


async def test_a_client_that_says_it_is_closed_is_connected_anew(daemon: LineDaemon) -> None:
    class Telling(LineClient):
        is_closed = False

        async def close(self) -> None:
            self.is_closed = True
            await super().close()

    async with connected([daemon.row]) as client:
        async with await client.open("line", Telling) as first:
            assert await first.ask("one") == "ONE"

        second = await client.open("line", Telling)

        assert second is not first
        assert await second.ask("two") == "TWO"


async def test_a_plugin_that_lets_socket_errors_through_is_mapped(daemon: LineDaemon) -> None:
    class Bare(LineClient):
        @classmethod
        async def connect(cls, cap: Capability, *, connect_timeout_s: float = 10.0) -> Self:
            raise ConnectionResetError("the other end is gone")

    async with connected([daemon.row]) as client:
        with pytest.raises(CapabilityFault, match=r"'line' \(line/1\): the other end is gone"):
            await client.open("line", Bare)


async def test_what_cannot_be_opened_is_said(daemon: LineDaemon) -> None:
    rows = [
        daemon.row,
        Capability("second", "line/1", daemon.row.url),
        Capability("telex", "telex/1", daemon.row.url),
    ]
    async with connected(rows) as client:
        with pytest.raises(InputError, match="no capability 'shell'"):
            await client.open("shell")
        with pytest.raises(InputError, match="matches 2 capabilities"):
            await client.open("line/1")
        with pytest.raises(InputError, match="no client drives capability 'telex'"):
            await client.open("telex")
        assert await (await client.open("telex", LineClient)).ask("x") == "X"
