"""A desktop in its sandbox: ready when it can be used, fresh per episode, mended when it breaks."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any, cast

import pytest

from hud._core.errors import CapabilityFault, InputError
from hud.capabilities.rfb import RFBClient
from hud.environment.desktop import Desktop
from hud.environment.desktop_options import DesktopOptions
from hud.environment.workspace import Workspace
from hud.sandbox.spec import Isolation
from tests.conformance.daemons.rfb import TIGERVNC
from tests.e2e.capabilities.rfb_screen import eventually
from tests.needs import need_module, need_program
from tests.wire.harness import DEADLINE_S, own_tasks

SERVERS = ("tigervnc", "xvfb+x11vnc")
TEXT = "Grüße, 漢字 & 😀!"


@pytest.fixture(autouse=True)
def needed() -> None:
    need_module("PIL")
    for name in ("bwrap", "openbox", "mousepad", "xterm"):
        need_program(name)
    need_program(*TIGERVNC)


@pytest.fixture
async def shell(tmp_path: Path) -> AsyncGenerator[Workspace]:
    workspace = Workspace(tmp_path / "files")
    await workspace.start()
    yield workspace
    await workspace.stop()


class running:  # noqa: N801 -- used as a function
    """A started desktop."""

    def __init__(self, **options: Any) -> None:
        self._desktop = Desktop(**options)

    async def __aenter__(self) -> Desktop:
        await self._desktop.start()
        return self._desktop

    async def __aexit__(self, *exc: object) -> None:
        await self._desktop.stop()


async def dialled(desktop: Desktop) -> socket.socket:
    sock = await desktop.dial()
    assert sock is not None
    return sock


async def connected(desktop: Desktop) -> RFBClient:
    """Connect as an agent does."""
    return await RFBClient.connect(desktop.capability(), dial=lambda: dialled(desktop))


async def processes(desktop: Desktop) -> str:
    done = await desktop.sandbox.run(["ps", "-eo", "args"])
    return done.stdout.decode()


# Being ready.


@pytest.mark.parametrize("server", SERVERS)
async def test_keys_typed_at_once_reach_the_program_it_begins_with(
    server: Any, shell: Workspace
) -> None:
    if server == "xvfb+x11vnc":
        need_program("Xvfb")
        need_program("x11vnc")
    async with running(
        workspace=shell, server=server, programs=["mousepad one.txt", ["mousepad", "two.txt"]]
    ) as desktop:
        row = desktop.capability()
        assert (row.name, row.protocol) == ("screen", "rfb/3.8")
        assert row.params["spare_keys"] > 80
        async with await connected(desktop) as rfb:
            assert (rfb.width, rfb.height) == (1024, 768)
            await rfb.type(TEXT)
            await rfb.press("ctrl+s")
            await eventually(lambda: saved(shell, "two.txt") == TEXT)
    assert saved(shell, "one.txt") == ""


async def test_a_new_file_is_saved_through_the_dialog_that_asks_for_its_name(
    shell: Workspace,
) -> None:
    async with (
        running(workspace=shell, programs=["mousepad"]) as desktop,
        await connected(desktop) as rfb,
    ):
        text = "".join(chr(0x4E00 + 7 * index) for index in range(90)) + " 😀 é"
        await rfb.type(text)
        await rfb.press("ctrl+shift+s")
        await shown(desktop, "Save As")
        await focused(desktop, "Save As")
        await rfb.press("ctrl+a")
        await rfb.type("/workspace/brief 漢.txt")
        async with asyncio.timeout(DEADLINE_S):
            while saved(shell, "brief 漢.txt") != text:
                # The dialog ignores it while it is looking at the folder.
                await rfb.press("Enter")
                await asyncio.sleep(0.2)


async def test_a_text_of_more_characters_than_any_keyboard_has_replaces_a_selection(
    shell: Workspace,
) -> None:
    text = "".join(chr(0x4E00 + 7 * index) for index in range(400))
    async with (
        running(workspace=shell, programs=["mousepad long.txt"]) as desktop,
        await connected(desktop) as rfb,
    ):
        await rfb.type("to be replaced")
        await rfb.press("ctrl+a")
        await rfb.type(text)
        await rfb.press("ctrl+s")
        await eventually(lambda: saved(shell, "long.txt") == text)
        await rfb.press("ctrl+a")
        await rfb.press("ctrl+c")
        assert await rfb.get_clipboard(wait_s=30) == text


async def test_a_program_without_a_window_may_come_first_and_one_that_fails_is_a_fault() -> None:
    async with running(programs=["true", "xterm"]) as desktop:
        assert "xterm" in await processes(desktop)
    for programs, said in (
        (["sh -c 'echo no luck >&2; exit 3'"], r"'sh' ended at once \(exit code 3\).*no luck"),
        (["no-such-program"], "'no-such-program' cannot be started"),
    ):
        desktop = Desktop(programs=programs)
        with pytest.raises(CapabilityFault, match=said):
            await desktop.start()
        with pytest.raises(CapabilityFault, match="is not started"):
            desktop.sandbox  # noqa: B018
    desktop = Desktop(programs=["sleep 1000"], start_timeout_s=5)
    with pytest.raises(CapabilityFault, match=r"'sleep' shows nothing after 5 s"):
        await desktop.start()


async def test_cancelling_a_start_leaves_nothing(tmp_path: Path) -> None:
    before = own_tasks()
    desktop = Desktop(programs=["sleep 1000"])
    starting = asyncio.create_task(desktop.start())
    async with asyncio.timeout(DEADLINE_S):
        while True:
            await asyncio.sleep(0.02)
            with contextlib.suppress(CapabilityFault):
                if "sleep 1000" in await processes(desktop):
                    break
    sandbox = desktop.sandbox
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert not sandbox.is_running
    assert own_tasks() == before


async def test_size_depth_and_no_window_manager_are_as_asked() -> None:
    async with running(
        width=700, height=500, depth=16, window_manager="none", programs=["xterm"]
    ) as desktop:
        assert "openbox" not in await processes(desktop)
        async with await connected(desktop) as rfb:
            assert (rfb.width, rfb.height) == (700, 500)


def test_options_that_cannot_be_are_refused_at_once(tmp_path: Path) -> None:
    shell = Workspace(tmp_path)
    refused: list[tuple[DesktopOptions, str]] = [
        ({"width": 0}, "cannot be 0x768"),
        ({"height": 100_000}, "cannot be"),
        (cast("DesktopOptions", {"depth": 8}), "8 bits"),
        (cast("DesktopOptions", {"server": "weston"}), "unknown desktop server 'weston'"),
        ({"display": -1}, "display number -1"),
        ({"programs": [""]}, "is empty"),
        ({"programs": ["'"]}, "cannot read the command line"),
        ({"workspace": shell, "network": True}, "'network' is not its own to choose"),
        ({"workspace": shell, "keep_running": True}, "cannot be kept running"),
    ]
    for options, said in refused:
        with pytest.raises(InputError, match=said):
            Desktop(**options)
    with pytest.raises(TypeError, match="no option 'colour'"):
        Desktop(colour="blue")  # type: ignore[call-arg]


async def test_a_window_manager_that_is_not_installed_is_named() -> None:
    with pytest.raises(InputError, match="'no-such-wm' is not installed"):
        await Desktop(window_manager="no-such-wm --flag").start()


# Episodes.


async def test_every_episode_begins_afresh_and_ends_with_nothing_running() -> None:
    async with running(programs=["xterm"]) as desktop:
        for _ in range(2):
            agent = await connected(desktop)
            await agent.type("sleep 1000 & mousepad\n")
            await shown(desktop, "Mousepad")
            sandbox = desktop.sandbox
            await desktop.end_episode()
            assert not sandbox.is_running
            picture = desktop.last_screenshot
            assert picture is not None and (picture.width, picture.height) == (1024, 768)
            with pytest.raises(CapabilityFault):
                await agent.screenshot()
            with pytest.raises(CapabilityFault, match="between episodes"):
                await desktop.dial()
            await agent.close()
            await desktop.begin_episode()
            assert "mousepad" not in await processes(desktop)
            assert "sleep" not in await processes(desktop)


async def test_it_can_be_left_running_for_a_grader_that_looks() -> None:
    async with running(programs=["xterm"], keep_running=True) as desktop:
        agent = await connected(desktop)
        await agent.type("echo forty-two\n")
        await desktop.end_episode()
        with pytest.raises(CapabilityFault):
            await agent.screenshot()
        async with desktop.client() as rfb:
            assert desktop.last_screenshot is not None
            assert (await rfb.screenshot()).width == 1024
        await agent.close()
        await desktop.begin_episode()
        async with await connected(desktop) as rfb:
            assert rfb.width == 1024


async def test_it_starts_and_stops_again_and_again() -> None:
    desktop = Desktop()
    before = own_tasks()
    await desktop.stop()
    for _ in range(2):
        await desktop.start()
        await desktop.start()
        sandbox = desktop.sandbox
        await desktop.stop()
        await desktop.stop()
        assert not sandbox.is_running
        with pytest.raises(CapabilityFault, match="does not run"):
            desktop.display  # noqa: B018
    assert own_tasks() == before


async def test_two_desktops_share_a_workspace(shell: Workspace) -> None:
    async with (
        running(name="left", workspace=shell, programs=["mousepad left.txt"]) as left,
        running(name="right", workspace=shell, width=800, programs=["mousepad right.txt"]) as right,
    ):
        assert (left.display, right.display) == (0, 1)
        assert left.capability().address != right.capability().address
        async with await connected(left) as one, await connected(right) as two:
            assert (one.width, two.width) == (1024, 800)
            for rfb, text in ((one, "on the left"), (two, "on the right")):
                await rfb.type(text)
                await rfb.press("ctrl+s")
            await eventually(lambda: saved(shell, "left.txt") == "on the left")
            await eventually(lambda: saved(shell, "right.txt") == "on the right")
        await left.stop()
        async with await connected(right) as two:
            assert two.width == 800
        await left.start()
        assert left.display == 0


async def test_a_workspace_and_its_desktop_go_through_episodes_together(shell: Workspace) -> None:
    async with running(workspace=shell, programs=["mousepad note.txt"]) as desktop:
        for text in ("first", "second"):
            async with await connected(desktop) as rfb:
                await rfb.press("ctrl+a")
                await rfb.type(text)
                await rfb.press("ctrl+s")
                await eventually(lambda text=text: saved(shell, "note.txt") == text)
            await desktop.end_episode()
            await shell.end_episode()
            await shell.begin_episode()
            await desktop.begin_episode()


# Being mended.


async def test_a_window_manager_that_dies_is_started_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING)
    async with running(programs=["xterm"]) as desktop, await connected(desktop) as rfb:
        await rfb.type("kill -9 $(pgrep -x openbox); mousepad\n")
        await shown(desktop, "Mousepad")
        assert "window manager ended" in caplog.text
        assert "openbox" in await processes(desktop)
        assert (await rfb.screenshot()).width == 1024


async def test_a_screen_that_dies_is_there_again_when_it_is_next_looked_at(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with running(programs=["xterm"]) as desktop, await connected(desktop) as rfb:
        for _ in range(2):
            await rfb.type("pkill -9 -f tigervnc\n")
            await eventually(lambda: rfb.link.is_lost)
            assert (await rfb.screenshot()).width == 1024
            assert "xterm" in await processes(desktop)
        assert "it is started again" in caplog.text


async def test_what_an_agent_writes_without_end_does_no_harm() -> None:
    async with running(programs=["xterm"]) as desktop, await connected(desktop) as rfb:
        await desktop.sandbox.run(["sh", "-c", "timeout 1 yes >/proc/$(pgrep -x openbox)/fd/1"])
        assert (await rfb.screenshot()).width == 1024
        assert desktop.log_tail and len(desktop.log_tail) <= 8192


# The walls.


@pytest.fixture(params=["bwrap", "uid"])
def isolation(request: pytest.FixtureRequest) -> Isolation:
    if request.param == "uid" and os.geteuid() != 0:
        pytest.skip("isolation by uid needs root")
    return request.param


async def test_programs_reach_neither_files_nor_services_of_the_host(
    isolation: Isolation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-very-secret-key")
    secret = tmp_path / "hidden.txt"
    secret.write_text("secret of the host")
    tmp_path.chmod(0o755)
    asked = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.set()
        writer.close()

    listener = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    try:
        async with running(isolation=isolation, programs=["xterm"]) as desktop:
            assert desktop.isolation == isolation
            assert (desktop.untrusted_uid is None) == (isolation == "bwrap")
            async with await connected(desktop) as rfb:
                script = f"cat {secret} /root/.bashrc /etc/shadow /proc/[0-9]*/environ"
                dial = f"exec 3<>/dev/tcp/127.0.0.1/{port}"
                await rfb.type(f"({script}; bash -c '{dial}') >~/got 2>&1; mv ~/got ~/done\n")
                home = desktop.sandbox.home
                done = None
                async with asyncio.timeout(DEADLINE_S):
                    while done is None or done.exit_code != 0:
                        done = await desktop.sandbox.run(["cat", f"{home}/done"])
                said = done.stdout.decode(errors="replace")
                assert "secret of the host" not in said
                assert "very-secret" not in said
                assert "ermission denied" in said
                assert not asked.is_set()
    finally:
        listener.close()
        await listener.wait_closed()


async def test_nothing_listens_on_the_host(isolation: Isolation) -> None:
    async with running(isolation=isolation, programs=["xterm"]) as desktop:
        for port in (5900 + desktop.display, 6000 + desktop.display):
            with socket.socket() as sock, pytest.raises(ConnectionRefusedError):
                sock.connect(("127.0.0.1", port))
        async with await connected(desktop) as rfb:
            await rfb.type(TEXT)
            await rfb.press("ctrl+a")
        display = desktop.display
    if isolation == "uid":
        assert not Path(f"/tmp/.X11-unix/X{display}").exists()
        assert not Path(f"/tmp/.X{display}-lock").exists()


def saved(shell: Workspace, name: str) -> str:
    try:
        return (shell.root / name).read_text(encoding="utf-8")
    except FileNotFoundError:
        return ""


async def focused(desktop: Desktop, title: str) -> None:
    """Wait until a window of this title has the keyboard."""
    ask = ["xdotool", "getwindowfocus", "getwindowname"]
    async with asyncio.timeout(DEADLINE_S):
        while True:
            done = await desktop.sandbox.run(ask, env={"DISPLAY": f":{desktop.display}"})
            if title in done.stdout.decode("utf-8", "replace"):
                return


async def shown(desktop: Desktop, title: str) -> None:
    """Wait until a window of this title is shown."""
    need_program("xdotool")
    search = ["xdotool", "search", "--onlyvisible", "--name", title]
    async with asyncio.timeout(DEADLINE_S):
        while True:
            done = await desktop.sandbox.run(search, env={"DISPLAY": f":{desktop.display}"})
            # It fails also when some window goes away while it is looking.
            if done.exit_code == 0:
                return
