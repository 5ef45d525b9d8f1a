"""Services outside that a sandbox reaches by name: from a browser and a shell, in two at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import pytest

from hud.capabilities.cdp import CDPError
from hud.capabilities.ssh import SSHClient
from hud.environment.browser import Browser
from hud.environment.workspace import Workspace
from hud.errors import CapabilityFault
from hud.sandbox.confinement import free_port
from hud.sandbox.spec import Isolation, Peer
from tests.conformance.daemons.cdp import NAMES
from tests.e2e.capabilities.cdp_site import Site, site
from tests.needs import need_program
from tests.security.world import DEADLINE_S, need_isolation


@pytest.fixture(params=["bwrap", "uid"])
def isolation(request: pytest.FixtureRequest) -> Isolation:
    need_isolation(str(request.param))
    return request.param


@pytest.fixture
async def web() -> AsyncGenerator[Site]:
    async with site(a="<title>shop</title>") as served:
        yield served


def reaching(web: Site, name: str = "shop", port: int = 8080) -> Peer:
    return Peer(name, port, ("127.0.0.1", int(web.url.rpartition(":")[2])))


async def test_two_browsers_at_once_reach_a_peer_by_the_same_name_and_port(
    isolation: Isolation, web: Site
) -> None:
    need_program(*NAMES)
    peers = [reaching(web), reaching(web, "till.example", 8081)]
    browsers = [Browser(isolation=isolation, peers=peers) for _ in range(2)]
    try:
        for browser in browsers:
            await browser.start()
        for browser in browsers:
            async with browser.client() as cdp:
                await cdp.navigate("http://shop:8080/a")
                assert await cdp.evaluate("document.title") == "shop"
                await cdp.navigate("http://till.example:8081/a")
                assert await cdp.evaluate("document.title") == "shop"
    finally:
        for browser in browsers:
            await browser.stop()
    assert web.asked.count("GET /a") == 4


async def test_a_peer_beside_the_network_is_reached_past_the_proxy(
    isolation: Isolation, web: Site
) -> None:
    need_program(*NAMES)
    browser = Browser(isolation=isolation, peers=[reaching(web)], network=True)
    await browser.start()
    try:
        async with browser.client() as cdp:
            await cdp.navigate("http://shop:8080/a")
            assert await cdp.evaluate("document.title") == "shop"
    finally:
        await browser.stop()


@pytest.mark.parametrize("network", [False, True])
async def test_a_shell_finds_a_peer_by_its_variable(
    isolation: Isolation, web: Site, network: bool
) -> None:
    """And by its name where it has names of its own."""
    need_program("curl")
    shells = [
        Workspace(isolation=isolation, peers=[reaching(web)], network=network) for _ in range(2)
    ]
    try:
        for shell in shells:
            await shell.start()
        for shell in shells:
            async with await SSHClient.connect(shell.capability()) as ssh:
                fetch = "curl -sS http://$SHOP_ADDRESS/a"
                found = await ssh.execute(fetch, timeout_s=DEADLINE_S)
                assert found.stdout == "<title>shop</title>", found
                if isolation == "bwrap":
                    found = await ssh.execute("curl -sS http://shop:8080/a", timeout_s=DEADLINE_S)
                    assert found.stdout == "<title>shop</title>", found
    finally:
        for shell in shells:
            await shell.stop()


async def test_a_port_that_is_taken_is_a_fault_that_says_so() -> None:
    need_isolation("uid")
    shell = Workspace(isolation="uid", peers=[Peer("a", 8080), Peer("b", 8080)])
    with pytest.raises(CapabilityFault, match=r"peer 'b' cannot be reached.* port 8080") as caught:
        await shell.start()
    assert caught.value.hint


async def test_a_page_reaches_no_port_of_this_machine_not_even_one_numbered_as_its_own(
    isolation: Isolation,
) -> None:
    """The browser listens for its driver, and connects to nothing."""
    need_program(*NAMES)
    browser = Browser(isolation=isolation)
    await browser.start()
    try:
        address = browser.capability().address
        assert address is not None
        callers: list[str] = []

        def called(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            callers.append(str(writer.get_extra_info("peername")))
            writer.close()

        server = await asyncio.start_server(called, "127.0.0.2", address[1])
        async with server, browser.client() as cdp:
            reader, writer = await asyncio.open_connection("127.0.0.2", address[1])
            assert await reader.read() == b""
            writer.close()
            # By namespaces 127.0.0.1 is the sandbox's own, where its own port is.
            for host in ("127.0.0.2", *(["127.0.0.1"] if isolation == "uid" else [])):
                with pytest.raises(CDPError, match="net::ERR_"):
                    await cdp.navigate(f"http://{host}:{address[1]}/json/version")
        assert len(callers) == 1, callers
    finally:
        await browser.stop()


async def test_a_browser_in_a_workspace_reaches_the_server_of_its_shell(
    isolation: Isolation,
) -> None:
    need_program(*NAMES)
    port = free_port()
    shell = Workspace(isolation=isolation, ports=[port])
    browser = Browser(workspace=shell)
    try:
        await shell.start()
        await browser.start()
        async with await SSHClient.connect(shell.capability()) as ssh:
            await ssh.write_text("page.html", "<title>of the shell</title>")
            found = await ssh.execute(
                f"python3 -m http.server -b 127.0.0.1 {port} >/dev/null 2>&1 & "
                f"until curl -sfo /dev/null http://127.0.0.1:{port}/; do sleep 0.1; done",
                timeout_s=DEADLINE_S,
            )
            assert found.exit_status == 0, found
            async with browser.client() as cdp:
                await cdp.navigate(f"http://localhost:{port}/page.html")
                assert await cdp.evaluate("document.title") == "of the shell"
    finally:
        await browser.stop()
        await shell.stop()
