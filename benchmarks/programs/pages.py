"""Open pages of `hud view` in a real Chromium with a cold cache, scroll, and say what it took."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from typing import Any

from benchmarks.programs.seen import chromium, opened_s, scrolled

_PATIENCE_S = 30.0
_STEP = ".timeline article.step .step-body"


def main() -> None:
    """Measure what the work asks for."""
    work = json.loads(sys.argv[1])
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
        with chromium() as browser:
            page = browser.new_page()
            page.goto(link)
            state = page.context.storage_state()
            page.context.close()
            opened = {
                name: opened_s(
                    browser, url + path, wanted, work["rounds"], state=state, patience_s=_PATIENCE_S
                )
                for name, (path, wanted) in work["pages"].items()
            }
            found: dict[str, Any] = {"opened": opened}
            if "scrolled" in work:
                path = url + work["scrolled"]
                found |= scrolled(browser, path, _STEP, state=state, patience_s=_PATIENCE_S)
    finally:
        server.send_signal(signal.SIGINT)
        server.wait(60)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
