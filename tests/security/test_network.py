"""An agent reaches for the control port, this machine's services and the network."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncGenerator, Generator
from typing import Any

import pytest

from hud.protocol.frames import HudProtocolError
from tests.security.world import PYTHON, Agent, Served, outside

SERVICE_SECRET = "service-secret-61c9"
HELLO = '{"jsonrpc":"2.0","id":1,"method":"hello","params":{}}'
# Every way a program may spell this machine.
SELVES = ("127.0.0.1", "localhost", "0.0.0.0", "127.1", "[::1]", "[::ffff:127.0.0.1]", "{own}")


def own_address() -> str:
    """Return an address of this machine that others would know it by, or its loopback."""
    with (
        contextlib.suppress(OSError),
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe,
    ):
        probe.connect(("192.0.2.1", 9))
        return str(probe.getsockname()[0])
    return "127.0.0.1"


@pytest.fixture
async def service() -> AsyncGenerator[int]:
    """A service of this machine that says its secret to whoever comes by HTTP."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            await reader.read(1000)
            body = SERVICE_SECRET.encode()
            head = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n"
            writer.write(head % len(body) + body)
            await writer.drain()
        writer.close()

    # One socket for both families: two would have a port each.
    both = socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True)
    server = await asyncio.start_server(answer, sock=both)
    try:
        yield int(server.sockets[0].getsockname()[1])
    finally:
        server.close()


@pytest.fixture
def datagrams() -> Generator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("0.0.0.0", 0))
        receiver.setblocking(False)
        yield receiver


def _here(template: str) -> str:
    return template.format(own=own_address())


async def test_the_control_port_is_not_reached(agent: Agent) -> None:
    port = agent.served.port
    said = f"exec 3<>/dev/tcp/127.0.0.1/{port} && echo '{HELLO}' >&3 && head -n 1 <&3"
    reached = await asyncio.to_thread(outside, ["bash", "-c", said])
    assert "session_id" in reached.stdout, "the attempt works for others"

    result = await agent.sh(f"{said}; curl -sS -m 5 telnet://127.0.0.1:{port} <<< '{HELLO}'")

    assert "session_id" not in result.stdout + result.stderr, result
    assert result.exit_status != 0


@pytest.mark.parametrize("host", SELVES)
async def test_no_service_of_this_machine_is_reached(agent: Agent, service: int, host: str) -> None:
    url = f"http://{_here(host)}:{service}/"

    result = await agent.sh(
        f"curl -sS -m 5 {url}; curl -sS -m 5 --noproxy '*' {url};"
        f' curl -sS -m 5 --noproxy "" -x "${{http_proxy:-http://127.0.0.1:3128}}" {url};'
        f' curl -sS -m 5 --noproxy "" -p -x "${{http_proxy:-http://127.0.0.1:3128}}" {url};'
        f' curl -sS -m 5 --noproxy "" -x "socks5h://${{http_proxy#http://}}" {url}'
    )

    assert SERVICE_SECRET not in result.stdout + result.stderr, result


async def test_the_service_is_there_for_others(service: int) -> None:
    reached = await asyncio.to_thread(outside, ["curl", "-sS", f"http://127.0.0.1:{service}/"])
    assert reached.stdout == SERVICE_SECRET


@pytest.mark.parametrize("address", ["169.254.169.254", "[fd00:ec2::254]", "100.100.100.200"])
async def test_the_metadata_address_is_not_reached(agent: Agent, address: str) -> None:
    url = f"http://{address}/latest/meta-data/"

    result = await agent.sh(
        f"curl -fsS -m 5 {url} && echo reached; curl -fsS -m 5 --noproxy '*' {url} && echo reached"
    )

    assert "reached" not in result.stdout.split(), result


async def test_no_datagram_leaves(agent: Agent, datagrams: socket.socket) -> None:
    port = datagrams.getsockname()[1]
    code = (
        "import socket, sys\n"
        "for host in ('127.0.0.1', sys.argv[2]):\n"
        "    try: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', (host, port))\n"
        "    except OSError as error: print(error)\n"
    ).replace("port)", "int(sys.argv[1]))")

    sent = outside([PYTHON, "-I", "-c", code, str(port), own_address()])
    assert sent.returncode == 0, sent
    assert [datagrams.recv(10), datagrams.recv(10)] == [b"x", b"x"], "the attempt works for others"

    result = await agent.python(code, str(port), own_address())

    assert not result.timed_out
    with pytest.raises(BlockingIOError):
        datagrams.recv(10)


@pytest.mark.parametrize(
    "kind", ["AF_INET, socket.SOCK_RAW, 1", "AF_PACKET, socket.SOCK_RAW", "AF_VSOCK"]
)
async def test_raw_sockets_are_refused(agent: Agent, kind: str) -> None:
    family, _, rest = kind.partition(", ")
    arguments = f"socket.{family}" + (f", {rest}" if rest else ", socket.SOCK_STREAM")
    connect = "; s.connect((2, 1024))" if family == "AF_VSOCK" else ""

    result = await agent.python(f"import socket; s = socket.socket({arguments}){connect}")

    assert result.exit_status != 0
    assert "Error" in result.stderr, result


async def _exchange(served: Served, data: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    try:
        writer.write(data)
        async with asyncio.timeout(10):
            return await reader.read()
    finally:
        writer.close()


async def test_a_frame_in_the_body_of_an_http_request_is_not_read(served: Served) -> None:
    frame = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tasks.grade", "params": {}})
    head = f"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {len(frame) + 2}\r\n\r\n"

    answer = await _exchange(served, f"{head}\n{frame}\n".encode())

    replies: list[Any] = [json.loads(line) for line in answer.splitlines()]
    assert [reply["error"]["code"] for reply in replies] == [-32700]


async def test_a_stream_to_what_is_no_capability_is_refused(served: Served) -> None:
    for name in ("127.0.0.1:22", "../shell", "", "filetracking/../shell", str(served.port)):
        frame = {"jsonrpc": "2.0", "id": 1, "method": "tunnel.open", "params": {"capability": name}}
        answer = await _exchange(served, json.dumps(frame).encode() + b"\n")
        assert json.loads(answer)["error"]["code"] == -32602, name


async def test_a_task_is_graded_once(agent: Agent) -> None:
    assert (await agent.client.grade({"answer": ""}))["score"] == 1.0
    with pytest.raises(HudProtocolError, match="no task in progress"):
        await agent.client.grade({"answer": ""})
