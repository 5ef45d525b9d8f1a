"""Wait until a page has done what an action made it do: loaded, and stopped changing."""

from __future__ import annotations

import asyncio
import contextlib

from hud.capabilities.cdp.errors import CDPError
from hud.capabilities.cdp.page import Page
from hud.capabilities.cdp.script import run_apart

# Told of changes by the document itself; the page's own scripts do not see the observer.
_QUIET = """(quiet, limit) => new Promise((resolve) => {
  const done = () => {
    observer.disconnect();
    removeEventListener("scroll", again, true);
    clearTimeout(timer);
    clearTimeout(end);
    resolve();
  };
  const again = () => { clearTimeout(timer); timer = setTimeout(done, quiet); };
  const observer = new MutationObserver(again);
  const end = setTimeout(done, limit);
  let timer = setTimeout(done, quiet);
  observer.observe(document, {
    subtree: true, childList: true, attributes: true, characterData: true});
  addEventListener("scroll", again, true);
})"""


async def settle(page: Page, quiet_s: float, timeout_s: float, load_timeout_s: float) -> None:
    """Wait until a page is loaded and its document stays as it is, or the time is up."""
    clock = asyncio.get_running_loop().time
    load_end, end = clock() + load_timeout_s, clock() + timeout_s
    while True:
        if page.is_loading:
            try:
                await page.until(lambda: not page.is_loading, load_end - clock(), "")
            except CDPError:
                return  # it takes longer, waits in a dialog, or is gone
            end = max(end, clock() + quiet_s)
        moves, left = page.moves, end - clock()
        if left <= 0 or await _is_quiet(page, moves, quiet_s, left):
            return


async def _is_quiet(page: Page, moves: int, quiet_s: float, left_s: float) -> bool:
    """Watch the document; False when another one takes its place meanwhile."""
    watching = asyncio.ensure_future(
        run_apart(page, _QUIET, quiet_s * 1_000, left_s * 1_000, timeout_s=left_s + 1)
    )
    leaving = asyncio.ensure_future(
        page.until(lambda: page.is_loading or page.moves != moves, left_s, "")
    )
    both = {watching, leaving}
    try:
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in both:
            task.cancel()
        await asyncio.gather(*both, return_exceptions=True)
    for task in both:
        if not task.cancelled():
            with contextlib.suppress(CDPError):
                task.result()
    return not (page.is_loading or page.moves != moves)
