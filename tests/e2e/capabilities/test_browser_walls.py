"""What a page, and whoever drives the browser, cannot reach from inside its sandbox."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import tempfile
from collections.abc import AsyncGenerator, Callable
from pathlib import Path

import pytest

from hud._core.errors import InputError
from hud._core.processes import descendants_of
from hud.capabilities.cdp import CDPClient, CDPError, NavigationError
from hud.environment.browser import Browser
from hud.environment.workspace import Workspace
from hud.sandbox.spec import Isolation
from tests.conformance.daemons.cdp import NAMES
from tests.e2e.capabilities.cdp_site import Site, site
from tests.needs import need_program
from tests.wire.harness import DEADLINE_S


@pytest.fixture(autouse=True)
def needed() -> None:
    need_program(*NAMES)
    need_program("bwrap")


@pytest.fixture
async def web() -> AsyncGenerator[Site]:
    async with site(a="<p>secret of the host") as served:
        yield served


@pytest.fixture(params=["bwrap", "uid"])
async def browser(request: pytest.FixtureRequest) -> AsyncGenerator[Browser]:
    isolation: Isolation = request.param
    if isolation == "uid" and os.geteuid() != 0:
        pytest.skip("isolation by uid needs root")
    made = Browser(isolation=isolation)
    await made.start()
    yield made
    await made.stop()


async def refused(cdp: CDPClient, url: str) -> str:
    with pytest.raises(CDPError, match="net::ERR_") as caught:
        await cdp.navigate(url)
    return caught.value.message


async def test_services_of_the_host_and_the_network_are_out_of_reach(
    browser: Browser, web: Site
) -> None:
    port = web.url.rpartition(":")[2]
    async with browser.client() as cdp:
        for url in (
            f"{web.url}/a",
            f"http://localhost:{port}/a",
            f"http://[::1]:{port}/a",
            "http://169.254.169.254/latest/meta-data/",
            "http://192.0.2.1/",
            "http://example.com/",
        ):
            await refused(cdp, url)
        # Nor from a script, over any of its ways out.
        await cdp.navigate("data:text/html,<p>x")
        tried = await cdp.evaluate(
            f"""Promise.allSettled([fetch('{web.url}/a', {{mode: 'no-cors'}}),
              new Promise((yes, no) => {{ const s = new WebSocket('ws://127.0.0.1:{port}/');
                s.onopen = yes; s.onerror = no; }}),
              new Promise((yes, no) => {{ const i = new Image(); i.onload = yes; i.onerror = no;
                i.src = '{web.url}/a'; }})]).then((all) => all.map((one) => one.status))"""
        )
        assert tried == ["rejected"] * 3
    assert web.asked == []


async def test_files_of_the_host_are_out_of_reach(browser: Browser, tmp_path: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("secret of the host")
    async with browser.client() as cdp:
        for url in (
            f"file://{secret}",
            "file:///etc/shadow",
            f"file:///proc/{os.getpid()}/environ",
        ):
            await refused(cdp, url)
        for path in ("file:///root/", "file:///home/", "file:///proc/1/root/root/"):
            try:
                await cdp.navigate(path)
            except CDPError:
                continue
            listing = await cdp.text()
            assert "hud-" not in listing
            assert ".ssh" not in listing
            assert ".bashrc" not in listing


async def test_it_sees_no_variable_of_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HUD_API_KEY", "sk-very-secret-key")
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-very-secret-key")
    browser = Browser(env={"GREETING": "hello"})
    await browser.start()
    try:
        found = await browser.sandbox.run(["/bin/sh", "-c", "cat /proc/[0-9]*/environ"])
        assert b"GREETING=hello" in found.stdout
        assert b"very-secret" not in found.stdout
    finally:
        await browser.stop()


async def test_its_debugging_port_is_open_to_nobody_on_the_host() -> None:
    browser = Browser()
    await browser.start()
    try:
        address = browser.capability().address
        assert address is not None
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(*address)
    finally:
        await browser.stop()


@pytest.mark.parametrize("isolation", ["bwrap", "uid"])
async def test_with_the_network_on_the_host_and_its_neighbours_stay_closed(
    isolation: Isolation, web: Site
) -> None:
    if isolation == "uid" and os.geteuid() != 0:
        pytest.skip("isolation by uid needs root")
    port = web.url.rpartition(":")[2]
    browser = Browser(isolation=isolation, network=True)
    await browser.start()
    try:
        async with browser.client() as cdp:
            for url in (f"{web.url}/a", f"http://localhost:{port}/a", f"http://[::1]:{port}/a"):
                await refused(cdp, url)
            # What is no loopback goes through the proxy, which says no itself.
            for host in (
                "169.254.169.254",
                f"[::ffff:127.0.0.1]:{port}",
                "10.0.0.1",
                "192.168.0.1",
            ):
                try:
                    went = await cdp.navigate(f"http://{host}/", timeout_s=DEADLINE_S)
                except NavigationError:
                    continue
                assert went.status == 403, await cdp.text()
    finally:
        await browser.stop()
    assert web.asked == []


async def test_an_allowlist_of_hosts_goes_through_the_proxy() -> None:
    browser = Browser(allowed_hosts=["allowed.example"])
    await browser.start()
    try:
        async with browser.client() as cdp:
            went = await cdp.navigate("http://denied.example/")
            assert went.status == 403
            assert "denied.example" in await cdp.text()
            await refused(cdp, "https://denied.example/")
    finally:
        await browser.stop()


async def test_a_page_cannot_drive_the_browser_it_is_shown_in(browser: Browser) -> None:
    address = browser.capability().address
    assert address is not None
    async with browser.client() as cdp:
        await cdp.navigate("data:text/html,<p>x")
        base = f"127.0.0.1:{address[1]}"
        (tab,) = await cdp.tabs()
        tried = await cdp.evaluate(
            f"""Promise.allSettled([fetch('http://{base}/json/version').then((r) => r.text()),
              new Promise((yes, no) => {{
                const s = new WebSocket('ws://{base}/devtools/page/{tab.id}');
                s.onopen = yes; s.onerror = no; }})]).then((all) => all.map((one) => one.status))"""
        )
        assert tried == ["rejected"] * 2


async def test_a_server_of_the_workspace_is_reached_and_its_files_are_too(tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("<p>from the workspace")
    workspace = Workspace(tmp_path, python=True)
    await workspace.start()
    browser = Browser(workspace=workspace)
    try:
        await browser.start()
        serving = "import http.server as h; s = h.HTTPServer(('127.0.0.1', 8000), "
        serving += "h.SimpleHTTPRequestHandler); print(flush=True); s.serve_forever()"
        read, write = os.pipe()
        with os.fdopen(read) as said:
            started = await workspace.sandbox.spawn(["python3", "-c", serving], stdout=write)
            os.close(write)
            assert await asyncio.to_thread(said.readline) == "\n"
            async with browser.client() as cdp:
                await cdp.navigate("http://localhost:8000/")
                assert await cdp.text() == "from the workspace"
                await cdp.navigate("file:///workspace/index.html")
                assert await cdp.text() == "from the workspace"
                await cdp.navigate("data:text/html,<a download=f.txt href=data:,hi>get</a>")
                await cdp.click(selector="a")
                assert (await cdp.wait_download()).path == "/workspace/downloads/f.txt"
            started.kill()
        assert workspace.read_bytes("downloads/f.txt") == b"hi"
        assert browser.read_download("f.txt") == b"hi"
    finally:
        await browser.stop()
        await workspace.stop()


async def test_grading_stops_the_workspace_and_the_browser_begins_again(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    await workspace.start()
    browser = Browser(workspace=workspace, url="data:text/html,<p>start")
    try:
        await browser.start()
        (tmp_path / "a.html").write_text("<p>A")
        async with browser.client() as cdp:
            await cdp.navigate("file:///workspace/a.html")
            await cdp.evaluate("localStorage.x = 'kept'")
            await cdp.navigate("about:blank")
        await browser.end_episode()
        await workspace.end_episode()
        async with browser.client() as cdp:
            assert await cdp.text() == "start"
        await workspace.begin_episode()
        await browser.begin_episode()
        async with browser.client() as cdp:
            assert await cdp.text() == "start"
            await cdp.navigate("file:///workspace/a.html")
            assert await cdp.evaluate("localStorage.x ?? null") is None
    finally:
        await browser.stop()
        await workspace.stop()
    with pytest.raises(InputError, match="'network' is not its own to choose"):
        Browser(workspace=workspace, network=True)


PARENT = """
import asyncio, sys
from hud.environment.browser import Browser

async def main():
    browser = Browser(isolation=sys.argv[1])
    await browser.start()
    print(browser.sandbox.pid, flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


@pytest.mark.parametrize("isolation", ["bwrap", "uid"])
async def test_no_chromium_outlives_a_killed_parent(isolation: str) -> None:
    if isolation == "uid" and os.geteuid() != 0:
        pytest.skip("isolation by uid needs root")
    # Where the uid of the sandbox gets to as well, unlike in the folder of a test.
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o711)
        await die_with_the_parent(isolation, {**os.environ, "TMPDIR": folder})


async def die_with_the_parent(isolation: str, env: dict[str, str]) -> None:
    parent = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        PARENT,
        isolation,
        env=env,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert parent.stdout is not None
        async with asyncio.timeout(DEADLINE_S):
            holder = int(await parent.stdout.readline())
        family = [holder, *descendants_of(holder)]
        assert any("chrom" in name_of(pid) for pid in family)
        parent.send_signal(signal.SIGKILL)
        await parent.wait()
        await gone(lambda: not any(name_of(pid) for pid in family))
    finally:
        if parent.returncode is None:
            parent.kill()
            await parent.wait()


def name_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""


async def gone(holds: Callable[[], bool]) -> None:
    """Wait for what another process does; nothing here is told of it."""
    async with asyncio.timeout(DEADLINE_S):
        while not holds():  # noqa: ASYNC110
            await asyncio.sleep(0.02)
