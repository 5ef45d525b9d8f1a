"""A desktop and a browser that move, and a task that notices who touches them."""

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

from hud.environment import Environment

env = Environment("studio")
shell = env.workspace()
# It shows the time, and writes down every key and everything the pointer does.
_TERMINAL = (
    "printf '\\033[?1003h\\033[?1006h'; stty raw -echo;"
    "(while :; do date +%N; sleep 0.1; done) & exec cat >>typed"
)
_PAGE = (
    "data:text/html,<title>Moving</title><h1 id=p></h1>"
    "<script>setInterval(() => p.textContent = Date.now(), 50)</script>"
)
screen = env.desktop(
    workspace=shell,
    width=640,
    height=480,
    programs=[["xterm", "-geometry", "120x60+0+0", "-b", "0", "-e", "/bin/sh", "-c", _TERMINAL]],
)
browser = env.browser(workspace=shell, width=640, height=480, url=_PAGE)


@env.template()
async def hold(marker: str) -> AsyncGenerator[Any, Any]:
    """Wait until the file `marker` is there; then touch the screen once, as a control."""
    while not Path(marker).exists():  # noqa: ASYNC110
        await asyncio.sleep(0.02)
    async with screen.client() as rfb:
        await rfb.click(60, 60)
        await rfb.press("q")
    while "q" not in _typed():  # noqa: ASYNC110
        await asyncio.sleep(0.02)
    async with browser.client() as cdp:
        is_there = await cdp.evaluate("document.title") == "Moving"
    yield "Look."
    typed = _typed()
    is_untouched = "z" not in typed and typed.count("\x1b[<0;") == 2
    yield {"score": float(is_there and is_untouched), "info": {"typed": typed}}


def _typed() -> str:
    try:
        return shell.read_text("typed")
    except FileNotFoundError:
        return ""
