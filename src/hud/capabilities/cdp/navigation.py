"""Go to an address, back, forward, and load again: until the document is as far as asked."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from typing import Literal

from hud._core.errors import bounded
from hud.capabilities.cdp.connection import Params
from hud.capabilities.cdp.errors import CDPError, NavigationError
from hud.capabilities.cdp.page import Page
from hud.capabilities.cdp.reply import records
from hud.capabilities.cdp.script import run_apart

Wait = Literal["load", "domcontentloaded", "none"]
"""How far a document must be: everything in it loaded, its text parsed, or just committed."""

_EVENT: dict[str, str] = {"load": "load", "domcontentloaded": "DOMContentLoaded"}
_ABORTED = "net::ERR_ABORTED"
_ERROR_PAGE_S = 5.0
_STATUS = """() => performance.getEntriesByType("navigation")[0]?.responseStatus ?? 0"""


@dataclass(frozen=True, slots=True)
class Navigation:
    """Where a page ended up.

    Attributes:
        url: Its address after redirects.
        status: The HTTP status its document came with, or None where there was none.
        error: Why the page stayed what it was although nothing failed (a download began).
    """

    url: str
    status: int | None = None
    error: str | None = None


async def navigate(page: Page, url: str, wait: Wait, timeout_s: float) -> Navigation:
    """Load `url`.

    Raises:
        NavigationError: when it cannot be loaded; an HTTP error status is no such case.
        CDPError: when it takes too long.
    """
    clock = asyncio.get_running_loop().time
    end, late = clock() + timeout_s, _late(wait, timeout_s)
    try:
        reply = await page.call("Page.navigate", {"url": url}, timeout_s=timeout_s)
    except CDPError as error:
        if error.cdp_code is None:
            raise
        raise NavigationError(
            f"cannot go to {bounded(url)}: {error.message}",
            hint="give a whole address, such as http://localhost:8000/",
        ) from error
    if reply.get("isDownload"):
        return Navigation(page.url, None, "the address is a download; the page stays as it was")
    loader = reply.get("loaderId")
    if reply.get("errorText"):
        if reply["errorText"] != _ABORTED:
            with contextlib.suppress(CDPError):
                await page.until(lambda: loader in page.loaders, _ERROR_PAGE_S, late)
        raise NavigationError(f"cannot load {bounded(url)}: {bounded(str(reply['errorText']))}")
    if loader:
        await page.until(lambda: loader in page.loaders, end - clock(), late)
        await _reach(page, wait, end - clock(), late)
    return await _arrived(page)


async def reload(page: Page, wait: Wait, timeout_s: float, *, ignore_cache: bool) -> Navigation:
    """Load the page's address again; errors as for `navigate`."""
    return await _move(page, "Page.reload", {"ignoreCache": ignore_cache}, wait, timeout_s)


async def go(page: Page, steps: int, wait: Wait, timeout_s: float) -> Navigation:
    """Go `steps` forward in the tab's history, back when negative.

    Raises:
        CDPError: when the history does not reach that far, or it takes too long.
    """
    history = await page.call("Page.getNavigationHistory")
    entries, present = records(history, "entries"), int(history.get("currentIndex", 0))
    if not 0 <= present + steps < len(entries):
        raise CDPError(f"there is no page to go {'back' if steps < 0 else 'forward'} to")
    entry = {"entryId": entries[present + steps]["id"]}
    return await _move(page, "Page.navigateToHistoryEntry", entry, wait, timeout_s)


async def _move(
    page: Page, method: str, params: Params, wait: Wait, timeout_s: float
) -> Navigation:
    clock = asyncio.get_running_loop().time
    end, late = clock() + timeout_s, _late(wait, timeout_s)
    moves, loader = page.moves, page.loader_id
    await page.call(method, params, timeout_s=timeout_s)
    await page.until(lambda: page.moves > moves, end - clock(), late)
    if page.loader_id != loader:
        await _reach(page, wait, end - clock(), late)
    return await _arrived(page)


async def _reach(page: Page, wait: Wait, timeout_s: float, late: str) -> None:
    if wait != "none":
        await page.until(lambda: _EVENT[wait] in page.reached, timeout_s, late)


async def _arrived(page: Page) -> Navigation:
    status = 0
    # The page may already be on its way elsewhere.
    with contextlib.suppress(CDPError):
        found = await run_apart(page, _STATUS)
        status = found if isinstance(found, int) else 0
    return Navigation(page.url, status or None)


def _late(wait: str, timeout_s: float) -> str:
    """Return what to say when the time is up, having checked what is waited for."""
    if wait != "none" and wait not in _EVENT:
        raise ValueError(f"wait must be load, domcontentloaded or none, not {bounded(wait)!r}")
    return f"the page did not load ({wait}) within {timeout_s:g} s"
