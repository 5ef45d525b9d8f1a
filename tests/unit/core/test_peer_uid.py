"""Who is at the other end of a connection: real sockets of real users."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest

from hud._core import peer_uid as module
from hud._core.peer_uid import is_local, peer_uid

STRANGER = 100_777
DEADLINE_S = 30.0

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux says whose a socket is")


@pytest.fixture(params=["asked of the kernel", "read from the tables"])
def _way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "read from the tables":

        def unavailable(*_: object) -> int | None:
            raise OSError("no such thing here")

        monkeypatch.setattr(module, "_from_kernel", unavailable)


each_way = pytest.mark.usefixtures("_way")


@pytest.fixture
def as_stranger() -> Iterator[Callable[[str], subprocess.Popen[str]]]:
    """Run Python code as another user; it has the port as `port` and `sys`, `socket` at hand."""
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    started: list[subprocess.Popen[str]] = []

    def start(code: str) -> subprocess.Popen[str]:
        become = (
            "import encodings.idna, os, socket, sys\n"
            f"os.setresuid({STRANGER}, {STRANGER}, {STRANGER})\n"
        )
        process = subprocess.Popen(
            [sys.executable, "-c", become + code],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def connected(family: int, address: str) -> tuple[socket.socket, socket.socket]:
    with socket.socket(family) as listener:
        listener.bind((address, 0))
        listener.listen()
        near = socket.socket(family)
        near.connect(listener.getsockname())
        far, _ = listener.accept()
    return near, far


@each_way
@pytest.mark.parametrize(
    ("family", "address"),
    [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET, "127.9.9.9"), (socket.AF_INET6, "::1")],
)
def test_both_ends_of_an_own_connection_are_ones_own(family: int, address: str) -> None:
    near, far = connected(family, address)
    with near, far:
        assert peer_uid(near) == os.geteuid()
        assert peer_uid(far) == os.geteuid()
        assert is_local(near) and is_local(far)


@each_way
@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "::ffff:127.0.0.1"])
def test_another_user_is_told_by_a_server_on_every_family(
    host: str, as_stranger: Callable[[str], subprocess.Popen[str]]
) -> None:
    with socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True) as listener:
        port = listener.getsockname()[1]
        as_stranger(f"stream = socket.create_connection(({host!r}, {port}))\nsys.stdin.read()\n")
        listener.settimeout(DEADLINE_S)
        stream, _ = listener.accept()
        with stream:
            assert peer_uid(stream) == STRANGER
            assert is_local(stream)


@each_way
def test_a_user_who_hung_up_is_not_taken_for_root(
    as_stranger: Callable[[str], subprocess.Popen[str]],
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        stranger = as_stranger(
            f"stream = socket.create_connection(('127.0.0.1', {port}))\n"
            "stream.sendall(b'frame')\nstream.close()\nprint('closed', flush=True)\n"
            "sys.stdin.read()\n"
        )
        listener.settimeout(DEADLINE_S)
        stream, _ = listener.accept()
        with stream:
            assert stranger.stdout is not None
            assert stranger.stdout.readline() == "closed\n"
            assert stream.recv(100) == b"frame"
            assert peer_uid(stream) is None
            assert is_local(stream)


@each_way
def test_a_user_who_only_stopped_writing_is_still_known(
    as_stranger: Callable[[str], subprocess.Popen[str]],
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        as_stranger(
            f"stream = socket.create_connection(('127.0.0.1', {port}))\n"
            "stream.shutdown(socket.SHUT_WR)\nsys.stdin.read()\n"
        )
        listener.settimeout(DEADLINE_S)
        stream, _ = listener.accept()
        with stream:
            assert stream.recv(1) == b""
            assert peer_uid(stream) == STRANGER


def test_the_other_end_of_a_unix_socket_is_known(
    as_stranger: Callable[[str], subprocess.Popen[str]],
) -> None:
    left, right = socket.socketpair()
    with left, right:
        assert peer_uid(left) == os.geteuid()
        assert is_local(left)
    with socket.socket(socket.AF_UNIX) as listener:
        name = b"\0hud-peer-" + os.urandom(8).hex().encode()
        listener.bind(name)
        listener.listen()
        as_stranger(
            f"stream = socket.socket(socket.AF_UNIX)\nstream.connect({name!r})\nsys.stdin.read()\n"
        )
        listener.settimeout(DEADLINE_S)
        stream, _ = listener.accept()
        with stream:
            assert peer_uid(stream) == STRANGER


async def test_a_transport_will_do() -> None:
    seen: asyncio.Future[tuple[int | None, bool]] = asyncio.get_running_loop().create_future()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.set_result((peer_uid(writer.transport), is_local(writer.transport)))
        await reader.read()
        writer.close()

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    _, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    assert await seen == (os.geteuid(), True)
    writer.close()
    await writer.wait_closed()
    server.close()
    await server.wait_closed()


def test_what_is_not_connected_is_nobodys_and_counts_as_local() -> None:
    with socket.socket() as stream:
        assert peer_uid(stream) is None
        assert is_local(stream)
    assert peer_uid(stream) is None


@each_way
def test_a_connection_this_machine_does_not_know_is_nobodys() -> None:
    near, far = connected(socket.AF_INET, "127.0.0.1")
    with near:
        far.close()
        assert peer_uid(near) is None


def test_a_listener_on_the_peers_port_is_not_the_peer() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        peer = module._end(listener.getsockname())  # pyright: ignore[reportPrivateUsage]
        own = (peer[0], 1)
        assert module._from_tables(own, peer) is None  # pyright: ignore[reportPrivateUsage]
        with (
            socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, 4) as diag,
            pytest.raises(FileNotFoundError),
        ):
            module._asked(diag, peer, own)  # pyright: ignore[reportPrivateUsage]


def test_a_kernel_that_knows_of_no_sockets_is_not_believed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def knows_nothing(*_: object) -> int | None:
        raise FileNotFoundError(2, "no such socket")

    monkeypatch.setattr(module, "_answer", knows_nothing)
    near, far = connected(socket.AF_INET, "127.0.0.1")
    with near, far:
        assert peer_uid(near) == os.geteuid()
