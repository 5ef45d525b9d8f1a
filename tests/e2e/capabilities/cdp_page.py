"""Fixtures for tests that drive a page: one Chromium per module, a tab of its own per test."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from typing import Any

import pytest

from hud.capabilities.cdp import CDPClient
from tests.conformance.daemons.cdp import Chromium, chromium
from tests.e2e.capabilities.cdp_site import Site, site


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Generator[Chromium]:
    """One Chromium for all tests of a module."""
    with chromium(tmp_path_factory.mktemp("chromium")) as running:
        yield running


@pytest.fixture
async def cdp(browser: Chromium) -> AsyncGenerator[CDPClient]:
    """A client on a tab that is the only one."""
    async with await CDPClient.connect(browser.row) as client:
        fresh = await client.new_tab()
        for tab in await client.tabs():
            if tab.id != fresh.id:
                await client.close_tab(tab.id)
        yield client


@pytest.fixture
async def web() -> AsyncGenerator[Site]:
    """A web site without pages."""
    async with site() as served:
        yield served


async def show(cdp: CDPClient, web: Site, html: str) -> None:
    """Have the browser show a page with this body."""
    web.pages["/"] = f"<!doctype html><meta charset=utf-8><body style='margin:0'>{html}"
    await cdp.navigate(f"{web.url}/")


async def logged(cdp: CDPClient) -> list[Any]:
    """Return what the page's scripts have put into `log`."""
    return list(await cdp.evaluate("log"))
