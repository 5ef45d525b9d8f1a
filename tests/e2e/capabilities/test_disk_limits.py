"""A browser and a desktop that write without end: bounded, and there again afterwards."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from hud.capabilities.cdp import CDPClient
from hud.capabilities.rfb import RFBClient
from hud.environment.browser import Browser
from hud.environment.daemon import Daemon
from hud.environment.desktop import Desktop
from hud.errors import CapabilityFault, HudError
from hud.sandbox import files
from hud.sandbox.spec import Isolation, Limits
from tests.conformance.daemons.cdp import NAMES
from tests.needs import need_program
from tests.security.world import lair, need_isolation

DEADLINE_S = 120.0
MB = 1 << 20
DOWNLOAD = """(() => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([new Uint8Array(10 << 20).fill(7)]));
    link.download = "big.bin";
    document.body.append(link);
    link.click();
})()"""


@pytest.fixture(params=["bwrap", "uid"])
def isolation(request: pytest.FixtureRequest) -> Isolation:
    need_isolation(str(request.param))
    return request.param


def held(folder: Path) -> int:
    try:
        return files.usage(folder, max_files=None, max_bytes=None).bytes
    except OSError:
        return 0


def dialling(daemon: Daemon) -> Callable[[], Awaitable[socket.socket]]:
    """Return what connects as an agent does."""

    async def dial() -> socket.socket:
        connection = await daemon.dial()
        assert connection is not None
        return connection

    return dial


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    """Wait for what other processes do, which tell nobody."""
    async with asyncio.timeout(DEADLINE_S):
        while not await holds():  # noqa: ASYNC110
            await asyncio.sleep(0.05)


async def test_downloads_beyond_the_limit_end_the_browser_and_go(isolation: Isolation) -> None:
    need_program(*NAMES)
    browser = Browser(isolation=isolation, limits=Limits(disk_mb=20))
    await browser.start()
    try:
        ended = browser.sandbox.after_sweep
        sweeps: list[None] = []

        def told() -> None:
            sweeps.append(None)

        ended.add(told)

        async def downloaded() -> bool:
            try:
                async with await CDPClient.connect(
                    browser.capability(), dial=dialling(browser)
                ) as cdp:
                    await cdp.evaluate(DOWNLOAD)
            except HudError:
                pass
            return bool(sweeps)

        await until(downloaded)

        async def has_room() -> bool:
            return held(browser.downloads) <= 21 * MB

        await until(has_room)
        async with browser.client() as cdp:
            assert await cdp.evaluate("6 * 7") == 42
    finally:
        await browser.stop()


async def test_a_folder_of_yours_keeps_what_was_in_it(isolation: Isolation) -> None:
    need_program(*NAMES)
    with lair() as place:
        folder = place / "downloads"
        folder.mkdir()
        (folder / "yours").write_bytes(b"x" * (30 * MB))
        browser = Browser(isolation=isolation, limits=Limits(disk_mb=20), downloads=folder)
        await browser.start()
        try:
            gone: list[None] = []

            def told() -> None:
                gone.append(None)

            browser.sandbox.after_sweep.add(told)

            async def downloaded() -> bool:
                try:
                    async with browser.client() as cdp:
                        await cdp.evaluate(DOWNLOAD)
                except HudError:
                    pass
                return bool(gone)

            await until(downloaded)

            async def is_alone() -> bool:
                return [entry.name for entry in folder.iterdir()] == ["yours"]

            await until(is_alone)
        finally:
            await browser.stop()


async def test_a_home_on_the_disk_is_bounded_too() -> None:
    need_isolation("uid")
    need_program(*NAMES)
    browser = Browser(isolation="uid", limits=Limits(memory_mb=1024))
    await browser.start()
    try:
        sandbox = browser.sandbox
        fill = "until dd if=/dev/zero bs=1M count=1100 of=$HOME/big; do :; done; sleep 600"
        await sandbox.spawn(["/bin/sh", "-c", fill])

        async def has_room() -> bool:
            return not Path(sandbox.home, "big").exists() or held(Path(sandbox.home)) == 0

        async def was_filled() -> bool:
            return held(Path(sandbox.home)) > 500 * MB

        await until(was_filled)
        await until(has_room)
        async with browser.client() as cdp:
            assert await cdp.evaluate("6 * 7") == 42
    finally:
        await browser.stop()


async def test_a_desktops_home_is_bounded_and_its_screen_is_there_again() -> None:
    need_isolation("uid")
    need_program("Xvnc", "Xvfb")
    need_program("openbox")
    desktop = Desktop(isolation="uid", limits=Limits(memory_mb=600))
    await desktop.start()
    try:
        sandbox = desktop.sandbox
        before = desktop.display
        fill = "dd if=/dev/zero bs=1M count=700 of=$HOME/big; sleep 600"
        process = await sandbox.spawn(["/bin/sh", "-c", fill])
        async with asyncio.timeout(DEADLINE_S):
            await process.wait()

        async def has_room() -> bool:
            return not Path(sandbox.home, "big").exists()

        await until(has_room)

        async def is_there() -> bool:
            try:
                async with await RFBClient.connect(
                    desktop.capability(), dial=dialling(desktop)
                ) as rfb:
                    return (await rfb.screenshot()).width == 1024
            except CapabilityFault:
                return False

        await until(is_there)
        assert desktop.display != before
        assert os.geteuid() == 0
    finally:
        await desktop.stop()
