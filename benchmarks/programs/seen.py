"""What a reader waits for, in a real Chromium with a cold cache: content, frames, memory."""

from __future__ import annotations

import shutil
import statistics
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, sync_playwright

_WINDOW = {"width": 1440, "height": 900}
_ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-quic"]
_FRAMES = """() => {
    window.frames_ = [];
    let last = performance.now();
    const tick = now => {
        window.frames_.push(now - last);
        last = now;
        requestAnimationFrame(tick);
    };
    requestAnimationFrame(tick);
}"""
_WHEEL_TURNS, _SETTLED_MS = 240, 2_500
MIDDLE = (760, 500)


@contextmanager
def chromium() -> Generator[Browser]:
    """Yield the system's Chromium, rendering in software."""
    program = shutil.which("chromium") or shutil.which("google-chrome") or ""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=_ARGUMENTS)
        yield browser
        browser.close()


def opened_s(
    browser: Browser, url: str, wanted: str, rounds: int, *, state: Any = None, patience_s: float
) -> float:
    """Return the seconds until what is wanted can be seen, the median of some new windows.

    Raises:
        playwright.sync_api.Error: when it is not seen, or the page fails.
    """
    found: list[float] = []
    for _ in range(rounds):
        page = _page(browser, state, patience_s)
        began = time.perf_counter()
        page.goto(url, wait_until="commit")
        page.wait_for_selector(wanted)
        found.append(time.perf_counter() - began)
        page.context.close()
    return statistics.median(found)


def scrolled(
    browser: Browser,
    url: str,
    wanted: str,
    *,
    state: Any = None,
    at: tuple[int, int] = MIDDLE,
    patience_s: float,
) -> dict[str, float]:
    """Turn the wheel over a page; return the 95th percentile between frames, heap and memory."""
    page = _page(browser, state, patience_s)
    page.goto(url)
    page.wait_for_selector(wanted)
    page.wait_for_timeout(_SETTLED_MS)
    page.mouse.move(*at)
    page.evaluate(_FRAMES)
    for _ in range(_WHEEL_TURNS):
        page.mouse.wheel(0, 300)
        page.wait_for_timeout(16)
    frames: list[float] = sorted(page.evaluate("window.frames_"))[1:]
    session = page.context.new_cdp_session(page)
    session.send("HeapProfiler.collectGarbage")  # pyright: ignore[reportUnknownMemberType]
    found = {
        "frame_ms": frames[int(len(frames) * 0.95)],
        "heap_bytes": page.evaluate("performance.memory.usedJSHeapSize"),
        "renderer_bytes": _renderer_bytes(),
    }
    page.context.close()
    return found


def _page(browser: Browser, state: Any, patience_s: float) -> Page:
    context = browser.new_context(viewport=_WINDOW, storage_state=state)  # pyright: ignore[reportArgumentType]
    context.set_default_timeout(patience_s * 1000)
    return context.new_page()


def _renderer_bytes() -> int:
    """Return the memory that the largest renderer has for itself, heap included."""
    largest = 0
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes()
            if b"--type=renderer" not in command:
                continue
            for line in (folder / "smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    largest = max(largest, int(line.split()[1]) * 1024)
        except OSError:
            continue
    return largest
