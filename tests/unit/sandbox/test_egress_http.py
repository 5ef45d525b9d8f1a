"""The proxy over HTTP: real clients get through, and what is not allowed is refused in words."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator

import httpx
import pytest

from hud.sandbox.egress import EgressEvent, EgressLimits
from tests.needs import need_program
from tests.unit.sandbox.leaving import (
    DEADLINE_S,
    Leaving,
    Origin,
    echo,
    leaving,
    serving,
    unused_port,
)

NAMES = {"site.test": ["127.0.0.1"]}


def listed(port: int) -> list[str]:
    """Allow a name and the loopback address the tests' resolver has for it."""
    return ["site.test", f"127.0.0.1:{port}"]


def get(port: int, path: str = "/", *lines: str, version: str = "1.1") -> bytes:
    head = [f"GET http://site.test:{port}{path} HTTP/{version}", f"Host: site.test:{port}", *lines]
    return "\r\n".join([*head, "", ""]).encode()


async def test_a_request_and_its_answer_pass_by_name() -> None:
    origin = Origin()
    async with (
        serving(origin) as port,
        leaving(listed(port), names=NAMES) as out,
        httpx.AsyncClient(proxy=f"http://127.0.0.1:{out.port}") as client,
    ):
        answer = await client.get(f"http://site.test:{port}/a/b?c=d%20e")
        again = await client.get(f"http://site.test:{port}/")
    assert (answer.status_code, answer.text, again.text) == (200, "hello", "hello")
    head = origin.heads[0].decode()
    assert head.startswith(f"GET /a/b?c=d%20e HTTP/1.1\r\nHost: site.test:{port}\r\n")
    assert [(event.verdict, event.via, event.host, event.port) for event in out.events] == [
        ("allowed", "http", "site.test", port)
    ] * 2
    assert out.proxy.counts == {"allowed": 2, "refused": 0, "failed": 0}


async def test_bodies_stream_both_ways_chunked_and_counted() -> None:
    block = b"x" * 65_536

    async def mirror(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        digest = hashlib.sha256()
        size = 0
        if b"transfer-encoding: chunked" in head:
            while count := int(await reader.readline(), 16):
                digest.update(await reader.readexactly(count))
                await reader.readline()
                size += count
            await reader.readline()
        else:
            size = int(head.partition(b"content-length: ")[2].split(b"\r\n")[0])
            for at in range(0, size, 65_536):
                digest.update(await reader.readexactly(min(65_536, size - at)))
        body = f"{size} {digest.hexdigest()}\n".encode() + block * 80
        chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        writer.write(chunked + b"%x;note=1\r\n" % len(body) + body + b"\r\n0\r\nSum: 1\r\n\r\n")
        await writer.drain()

    async def blocks() -> AsyncIterator[bytes]:
        for _ in range(80):
            yield block

    expected = f"{80 * 65_536} {hashlib.sha256(block * 80).hexdigest()}\n".encode() + block * 80
    async with (
        serving(mirror) as port,
        leaving(listed(port), names=NAMES) as out,
        httpx.AsyncClient(proxy=f"http://127.0.0.1:{out.port}", timeout=DEADLINE_S) as client,
    ):
        url = f"http://site.test:{port}/"
        chunked = await client.post(url, content=blocks())
        counted = await client.put(url, content=block * 80)
    assert chunked.content == expected
    assert counted.content == expected


async def test_a_kept_connection_serves_request_after_request() -> None:
    origin = Origin()
    async with serving(origin) as port, leaving(listed(port), names=NAMES) as out:
        said = await out.say(get(port) + get(port, "/two") + get(port, "/3", "Connection: close"))
    assert said.count(b"HTTP/1.1 200 OK") == 3
    assert said.count(b"Connection: keep-alive") == 2
    assert said.endswith(b"Connection: close\r\n\r\nhello")
    assert [head.split()[1] for head in origin.heads] == [b"/", b"/two", b"/3"]


async def test_fields_of_one_connection_are_not_passed_on_and_host_is_what_was_asked() -> None:
    origin = Origin(
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nKeep-Alive: timeout=5\r\nConnection: X-Hop\r\n"
        b"X-Hop: 1\r\nProxy-Authenticate: Basic\r\nX-Kept: yes\r\n\r\nok"
    )
    async with serving(origin) as port, leaving(listed(port), names=NAMES) as out:
        said = await out.say(
            f"GET http://site.test:{port}/ HTTP/1.1\r\nHost: other.test\r\n"
            "Connection: close, X-Secret\r\nX-Secret: 1\r\nProxy-Authorization: Basic eA==\r\n"
            "Proxy-Connection: keep-alive\r\nTE: trailers\r\nUpgrade: h2c\r\n"
            "X-End: yes\r\n\r\n".encode()
        )
    (head,) = origin.heads
    lines = head.decode().lower().split("\r\n")
    assert lines == [
        "get / http/1.1",
        f"host: site.test:{port}",
        "x-end: yes",
        "connection: close",
        "",
        "",
    ]
    assert b"X-Kept: yes" in said and said.endswith(b"ok")
    for name in (b"X-Hop", b"Keep-Alive", b"Proxy-Authenticate"):
        assert name not in said


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://other.test/", "other.test:80 is not among the hosts"),
        ("http://127.0.0.1:1/", "127.0.0.1:1 is not among the hosts"),
        ("http://inside.test/", "inside.test:80 is a loopback address"),
        ("http://meta.test/", "meta.test:80 is a metadata address"),
        ("http://169.254.169.254/latest/", "169.254.169.254:80 is a metadata address"),
        ("http://lan.sub.test/", "lan.sub.test:80 is a private address"),
    ],
)
async def test_a_refusal_is_one_plain_sentence(url: str, words: str) -> None:
    names = {
        "inside.test": ["127.0.0.1"],
        "meta.test": ["169.254.169.254"],
        "lan.sub.test": ["192.168.7.7"],
    }
    allowed = ["inside.test", "meta.test", "169.254.0.0/16", "*.sub.test"]
    async with leaving(allowed, names=names) as out:
        host = url.split("/")[2]
        plain = await out.say(f"GET {url} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        port = "" if ":" in host else ":80"
        tunnel = await out.say(f"CONNECT {host}{port} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
    for said in (plain, tunnel):
        head, _, body = said.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 403 Forbidden")
        assert body.decode().startswith(words)
        assert len(body.splitlines()) == 1
    assert [event.verdict for event in out.events] == ["refused", "refused"]
    assert all(event.reason and event.reason.startswith(words) for event in out.events)
    assert out.proxy.counts["refused"] == 2


async def test_a_name_that_is_not_listed_is_never_looked_up() -> None:
    async with leaving(["site.test"], names={"secret.evil.test": ["127.0.0.1"]}) as out:
        await out.say(b"CONNECT secret.evil.test:443 HTTP/1.1\r\nHost: x\r\n\r\n")
    assert out.asked == []


async def test_a_name_is_looked_up_once_and_only_a_checked_address_is_dialled() -> None:
    origin = Origin()
    names = {"site.test": ["127.0.0.1"]}
    async with serving(origin) as port, leaving(listed(port), names=names) as out:
        first = await out.say(get(port, "/", "Connection: close"))
        names["site.test"] = ["169.254.169.254"]
        second = await out.say(get(port, "/", "Connection: close"))
    assert first.endswith(b"hello")
    assert second.startswith(b"HTTP/1.1 403")
    assert out.asked == ["site.test", "site.test"]
    assert len(origin.heads) == 1


async def test_an_address_that_does_not_answer_is_followed_by_the_next() -> None:
    origin = Origin()
    names = {"site.test": ["127.0.0.77", "169.254.169.254", "127.0.0.1"]}
    async with serving(origin) as port:
        allowed = [*listed(port), f"127.0.0.77:{port}"]
        async with leaving(allowed, names=names) as out:
            said = await out.say(get(port, "/", "Connection: close"))
    assert said.endswith(b"hello")
    assert out.proxy.counts == {"allowed": 1, "refused": 0, "failed": 0}


async def test_what_cannot_be_reached_is_said_as_such() -> None:
    port = unused_port()
    async with leaving(listed(port), names=NAMES) as out:
        said = await out.say(get(port))
        unknown = await out.say(b"CONNECT site.test:1 HTTP/1.1\r\nHost: x\r\n\r\n")
    assert said.startswith(b"HTTP/1.1 502 Bad Gateway")
    assert said.endswith(b"site.test:%d cannot be reached.\n" % port)
    assert unknown.startswith(b"HTTP/1.1 403")
    assert out.proxy.counts == {"allowed": 0, "refused": 1, "failed": 1}


async def test_a_tunnel_passes_bytes_and_half_closes() -> None:
    async with serving(echo) as port, leaving(listed(port), names=NAMES) as out:
        reader, writer = await out.connect()
        writer.write(f"CONNECT site.test:{port} HTTP/1.1\r\nHost: site.test\r\n\r\nearly".encode())
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
        data = bytes(range(256)) * 40_000

        async def send() -> None:
            writer.write(data)
            await writer.drain()
            writer.write_eof()

        sending = asyncio.ensure_future(send())
        async with asyncio.timeout(DEADLINE_S):
            got = await reader.read(-1)
        await sending
        writer.close()
        await writer.wait_closed()
    assert got == b"early" + data + b"<end>"
    assert out.events[0].via == "connect"


BODY = "Content-Length: 4"
CONNECT = "CONNECT site.test:{port} HTTP/1.1\r\nHost: x\r\n"
HEAD = "POST http://site.test:{port}/ HTTP/1.1\r\nHost: site.test\r\n"
SMUGGLING = {
    "two lengths": HEAD + "Content-Length: 4\r\nContent-Length: 5\r\n\r\nabcde",
    "two equal lengths": HEAD + "Content-Length: 4\r\nContent-Length: 4\r\n\r\nabcd",
    "a list of lengths": HEAD + "Content-Length: 4, 4\r\n\r\nabcd",
    "a signed length": HEAD + "Content-Length: +4\r\n\r\nabcd",
    "length and chunks": HEAD + BODY + "\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "two codings": HEAD + "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "coding twice": HEAD + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
    "a coding with a quirk": HEAD + "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "chunks in 1.0": HEAD.replace("1.1", "1.0") + "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a bare line feed": HEAD.replace("\r\nHost", "\nHost") + "\r\n",
    "bare line feeds only": "GET http://site.test:{port}/ HTTP/1.1\nHost: x\n\n",
    "a bare carriage return": HEAD + "X: a\rb\r\n\r\n",
    "a folded line": HEAD + "X: a\r\n b\r\n\r\n",
    "a blank before the colon": HEAD + "Content-Length : 4\r\n\r\nabcd",
    "no colon": HEAD + "nonsense\r\n\r\n",
    "a zero byte": HEAD + "X: a\0b\r\n\r\n",
    "two hosts": HEAD + "Host: other\r\n\r\n",
    "no host": "GET http://site.test:{port}/ HTTP/1.1\r\n\r\n",
    "a connect with a body": "CONNECT site.test:{port} HTTP/1.1\r\nHost: x\r\n"
    + BODY
    + "\r\n\r\nabcd",
    "a connect with chunks": CONNECT + "Transfer-Encoding: chunked\r\n\r\n",
    "a connect without port": "CONNECT site.test HTTP/1.1\r\nHost: x\r\n\r\n",
    "a relative path": "GET / HTTP/1.1\r\nHost: site.test:{port}\r\n\r\n",
    "an https address": "GET https://site.test:{port}/ HTTP/1.1\r\nHost: x\r\n\r\n",
    "a file": "GET file:///etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n",
    "a user in the address": "GET http://a@site.test:{port}/ HTTP/1.1\r\nHost: x\r\n\r\n",
    "an address in octal": "GET http://0177.0.0.1:{port}/ HTTP/1.1\r\nHost: x\r\n\r\n",
    "HTTP/2": "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "an unknown version": "GET http://site.test:{port}/ HTTP/1.2\r\nHost: x\r\n\r\n",
    "two blanks": "GET  http://site.test:{port}/ HTTP/1.1\r\nHost: x\r\n\r\n",
    "no http at all": "\x16\x03\x01\x02\x00\r\n\r\n",
    "a control frame": '{{"jsonrpc":"2.0","id":1,"method":"tasks.grade"}}\n',
}


@pytest.mark.parametrize("name", SMUGGLING)
async def test_a_request_that_could_be_read_two_ways_is_refused(name: str) -> None:
    origin = Origin()
    async with serving(origin) as port, leaving(listed(port), names=NAMES) as out:
        said = await out.say(SMUGGLING[name].format(port=port).encode("latin-1"))
    assert said.startswith(b"HTTP/1.1 400 Bad Request"), said
    assert origin.heads == []
    assert out.events == []


CHUNKED = HEAD + "Transfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    "body",
    [
        *("-1\r\n", "0x4\r\nabcd\r\n", "4\nabcd\r\n", "4\r\nabcde\r\n", "g\r\n", "\r\n"),
        *("11111111111111111\r\n", "4" + ";" + "x" * 5000 + "\r\nabcd\r\n", "0\r\nX: y\n\r\n"),
    ],
)
async def test_chunks_that_make_no_sense_end_the_request(body: str) -> None:
    async with serving(Origin(answer=b"")) as port, leaving(listed(port), names=NAMES) as out:
        said = await out.say((CHUNKED + body).format(port=port).encode())
    assert b" 200 " not in said
    assert said.startswith((b"HTTP/1.1 400", b"HTTP/1.1 502")), said


async def test_a_body_that_ends_early_ends_the_request() -> None:
    async def waits(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(-1)

    async with serving(waits) as port, leaving(listed(port), names=NAMES) as out:
        request = (HEAD + "Content-Length: 10\r\n\r\nabc").format(port=port).encode()
        said = await out.say(request, eof=True)
    assert said.startswith(b"HTTP/1.1 400")


async def test_a_head_that_is_too_long_is_refused() -> None:
    limits = EgressLimits(header_bytes=1000)
    async with leaving(None, limits=limits) as out:
        lines = await out.say(b"GET http://a.test/ HTTP/1.1\r\n" + b"X: y\r\n" * 200)
        one = await out.say(b"GET http://a.test/ HTTP/1.1\r\nX: " + b"y" * 200_000)
    assert lines.startswith(b"HTTP/1.1 431")
    assert one.startswith(b"HTTP/1.1 431")


async def test_connections_beyond_the_limit_are_turned_away_and_room_is_made_again() -> None:
    async with leaving(None, limits=EgressLimits(connections=2)) as out:
        held = [await out.connect() for _ in range(2)]
        for _, writer in held:
            writer.write(b"G")
        await _until_turned_away(out)
        for reader, writer in held:
            writer.write_eof()
            assert (await reader.read()).startswith(b"HTTP/1.1 400")
            writer.close()
            await writer.wait_closed()
        said = b""
        async with asyncio.timeout(DEADLINE_S):
            while not said.startswith(b"HTTP/1.1 403"):
                said = await out.say(b"CONNECT 127.0.0.1:1 HTTP/1.1\r\nHost: x\r\n\r\n")


async def _until_turned_away(out: Leaving) -> None:
    async with asyncio.timeout(DEADLINE_S):
        reader, writer = await out.connect()
        said = await reader.read()
        writer.close()
        await writer.wait_closed()
    head, _, body = said.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 503")
    assert f"Content-Length: {len(body)}".encode() in head


async def test_a_connection_that_says_nothing_ends() -> None:
    async with serving(echo) as port:
        limits = EgressLimits(idle_s=0.5)
        async with leaving(listed(port), names=NAMES, limits=limits) as out:
            assert await out.say(b"") == b""
            assert await out.say(b"GET http://site") == b""
            said = await out.say(f"CONNECT site.test:{port} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            assert said.startswith(b"HTTP/1.1 200 ")


ANSWERS: dict[str, tuple[bytes, bytes, bytes]] = {
    "until close becomes chunks": (
        b"HTTP/1.1 200 OK\r\n\r\nhello",
        b"Transfer-Encoding: chunked",
        b"5\r\nhello\r\n0\r\n\r\n",
    ),
    "an HTTP/1.0 server": (b"HTTP/1.0 200 OK\r\n\r\nhello", b"chunked", b"5\r\nhello\r\n0\r\n\r\n"),
    "no content": (b"HTTP/1.1 204 No Content\r\n\r\n", b"204 No Content", b""),
    "not modified": (
        b"HTTP/1.1 304 Not Modified\r\nContent-Length: 99\r\n\r\n",
        b"Content-Length: 99",
        b"",
    ),
    "a length beside chunks": (
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"2\r\nok\r\n0\r\n\r\n"
        ),
        b"Transfer-Encoding: chunked",
        b"2\r\nok\r\n0\r\n\r\n",
    ),
    "untidy line ends": (b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok", b"Content-Length: 2", b"ok"),
    "no reason": (b"HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok", b"HTTP/1.1 200", b"ok"),
    "an interim answer": (
        (
            b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
        ),
        b"103 Early Hints",
        b"ok",
    ),
}


@pytest.mark.parametrize("name", ANSWERS)
async def test_every_kind_of_answer_ends_where_it_should(name: str) -> None:
    answer, head_part, body = ANSWERS[name]
    async with serving(Origin(answer)) as port, leaving(listed(port), names=NAMES) as out:
        said = await out.say(get(port, "/1") + get(port, "/2", "Connection: close"))
    first, _, rest = said.partition(b"Connection: keep-alive\r\n\r\n")
    assert head_part in first
    assert rest.startswith(body)
    assert said.endswith(b"Connection: close\r\n\r\n" + body)
    assert not (b"Content-Length" in first and b"chunked" in first)


async def test_a_head_request_has_no_body_whatever_its_length_says() -> None:
    origin = Origin(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
    async with serving(origin) as port, leaving(listed(port), names=NAMES) as out:
        request = get(port).replace(b"GET", b"HEAD") + get(port, "/", "Connection: close")
        said = await out.say(request.replace(b"GET", b"HEAD"))
    assert said.count(b"Content-Length: 1000") == 2


async def test_an_old_client_gets_plain_bytes() -> None:
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n1\r\n!\r\n0\r\n\r\n"
    async with serving(Origin(chunked)) as port, leaving(listed(port), names=NAMES) as out:
        said = await out.say(get(port, version="1.0"))
    head, _, body = said.partition(b"\r\n\r\n")
    assert b"chunked" not in head
    assert body == b"ok!"


async def test_a_client_that_waits_for_permission_gets_it_from_the_server() -> None:
    async def careful(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        assert b"Expect: 100-continue" in head
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        body = await reader.readexactly(4)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n" + body)
        await writer.drain()

    async with serving(careful) as port, leaving(listed(port), names=NAMES) as out:
        reader, writer = await out.connect()
        head = HEAD + "Expect: 100-continue\r\nContent-Length: 4\r\n\r\n"
        writer.write(head.format(port=port).encode())
        async with asyncio.timeout(DEADLINE_S):
            assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
            writer.write(b"body")
            await reader.readuntil(b"\r\n\r\n")
            assert await reader.readexactly(4) == b"body"
        writer.close()
        await writer.wait_closed()


async def test_an_answer_before_the_end_of_the_request_arrives_and_ends_the_connection() -> None:
    async def impatient(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\n\r\nbig")
        await writer.drain()

    async with serving(impatient) as port, leaving(listed(port), names=NAMES) as out:
        head = (HEAD + "Content-Length: 50000000\r\n\r\n").format(port=port).encode()
        said = await out.say(head + b"x" * 100_000)
    assert said.startswith(b"HTTP/1.1 413")
    assert said.endswith(b"big")


@pytest.mark.parametrize(
    "answer",
    [
        *(b"", b"SSH-2.0-x\r\n", b"HTTP/1.1 20", b"HTTP/1.1 200 OK\r\nX: y\r\n"),
        *(b"HTTP/1.1 101 Switching Protocols\r\n\r\n", b"HTTP/1.1 999 x\r\n\r\n", b"x" * 100_000),
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nab",
    ],
)
async def test_an_answer_that_is_none_is_a_bad_gateway(answer: bytes) -> None:
    async with serving(Origin(answer)) as port, leaving(listed(port), names=NAMES) as out:
        said = await out.say(get(port))
    assert said.startswith(b"HTTP/1.1 502 Bad Gateway"), said


async def test_an_answer_that_breaks_off_is_not_made_to_look_whole() -> None:
    answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel"
    async with serving(Origin(answer)) as port, leaving(listed(port), names=NAMES) as out:
        said = await out.say(get(port) + get(port))
    assert said.count(b"HTTP/1.1") == 1
    assert not said.endswith(b"0\r\n\r\n")


@pytest.mark.parametrize("way", ["--proxy", "--proxytunnel --proxy", "--socks5-hostname"])
async def test_curl_gets_through_every_way(way: str) -> None:
    curl = need_program("curl")
    origin = Origin()
    async with serving(origin) as port, leaving(listed(port), names=NAMES) as out:
        done = await asyncio.create_subprocess_exec(
            curl, "-sS", *way.split(), f"127.0.0.1:{out.port}", f"http://site.test:{port}/x",
            stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        said, _ = await done.communicate()
    assert said == b"hello"


async def test_programs_find_the_proxy_by_their_variables() -> None:
    curl = need_program("curl")
    async with leaving(["site.test"]) as out:
        env = out.proxy.env(out.port)
        assert set(env) == {
            *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"),
            *("http_proxy", "https_proxy", "all_proxy", "no_proxy"),
        }
        done = await asyncio.create_subprocess_exec(
            curl, "-sS", "http://other.test/", env=env, stdout=asyncio.subprocess.PIPE
        )
        said, _ = await done.communicate()
        assert said == b"other.test:80 is not among the hosts this sandbox may reach.\n"
        done = await asyncio.create_subprocess_exec(
            curl, "-sS", "https://other.test/", env=env, stderr=asyncio.subprocess.PIPE
        )
        _, problem = await done.communicate()
        assert b"403" in problem


async def test_a_client_library_takes_the_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    origin = Origin()
    async with serving(origin) as port, leaving(listed(port), names=NAMES) as out:
        for name, value in out.proxy.env(out.port).items():
            monkeypatch.setenv(name, value)
        async with httpx.AsyncClient() as client:
            assert (await client.get(f"http://site.test:{port}/")).text == "hello"
            assert (await client.get(f"http://127.0.0.1:{port}/")).text == "hello"
    assert out.proxy.counts["allowed"] == 1


async def test_closing_ends_what_is_under_way_and_may_be_done_twice() -> None:
    async with serving(echo) as port, leaving(listed(port), names=NAMES) as out:
        reader, writer = await out.connect()
        writer.write(f"CONNECT site.test:{port} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        await reader.readuntil(b"\r\n\r\n")
        await out.proxy.aclose()
        async with asyncio.timeout(DEADLINE_S):
            assert await reader.read() == b""
        await out.proxy.aclose()
        with pytest.raises(OSError, match=r"."):
            await out.connect()
        writer.close()
        await writer.wait_closed()


async def test_a_callback_that_fails_stops_nobody(caplog: pytest.LogCaptureFixture) -> None:
    def broken(event: EgressEvent) -> None:
        raise ValueError("broken")

    async with leaving(["site.test"], on_event=broken) as out:
        said = await out.say(b"CONNECT other.test:443 HTTP/1.1\r\nHost: x\r\n\r\n")
    assert said.startswith(b"HTTP/1.1 403")
    assert "callback" in caplog.text
