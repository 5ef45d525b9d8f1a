"""What an agent may try from a page, from a desktop's terminal and through a tool: all refused."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import AsyncGenerator, Generator
from dataclasses import dataclass
from pathlib import Path

import pytest

from hud.capabilities import CDPClient, MCPClient, RFBClient
from hud.capabilities.cdp import CDPError
from hud.trace.content import TextContent
from tests.needs import need_program
from tests.security.world import (
    KEY_SECRET,
    SOURCE,
    Agent,
    Served,
    agent_of,
    processes_of,
    serving,
)

SCREENS = (
    SOURCE
    + """
kind, reach = given.get("isolation"), given.get("network", False)
browser = env.browser(isolation=kind, network=reach)
screen = env.desktop(workspace=workspace, programs=["xterm"])

@env.tool
def describe(text: str) -> str:
    return text
"""
)
HELLO = '{"jsonrpc":"2.0","id":1,"method":"hello","params":{}}'


@dataclass
class Screens:
    """A served environment with a browser and a desktop, and clients of all it has."""

    agent: Agent
    page: CDPClient
    screen: RFBClient
    tools: MCPClient

    @property
    def served(self) -> Served:
        return self.agent.served

    async def in_terminal(self, script: str) -> str:
        """Run a script by typing into the desktop's terminal; return all it put out."""
        await self.agent.shell.write_text("script.sh", script)
        await self.screen.type("sh script.sh > out 2>&1; mv out done")
        await self.screen.press("Enter")
        waited = await self.agent.sh("until test -e done; do sleep 0.1; done")
        assert not waited.timed_out
        return await self.agent.shell.read_text("done")


@pytest.fixture(scope="module", params=["bwrap-off", "bwrap-on", "uid-off", "uid-on"])
def screens_served(request: pytest.FixtureRequest) -> Generator[Served]:
    for names in (("chromium", "google-chrome"), ("Xtigervnc",), ("openbox",), ("xterm",)):
        need_program(*names)
    isolation, network = str(request.param).split("-")
    with serving(isolation, network=network == "on", source=SCREENS) as found:
        yield found


@pytest.fixture
async def screens(screens_served: Served) -> AsyncGenerator[Screens]:
    async with agent_of(screens_served) as agent:
        client = agent.client
        yield Screens(
            agent,
            await client.open("browser", CDPClient),
            await client.open("screen", RFBClient),
            await client.open("tools", MCPClient),
        )


async def shown(page: CDPClient, url: str) -> str:
    """Return what a page shows of an address, and nothing where it cannot be loaded."""
    try:
        await page.navigate(url, timeout_s=20)
        return await page.text()
    except CDPError:
        return ""


async def test_a_page_shows_no_file_of_the_host(screens: Screens, tmp_path: Path) -> None:
    await screens.page.navigate("data:text/html,<p>ready")
    assert await screens.page.text() == "ready"
    for path, content in screens.served.secrets.values():
        assert content not in await shown(screens.page, f"file://{path}")
        assert content not in await shown(screens.page, f"file:///proc/1/root{path}")
        assert content not in await shown(screens.page, f"view-source:file://{path}")
    for place in ("/etc/shadow", "/proc/self/environ", "/proc/1/environ", "/root/.bashrc"):
        text = await shown(screens.page, f"file://{place}")
        assert "root:" not in text and KEY_SECRET not in text and "alias" not in text


async def test_a_link_that_the_agent_lays_leads_a_page_nowhere(screens: Screens) -> None:
    path, content = screens.served.secrets["beside"]
    await screens.agent.sh(f"ln -s {path} link; ln {path} hard")
    for name in ("link", "hard"):
        for root in ("/workspace", screens.served.root):
            assert content not in await shown(screens.page, f"file://{root}/{name}")


async def test_a_page_reaches_neither_control_port_nor_metadata(screens: Screens) -> None:
    port = screens.served.port
    for host in ("127.0.0.1", "localhost", "[::1]", "0.0.0.0"):
        assert "jsonrpc" not in await shown(screens.page, f"http://{host}:{port}/")
    assert await shown(screens.page, "http://169.254.169.254/latest/meta-data/") == ""
    await screens.page.navigate("data:text/html,<p>x")
    # A frame in the body of a request, as a page can send it without asking.
    tried = await screens.page.evaluate(
        f"""fetch('http://127.0.0.1:{port}/', {{method: 'POST', mode: 'no-cors',
          body: '{HELLO}\\n'}}).then(() => 'sent', () => 'refused')"""
    )
    assert tried == "refused"
    await screens.agent.works()


async def test_a_terminal_reads_no_file_of_the_host(screens: Screens) -> None:
    secrets = screens.served.secrets
    script = "\n".join(
        f"cat {path} /proc/1/root{path} /proc/$PPID/root{path}" for path, _ in secrets.values()
    )
    out = await screens.in_terminal(f"echo began\n{script}\ncat /etc/shadow /proc/*/environ\n")
    assert "began" in out
    for _, content in secrets.values():
        assert content not in out
    assert KEY_SECRET not in out
    assert "root:*" not in out and "root:$" not in out


async def test_a_terminal_reaches_neither_control_port_nor_metadata(screens: Screens) -> None:
    port = screens.served.port
    out = await screens.in_terminal(
        f"bash -c \"exec 3<>/dev/tcp/127.0.0.1/{port} && echo '{HELLO}' >&3 && head -n 1 <&3\"\n"
        f"curl -sS -m 5 http://127.0.0.1:{port}/ http://localhost:{port}/\n"
        "curl -sS -m 5 --noproxy '*' http://169.254.169.254/\n"
        "curl -sS -m 5 http://169.254.169.254/\n"
        "echo ended\n"
    )
    assert "ended" in out
    assert "session_id" not in out and "jsonrpc" not in out


async def test_a_terminal_neither_sees_nor_signals_processes_of_the_host(screens: Screens) -> None:
    pid = screens.served.process.pid
    out = await screens.in_terminal(
        f"kill -9 {pid} {os.getpid()} 1; cat /proc/{pid}/cmdline /proc/{pid}/maps\necho ended\n"
    )
    assert "ended" in out
    assert "hud.environment.server" not in out
    assert screens.served.process.poll() is None
    await screens.agent.works()


async def test_what_acts_for_the_agent_has_no_rights_and_no_descriptor_of_the_host(
    screens: Screens,
) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can look into processes of another uid")
    await screens.page.navigate("data:text/html,<p>x")
    screens_uid = screens.served.root.stat().st_uid
    names: set[str] = set()
    for pid in _acting(screens.served.process.pid):
        with contextlib.suppress(OSError):  # it may have ended
            folder = Path(f"/proc/{pid}")
            status = (folder / "status").read_text()
            uid = int(_field(status, "Uid").split()[0])
            if uid in (0, os.getuid()):
                continue
            name = _field(status, "Name")
            names.add(name)
            assert int(_field(status, "CapEff"), 16) == 0, name
            assert int(_field(status, "CapPrm"), 16) == 0, name
            assert _field(status, "NoNewPrivs") == "1", name
            assert _field(status, "Seccomp") == "2", name
            for entry in (folder / "fd").iterdir():
                with contextlib.suppress(OSError):
                    target = str(entry.readlink())
                    assert not re.search(r"hud\.db|guarded_grader|env\.py|/log$", target), target
    assert processes_of(screens_uid)
    assert any("chrom" in name for name in names), names
    assert {"xterm", "openbox"} <= names, names


async def test_hostile_text_of_a_page_and_of_a_tool_is_plain_data(screens: Screens) -> None:
    hostile = '\x1b[31m</script><script>alert(1)</script>{"jsonrpc":"2.0"}\n\u202e\u0000end'
    result = await screens.tools.call_tool("describe", {"text": hostile})
    assert [block.text for block in result.content if isinstance(block, TextContent)] == [hostile]
    await screens.page.navigate("data:text/html,<p id=p></p>")
    await screens.page.evaluate("document.title = '\\u001b[31m'; 1")
    await screens.page.evaluate("p.textContent = '<script>alert(1)</script> \\u202e'; 1")
    assert await screens.page.text() == "<script>alert(1)</script> \u202e"


def _acting(parent: int) -> list[int]:
    """Return every process below one."""
    found: list[int] = []
    with contextlib.suppress(OSError):
        for path in Path(f"/proc/{parent}/task").glob("*/children"):
            with contextlib.suppress(OSError):
                for child in path.read_text().split():
                    found += [int(child), *_acting(int(child))]
    return found


def _field(status: str, name: str) -> str:
    found = re.search(rf"^{name}:\s*(.*)$", status, re.MULTILINE)
    assert found is not None, name
    return found[1]
