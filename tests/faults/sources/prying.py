"""An environment that tries to see more than its own, and says in its grade what it saw."""

import os
import socket
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

from hud import Environment

env = Environment(name="prying")


@env.template()
async def pry(
    paths: list[str], sockets: list[str], pids: list[int], ports: list[int]
) -> AsyncGenerator[Any, Any]:
    """Try each of what is named."""
    yield "say something"
    found = {
        "read": [path for path in paths if _reads(path)],
        "connected": [path for path in sockets if _connects(socket.AF_UNIX, path)],
        "signalled": [pid for pid in pids if _signals(pid)],
        "reached": [port for port in ports if _connects(socket.AF_INET, ("127.0.0.1", port))],
        "folders": [str(path) for path in Path("/tmp").glob("hud-*")],
    }
    yield {"score": 1.0, "info": found}


def _reads(path: str) -> bool:
    try:
        where = Path(path)
        return bool(list(where.iterdir()) if where.is_dir() else where.read_bytes())
    except OSError:
        return False


def _connects(family: int, address: Any) -> bool:
    with socket.socket(family) as made:
        made.settimeout(5)
        try:
            made.connect(address)
        except OSError:
            return False
        return True


def _signals(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    return True
