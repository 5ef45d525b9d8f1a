"""Tasks that say what they see behind a bundle's wall, and a shell inside."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

from hud import Environment

env = Environment(name="walled")
env.workspace("/tmp/shell")
HERE = Path(__file__).parent
(HERE / "made_at_import.txt").write_text("import")


@env.template()
async def leave(name: str) -> AsyncGenerator[Any, Any]:
    """Write where one may, and say what was there before."""
    places = [HERE, Path("/tmp"), Path.home(), Path("/dev/shm")]
    found = [str(place / name) for place in places if (place / name).exists()]
    for place in places:
        (place / name).write_text(name)
    (HERE / "made_at_import.txt").write_text(name)
    with socket.create_server(("127.0.0.1", 8123)):
        yield "left"
    yield {"score": float(not found), "info": {"found": found}}


@env.template()
async def look(paths: list[str]) -> AsyncGenerator[Any, Any]:
    """Say which of these can be read, and who one is."""
    yield "looked"
    readable = [path for path in paths if os.access(path, os.R_OK)]
    names = [name for _, name in socket.if_nameindex()]
    pids = [entry for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    status = Path("/proc/self/status").read_text().splitlines()
    capabilities = next(line.split()[1] for line in status if line.startswith("CapEff"))
    info = {
        "readable": readable,
        "network": names,
        "pids": len(pids),
        "uid": os.getuid(),
        "env": sorted(os.environ),
        "imported": (HERE / "made_at_import.txt").read_text(),
        "capabilities": int(capabilities, 16),
    }
    yield {"score": 1.0, "info": info}


@env.template()
async def shell() -> AsyncGenerator[Any, Any]:
    """Want a file made over ssh."""
    yield "write hello to answer.txt"
    text = Path("/tmp/shell/answer.txt")
    yield float(text.is_file() and text.read_text().strip() == "hello")


@env.template()
async def hold() -> AsyncGenerator[Any, Any]:
    """Never finish grading."""
    yield "hold"
    await asyncio.Event().wait()
    yield 1.0


@env.template()
async def eat(megabytes: int) -> AsyncGenerator[Any, Any]:
    """Use memory."""
    yield "eat"
    held = bytearray(megabytes << 20)
    for place in range(0, len(held), 4096):
        held[place] = 1
    yield 1.0
