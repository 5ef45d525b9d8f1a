"""Open pages of `hud view` in a real Chromium with a cold cache, scroll, and say what it took."""

from __future__ import annotations

import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import time
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


def main() -> None:
    """Measure what the work asks for."""
    work = json.loads(sys.argv[1])
    program = shutil.which("chromium") or shutil.which("google-chrome") or ""
    server = subprocess.Popen(
        [sys.executable, "-m", "hud", "view", "--no-open"],
        env={**os.environ, "HUD_HOME": work["home"]},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert server.stdout is not None
    try:
        link = server.stdout.readline().strip()
        url = link.partition("/sign-in")[0]
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=program, args=_ARGUMENTS)
            page = browser.new_page()
            page.goto(link)
            state = page.context.storage_state()
            page.context.close()
            opened = {
                name: _opened(browser, state, url + path, wanted, work["rounds"])
                for name, (path, wanted) in work["pages"].items()
            }
            found: dict[str, Any] = {"opened": opened}
            if "scrolled" in work:
                found.update(_scrolled(browser, state, url + work["scrolled"]))
            browser.close()
    finally:
        server.send_signal(signal.SIGINT)
        server.wait(60)
    print(json.dumps(found))


def _opened(browser: Browser, state: Any, url: str, wanted: str, rounds: int) -> float:
    """Return the seconds until what is wanted can be seen, in a window without a cache."""
    found: list[float] = []
    for _ in range(rounds):
        context = browser.new_context(viewport=_WINDOW, storage_state=state)  # pyright: ignore[reportArgumentType]
        page = context.new_page()
        began = time.perf_counter()
        page.goto(url, wait_until="commit")
        page.wait_for_selector(wanted)
        found.append(time.perf_counter() - began)
        context.close()
    return statistics.median(found)


def _scrolled(browser: Browser, state: Any, url: str) -> dict[str, Any]:
    context = browser.new_context(viewport=_WINDOW, storage_state=state)  # pyright: ignore[reportArgumentType]
    page = context.new_page()
    page.goto(url)
    page.wait_for_selector(".timeline article.step .step-body")
    page.wait_for_timeout(_SETTLED_MS)
    page.mouse.move(760, 500)
    page.evaluate(_FRAMES)
    for _ in range(_WHEEL_TURNS):
        page.mouse.wheel(0, 300)
        page.wait_for_timeout(16)
    frames = sorted(page.evaluate("window.frames_"))[1:]
    session = context.new_cdp_session(page)
    session.send("HeapProfiler.collectGarbage")  # pyright: ignore[reportUnknownMemberType]
    heap = page.evaluate("performance.memory.usedJSHeapSize")
    found = {
        "frame_ms": frames[int(len(frames) * 0.95)],
        "heap_bytes": heap,
        "renderer_bytes": _renderer_bytes(page),
    }
    context.close()
    return found


def _renderer_bytes(page: Page) -> int:
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


if __name__ == "__main__":
    main()
