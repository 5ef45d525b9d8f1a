"""Is a platform running on this home, and where: what a server leaves there while it runs."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

from hud._core import json

STATE_FILE = "platform.json"
_ANSWER_S = 5.0
_LOOK_AGAIN_S = 0.05


@contextlib.contextmanager
def noted(home: Path, url: str) -> Generator[None]:
    """Keep in `home` where this process's server is, while the block runs."""
    path = home / STATE_FILE
    temporary = home / f".{STATE_FILE}-{os.getpid()}"
    temporary.write_bytes(json.encode({"url": url, "pid": os.getpid()}))
    temporary.chmod(0o600)
    temporary.replace(path)
    try:
        yield
    finally:
        with contextlib.suppress(OSError, ValueError):
            if json.decode(path.read_bytes()).get("pid") == os.getpid():
                path.unlink()


def running_here(home: Path, *, wait_s: float = 0.0) -> dict[str, Any] | None:
    """Return the `url`, `pid` and `version` of the server on this home, None when none answers.

    Args:
        home: The folder it was started on.
        wait_s: How long to wait for one to answer.
    """
    deadline = time.monotonic() + wait_s
    while True:
        found = _answering(home)
        if found is not None or time.monotonic() >= deadline:
            return found
        time.sleep(_LOOK_AGAIN_S)


def _answering(home: Path) -> dict[str, Any] | None:
    import httpx  # a server that starts asks nobody

    try:
        state = json.decode((home / STATE_FILE).read_bytes())
        url, pid = str(state["url"]), int(state["pid"])
        answer = httpx.get(f"{url}/healthz", timeout=_ANSWER_S, trust_env=False)
        return {"url": url, "pid": pid, "version": str(answer.json()["version"])}
    except (OSError, ValueError, KeyError, TypeError, httpx.HTTPError):
        return None
