"""The proxy over SOCKS 5, and the plain forward to a declared peer."""

from __future__ import annotations

import asyncio
import socket

import pytest

from hud.sandbox.egress import Forward
from tests.unit.sandbox.leaving import DEADLINE_S, echo, leaving, listener, serving, unused_port

NAMES = {"site.test": ["127.0.0.1"], "inside.test": ["127.0.0.1"]}
GREETING = b"\x05\x01\x00"
GRANTED = b"\x05\x00\x05\x00\x00\x01" + bytes(6)


def refused(code: int) -> bytes:
    return b"\x05\x00\x05" + bytes([code]) + b"\x00\x01" + bytes(6)


def by_name(name: str, port: int, command: int = 1) -> bytes:
    text = name.encode()
    kind = bytes([5, command, 0, 3, len(text)])
    return GREETING + kind + text + port.to_bytes(2, "big")


def by_address(address: str, port: int) -> bytes:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    kind = 4 if ":" in address else 1
    packed = socket.inet_pton(family, address)
    return GREETING + bytes([5, 1, 0, kind]) + packed + port.to_bytes(2, "big")


def listed(port: int) -> list[str]:
    return ["site.test", f"127.0.0.1:{port}"]


async def test_a_name_and_an_address_are_connected() -> None:
    async with serving(echo) as port, leaving(listed(port), names=NAMES) as out:
        for asked in (by_name("site.test", port), by_address("127.0.0.1", port)):
            said = await out.say(asked + b"early", eof=True)
            assert said == GRANTED + b"early<end>"
    assert [(event.via, event.host) for event in out.events] == [
        ("socks5", "site.test"),
        ("socks5", "127.0.0.1"),
    ]


async def test_what_is_not_allowed_is_refused_with_its_code() -> None:
    async with leaving(["inside.test", "closed.test"], names=NAMES) as out:
        assert await out.say(by_name("other.test", 80)) == refused(2)
        assert await out.say(by_name("inside.test", 80)) == refused(2)
        assert await out.say(by_address("127.0.0.1", 80)) == refused(2)
        assert await out.say(by_address("::ffff:169.254.169.254", 80)) == refused(2)
        assert await out.say(by_name("closed.test", 80)) == refused(4)
    assert [event.verdict for event in out.events] == ["refused"] * 4 + ["failed"]


async def test_a_closed_port_is_said_as_such() -> None:
    port = unused_port()
    async with leaving(listed(port), names=NAMES) as out:
        assert await out.say(by_name("site.test", port)) == refused(5)


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        (b"\x05\x01\x02", b"\x05\xff"),
        (b"\x05\x00", b"\x05\xff"),
        (GREETING + b"\x04\x01\x00\x01", b"\x05\x00"),
        (by_name("site.test", 80, command=2), refused(7)),
        (by_name("site.test", 80, command=3), refused(7)),
        (GREETING + b"\x05\x01\x00\x09", refused(8)),
        (by_name("127.1", 80), refused(8)),
        (by_name("0x7f000001", 80), refused(8)),
        (by_name("a b", 80), refused(8)),
        (GREETING + b"\x05\x01\x00\x03\x00\x00\x50", refused(8)),
        (GREETING + b"\x05\x01\x00\x03\x02\xff\xfe\x00\x50", refused(8)),
        (by_address("127.0.0.1", 0), refused(2)),
        (b"\x04\x01\x00\x50\x7f\x00\x00\x01\x00\n", b"HTTP/1.1 400"),
    ],
)
async def test_what_is_no_request_is_turned_down(said: bytes, answer: bytes) -> None:
    async with leaving(["site.test"], names=NAMES) as out:
        assert (await out.say(said)).startswith(answer)
    assert all(event.verdict == "refused" for event in out.events)


@pytest.mark.parametrize("length", range(1, len(by_name("site.test", 80))))
async def test_a_request_that_breaks_off_is_forgotten(length: int) -> None:
    async with leaving(["site.test"], names=NAMES) as out:
        said = await out.say(by_name("site.test", 80)[:length], eof=True)
    assert said in (b"", b"\x05\x00")
    assert out.events == []


async def test_a_forward_passes_bytes_both_ways_and_half_closes() -> None:
    async with serving(echo) as port:
        sock = listener()
        address = sock.getsockname()
        forward = Forward(sock, ("127.0.0.1", port))
        await forward.start()
        try:
            reader, writer = await asyncio.open_connection(*address)
            data = b"x" * 3_000_000
            writer.write(data)
            writer.write_eof()
            async with asyncio.timeout(DEADLINE_S):
                assert await reader.read() == data + b"<end>"
            writer.close()
            await writer.wait_closed()
        finally:
            await forward.aclose()


async def test_a_forward_to_nobody_hangs_up() -> None:
    sock = listener()
    address = sock.getsockname()
    forward = Forward(sock, ("127.0.0.1", unused_port()))
    await forward.start()
    try:
        reader, writer = await asyncio.open_connection(*address)
        async with asyncio.timeout(DEADLINE_S):
            assert await reader.read() == b""
        writer.close()
        await writer.wait_closed()
    finally:
        await forward.aclose()


async def test_a_forward_bounds_its_connections_and_ends_them_with_itself() -> None:
    async with serving(echo) as port:
        sock = listener()
        address = sock.getsockname()
        forward = Forward(sock, ("127.0.0.1", port), connections=1)
        await forward.start()
        reader, writer = await asyncio.open_connection(*address)
        writer.write(b"x")
        assert await reader.readexactly(1) == b"x"
        second, second_writer = await asyncio.open_connection(*address)
        async with asyncio.timeout(DEADLINE_S):
            assert await second.read() == b""
        await forward.aclose()
        await forward.aclose()
        async with asyncio.timeout(DEADLINE_S):
            assert await reader.read() == b""
        for one in (writer, second_writer):
            one.close()
            await one.wait_closed()
