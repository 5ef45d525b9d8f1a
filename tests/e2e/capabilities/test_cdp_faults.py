"""Browsers that die, hang, are none, or lie, under the cdp client."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.datastructures import Headers
from websockets.http11 import Request, Response

from hud._core.errors import CapabilityFault, InputError
from hud.capabilities.cdp import CDPClient, CDPError
from hud.protocol.capability import Capability
from tests.conformance.daemons.cdp import chromium
from tests.e2e.capabilities.cdp_page import web
from tests.e2e.capabilities.cdp_site import Answer, Site, site
from tests.wire.harness import DEADLINE_S, own_tasks, until

__all__ = ["web"]


async def test_a_browser_killed_in_the_middle_of_calls_fails_them_all_at_once(
    tmp_path: Path,
) -> None:
    with chromium(tmp_path) as running:
        async with await CDPClient.connect(running.row) as cdp:
            forever = "new Promise(() => 0)"
            calls = [asyncio.create_task(cdp.evaluate(forever, timeout_s=900)) for _ in range(5)]
            waiting = asyncio.create_task(cdp.wait_for("#never", timeout_s=900))
            download = asyncio.create_task(cdp.wait_download(timeout_s=900))
            await until(lambda: len(cdp._link.connection._pending) >= 5)  # pyright: ignore[reportPrivateUsage]
            running.signal(signal.SIGKILL)
            async with asyncio.timeout(DEADLINE_S):
                done = await asyncio.gather(*calls, waiting, download, return_exceptions=True)
            assert [type(error) for error in done] == [CapabilityFault] * 7
            assert "'browser' ended the connection" in str(done[0])
            with pytest.raises(CapabilityFault):
                await cdp.text()


async def test_a_browser_that_hangs_is_a_fault_within_the_limit(tmp_path: Path) -> None:
    with chromium(tmp_path) as running:
        async with await CDPClient.connect(running.row) as cdp:
            assert await cdp.evaluate("1") == 1
            running.signal(signal.SIGSTOP)
            with pytest.raises(CapabilityFault, match="answers nothing any more"):
                await cdp.evaluate("1", timeout_s=0.2)
            running.signal(signal.SIGCONT)


async def test_a_page_that_hangs_is_the_pages_trouble(tmp_path: Path, web: Site) -> None:
    web.pages["/busy"] = "<button onclick='while (true);'>x"
    web.pages["/a"] = "<p>A"
    with chromium(tmp_path) as running:
        async with await CDPClient.connect(running.row) as cdp:
            await cdp.navigate(f"{web.url}/busy")
            await cdp.evaluate("setTimeout(() => { while (true); })")
            with pytest.raises(CDPError, match=r"the page did not answer within 0\.5 s"):
                await cdp.send("Runtime.evaluate", {"expression": "1"}, timeout_s=0.5)
            await cdp.new_tab(f"{web.url}/a")
            assert await cdp.text() == "A"


async def test_a_browser_started_anew_behind_the_address_is_reached_again(
    tmp_path: Path, web: Site
) -> None:
    web.pages["/a"] = "<p>A"
    address: list[str] = []

    async def dial() -> socket.socket:
        host, port = address[0].removeprefix("http://").split(":")
        sock = socket.create_connection((host, int(port)))
        sock.setblocking(False)
        return sock

    with chromium(tmp_path / "first") as first, chromium(tmp_path / "second") as second:
        address[:] = [first.url]
        row = Capability.cdp(url="http://127.0.0.1:9222")
        async with await CDPClient.connect(row, dial=dial) as cdp:
            await cdp.navigate(f"{web.url}/a")
            address[:] = [second.url]
            waiting = asyncio.create_task(cdp.evaluate("new Promise(() => 0)"))
            await until(lambda: bool(cdp._link.connection._pending))  # pyright: ignore[reportPrivateUsage]
            first.signal(signal.SIGKILL)
            with pytest.raises(CDPError, match="was restarted or its connection was cut") as caught:
                await waiting
            assert "its pages are new" in caught.value.message
            assert await cdp.text() == ""
            await cdp.navigate(f"{web.url}/a")
            assert await cdp.text() == "A"


async def test_a_browser_that_died_between_calls_is_told_of_once(tmp_path: Path) -> None:
    address: list[str] = []

    async def dial() -> socket.socket:
        host, port = address[0].removeprefix("http://").split(":")
        sock = socket.create_connection((host, int(port)))
        sock.setblocking(False)
        return sock

    with chromium(tmp_path / "first") as first, chromium(tmp_path / "second") as second:
        address[:] = [first.url]
        row = Capability.cdp(url="http://127.0.0.1:9222")
        async with await CDPClient.connect(row, dial=dial) as cdp:
            address[:] = [second.url]
            first.signal(signal.SIGKILL)
            await until(cdp._link.connection.lost.done)  # pyright: ignore[reportPrivateUsage]
            with pytest.raises(CDPError, match="was restarted"):
                await cdp.text()
            assert await cdp.evaluate("1") == 1


async def test_closing_fails_what_is_pending_and_leaves_nothing(tmp_path: Path) -> None:
    before = own_tasks()
    with chromium(tmp_path) as running:
        cdp = await CDPClient.connect(running.row)
        waiting = asyncio.create_task(cdp.evaluate("new Promise(() => 0)"))
        await until(lambda: bool(cdp._link.connection._pending))  # pyright: ignore[reportPrivateUsage]
        await cdp.close()
        with pytest.raises(CapabilityFault, match="after its client was closed"):
            await waiting
        await cdp.close()
        with pytest.raises(CapabilityFault, match="after its client was closed"):
            await cdp.text()
        assert own_tasks() == before
        async with await CDPClient.connect(running.row) as again:
            assert await again.evaluate("2") == 2


async def test_an_address_where_no_browser_is_answers_with_a_fault(web: Site) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        free = unused.getsockname()[1]
    with pytest.raises(CapabilityFault, match="cannot be reached"):
        await CDPClient.connect(Capability.cdp(url=f"127.0.0.1:{free}"))
    answers: tuple[tuple[Answer, str], ...] = (
        ("<html>", "cannot be reached"),
        ("[]", "no browser's debugging port"),
        ('{"webSocketDebuggerUrl": 7}', "no browser's debugging port"),
        ((500, {}, b""), "answered HTTP 500"),
        ((200, {"Content-Length": "99999999"}, b""), "answered with 99999999 bytes"),
        ('{"webSocketDebuggerUrl": "ws://x/gone"}', "rejected WebSocket connection: HTTP 404"),
    )
    for answer, reason in answers:
        web.pages["/json/version"] = answer
        with pytest.raises(CapabilityFault, match=reason):
            await CDPClient.connect(Capability.cdp(url=web.url))


@pytest.mark.parametrize("url", ["http://", "ftp://127.0.0.1:9222", "ws://127.0.0.1:port", "ws://"])
async def test_what_is_no_address_is_bad_input(url: str) -> None:
    with pytest.raises(InputError, match="is no address of a browser"):
        await CDPClient.connect(Capability("browser", "cdp/1.3", url))


async def test_the_host_and_port_of_the_row_are_dialled_whatever_the_answer_says(
    tmp_path: Path,
) -> None:
    with chromium(tmp_path) as running:
        host, port = running.url.removeprefix("http://").split(":")

        async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            far_reader, far_writer = await asyncio.open_connection(host, int(port))
            async with asyncio.TaskGroup() as group:
                group.create_task(_pump(reader, far_writer, b"Host: 127.0.0.1", b"Host: localhost"))
                group.create_task(_pump(far_reader, writer, b"", b""))

        server = await asyncio.start_server(relay, "127.0.0.1", 0)
        own = server.sockets[0].getsockname()[1]
        for scheme in ("ws", "http"):
            async with await CDPClient.connect(
                Capability.cdp(url=f"{scheme}://127.0.0.1:{own}")
            ) as cdp:
                assert await cdp.evaluate("3") == 3
        server.close()
        await until(lambda: not own_tasks())


async def _pump(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, old: bytes, new: bytes
) -> None:
    while data := await reader.read(1 << 16):
        writer.write(data.replace(old, new) if old else data)
    writer.close()


Behave = Callable[[ServerConnection], Awaitable[None]]


@asynccontextmanager
async def impostor(behave: Behave) -> AsyncGenerator[Capability]:
    """Something that looks like a browser until its websocket is open."""

    def version(connection: ServerConnection, request: Request) -> Response | None:
        if request.path != "/json/version":
            return None
        body = json.dumps({"webSocketDebuggerUrl": "ws://elsewhere:1/devtools/browser/x"})
        headers = Headers({"Content-Length": str(len(body)), "Connection": "close"})
        return Response(200, "OK", headers, body.encode())

    async with serve(behave, "127.0.0.1", 0, process_request=version) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        yield Capability.cdp(url=f"http://127.0.0.1:{port}")


@pytest.mark.parametrize("frame", ["no JSON", "[]", "7", '{"id": 1', "[" * 100_000])
async def test_nonsense_from_a_browser_is_a_fault(frame: str) -> None:
    async def nonsense(connection: ServerConnection) -> None:
        await connection.recv()
        await connection.send(frame)
        await connection.wait_closed()

    async with impostor(nonsense) as row:
        with pytest.raises(CapabilityFault, match=r"sent what is no message|does not answer"):
            await CDPClient.connect(row)


async def test_odd_events_and_replies_are_survived() -> None:
    odd: list[Any] = [
        {"method": "Target.attachedToTarget", "params": {}},
        {"method": "Target.attachedToTarget", "params": {"targetInfo": 7, "sessionId": None}},
        {"method": "Target.targetInfoChanged", "params": {"targetInfo": {}}},
        {"method": "Target.targetCrashed"},
        {"method": 3, "params": []},
        {"id": 99_999, "result": {}},
        {"id": "1", "result": {}},
        {"sessionId": "none", "method": "Page.lifecycleEvent", "params": {}},
        {"method": "Browser.downloadProgress", "params": {"guid": "x"}},
    ]

    async def odd_one(connection: ServerConnection) -> None:
        async for message in connection:
            call = json.loads(message)
            for event in odd:
                await connection.send(json.dumps(event))
            result: dict[str, Any] = {}
            if call["method"] == "Target.createTarget":
                result = {"targetId": "T"}
                info = {"targetId": "T", "type": "page", "url": "u", "title": "t"}
                attached = {"sessionId": "S", "targetInfo": info, "waitingForDebugger": False}
                event = {"method": "Target.attachedToTarget", "params": attached}
                await connection.send(json.dumps(event))
            await connection.send(json.dumps({"id": call["id"], "result": result}))

    async with impostor(odd_one) as row, await CDPClient.connect(row) as cdp:
        assert await cdp.send("Any.thing") == {}
        assert [tab.id for tab in await cdp.tabs()] == ["T"]
        assert await cdp.evaluate("1") is None


async def test_connecting_can_be_cancelled_and_leaves_nothing_open() -> None:
    entered = asyncio.Event()

    async def silent(connection: ServerConnection) -> None:
        entered.set()
        await connection.wait_closed()

    async with impostor(silent) as row:
        before = own_tasks()
        connecting = asyncio.create_task(CDPClient.connect(row))
        await entered.wait()
        connecting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await connecting
        await until(lambda: own_tasks() <= before)


async def test_a_site_that_is_gone_while_a_page_is_shown_is_no_trouble(tmp_path: Path) -> None:
    with chromium(tmp_path) as running:
        async with await CDPClient.connect(running.row) as cdp:
            async with site(a="<p>A") as served:
                await cdp.navigate(f"{served.url}/a")
            assert await cdp.text() == "A"
            with pytest.raises(CDPError, match="ERR_CONNECTION_REFUSED"):
                await cdp.navigate(f"{served.url}/a")
