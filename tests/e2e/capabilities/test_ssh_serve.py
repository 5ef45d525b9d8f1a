"""What a harness serves inside over SSH: reached there alone, refused where it must be, ended."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import asyncssh
import pytest

from hud import Environment
from hud.capabilities import SSHClient
from hud.capabilities.ssh_serve import Reader, Writer
from hud.clients import connect
from hud.environment.server import bind
from hud.environment.ssh_forwarding import MAX_LISTENERS
from hud.errors import CapabilityFault
from hud.runtimes.base import Runtime
from tests.e2e.capabilities.sshd import DEADLINE_S, sshd
from tests.security.world import need_isolation
from tests.wire.harness import until

PYTHON = "/usr/bin/python3"
Place = Callable[[Path], AbstractAsyncContextManager[SSHClient]]

# Sends what it was told, then its end, and prints how much came back and whether it is the same.
TALK = """
import socket, sys
where, size = sys.argv[1], int(sys.argv[2])
if where.startswith("/"):
    s = socket.socket(socket.AF_UNIX)
    s.connect(where)
else:
    host, _, port = where.rpartition(":")
    s = socket.create_connection((host, int(port)))
import threading
data = bytes(range(256)) * (size // 256)
def send():
    s.sendall(data)
    s.shutdown(socket.SHUT_WR)
t = threading.Thread(target=send)
t.start()
got = b""
while piece := s.recv(65536):
    got += piece
t.join()
print(len(got), got == data)
"""


def workspace(isolation: str) -> Place:
    @contextlib.asynccontextmanager
    async def place(folder: Path) -> AsyncGenerator[SSHClient]:
        need_isolation(isolation)
        env = Environment("served")
        (folder / "work").mkdir()
        env.workspace(folder / "work", isolation=isolation)  # pyright: ignore[reportArgumentType]

        @env.template()
        async def work() -> AsyncGenerator[Any, Any]:
            yield "work"
            yield 1.0

        async with bind(env) as url, connect(Runtime(url)) as client:
            await client.start_task("work")
            yield await client.open("ssh", SSHClient)

    return place


@contextlib.asynccontextmanager
async def by_hand(folder: Path) -> AsyncGenerator[SSHClient]:
    async with (
        sshd(folder / "sshd") as daemon,
        await SSHClient.connect(daemon.capability()) as client,
    ):
        yield client


PLACES = {"bwrap": workspace("bwrap"), "sshd": by_hand, "uid": workspace("uid")}


@pytest.fixture(params=["bwrap", "sshd"])
async def shell(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncGenerator[SSHClient]:
    """A daemon with a loopback."""
    async with asyncio.timeout(4 * DEADLINE_S), PLACES[request.param](tmp_path) as client:
        yield client


@pytest.fixture(params=list(PLACES))
async def any_shell(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncGenerator[SSHClient]:
    async with asyncio.timeout(4 * DEADLINE_S), PLACES[request.param](tmp_path) as client:
        yield client


@pytest.fixture(params=["bwrap", "uid"])
async def walled(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncGenerator[SSHClient]:
    async with asyncio.timeout(4 * DEADLINE_S), PLACES[request.param](tmp_path) as client:
        yield client


async def echo(reader: Reader, writer: Writer) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.write_eof()


def accept(*peer: Any) -> Any:
    return echo


async def echo_and_close(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await echo(reader, writer)
    writer.close()
    await writer.wait_closed()


async def talk(shell: SSHClient, where: object, size: int = 1 << 20) -> str:
    folder = await folder_in(shell)
    await shell.write_text(f"{folder}/talk.py", TALK)
    result = await shell.execute(f"{PYTHON} {folder}/talk.py {where} {size}", timeout_s=DEADLINE_S)
    return result.stdout.strip() or result.stderr.strip().splitlines()[-1]


async def folder_in(shell: SSHClient) -> str:
    result = await shell.execute('mktemp -d "${HOME}/served.XXXXXX"')
    assert result.exit_status == 0, result.stderr
    return result.stdout.strip()


async def test_a_handler_is_reached_on_a_port_inside(shell: SSHClient) -> None:
    async with shell.serve(echo) as at:
        assert at.port and not at.path
        assert await talk(shell, at) == f"{1 << 20} True"


async def test_a_handler_is_reached_at_a_path_inside(any_shell: SSHClient) -> None:
    path = f"{await folder_in(any_shell)}/socket"
    async with any_shell.serve(echo, path=path) as at:
        assert str(at) == path
        assert await talk(any_shell, at) == f"{1 << 20} True"
    assert not await any_shell.exists(path)
    assert "Error" in await talk(any_shell, path)


async def test_an_address_of_this_machine_is_reached_inside(shell: SSHClient) -> None:
    server = await asyncio.start_server(echo_and_close, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        async with shell.serve(("127.0.0.1", port)) as at:
            assert await talk(shell, at) == f"{1 << 20} True"


async def test_many_connections_are_served_at_once(shell: SSHClient) -> None:
    async with shell.serve(echo) as at:
        said = await asyncio.gather(*(talk(shell, at, 1 << 16) for _ in range(8)))
    assert said == [f"{1 << 16} True"] * 8


async def test_a_handler_that_raises_ends_its_connection_alone(shell: SSHClient) -> None:
    async def broken(reader: Reader, writer: Writer) -> None:
        writer.write(await reader.read(16))
        raise RuntimeError("a bug of the handler")

    async with shell.serve(broken) as at:
        await talk(shell, at)
        assert (await shell.execute("echo goes on")).stdout == "goes on\n"
        await talk(shell, at)


async def test_nothing_is_reached_once_the_block_is_over(shell: SSHClient) -> None:
    waiting = asyncio.Event()
    cancelled = asyncio.Event()

    async def hold(reader: Reader, writer: Writer) -> None:
        waiting.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    async with shell.serve(hold) as at:
        talking = asyncio.ensure_future(talk(shell, at, 256))
        await waiting.wait()
    assert cancelled.is_set()
    assert not (await talking).endswith("True")
    assert "refused" in await talk(shell, at)


async def test_what_is_served_ends_with_the_connection(walled: SSHClient) -> None:
    path = f"{await folder_in(walled)}/socket"
    async with (
        await SSHClient.connect(walled.capability) as other,
        other.serve(echo, path=path) as at,
    ):
        assert await talk(walled, at) == f"{1 << 20} True"
        other.conn.abort()
        await other.conn.wait_closed()
        await until(other.conn.is_closed)
        assert "Error" in await talk(walled, at)


async def test_a_port_by_uid_is_refused_with_what_to_do(tmp_path: Path) -> None:
    async with PLACES["uid"](tmp_path) as shell:
        with pytest.raises(CapabilityFault) as caught:
            async with shell.serve(echo):
                raise AssertionError
    assert "Unix socket" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("host", "port"),
    [("0.0.0.0", 0), ("", 0), ("*", 0), ("::1", 0), ("10.0.0.1", 0), ("127.0.0.1", 80)],
)
async def test_only_free_ports_of_loopback_are_served(tmp_path: Path, host: str, port: int) -> None:
    async with PLACES["bwrap"](tmp_path) as shell:
        with pytest.raises(asyncssh.ChannelListenError):
            await shell.conn.start_server(accept, host, port)


async def test_a_path_that_is_taken_or_not_the_agents_is_refused(walled: SSHClient) -> None:
    folder = await folder_in(walled)
    await walled.write_text(f"{folder}/taken", "a file")
    for path in (f"{folder}/taken", "/etc/socket", "/", "", f"{folder}/{'x' * 200}", "\0abstract"):
        with pytest.raises(asyncssh.ChannelListenError):
            await walled.conn.start_unix_server(accept, path)
    assert await walled.read_text(f"{folder}/taken") == "a file"


async def test_the_number_of_listeners_is_bounded(walled: SSHClient) -> None:
    folder = await folder_in(walled)
    async with contextlib.AsyncExitStack() as stack:
        for number in range(MAX_LISTENERS):
            await stack.enter_async_context(walled.serve(echo, path=f"{folder}/{number}"))
        with pytest.raises(CapabilityFault):
            async with walled.serve(echo, path=f"{folder}/more"):
                raise AssertionError
    async with walled.serve(echo, path=f"{folder}/again"):
        pass


async def test_no_connection_is_made_for_the_client(walled: SSHClient) -> None:
    """Local forwarding would reach ports of the machine, or of the sandbox."""
    server = await asyncio.start_server(echo_and_close, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        conn: Any = walled.conn
        with pytest.raises(asyncssh.ChannelOpenError):
            await conn.open_connection("127.0.0.1", port)
    path = f"{await folder_in(walled)}/socket"
    async with walled.serve(echo, path=path):
        with pytest.raises(asyncssh.ChannelOpenError):
            await conn.open_unix_connection(path)
