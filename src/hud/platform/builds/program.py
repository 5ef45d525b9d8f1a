"""What the programs that build have in common: an order, an answer, and an end when told.

The order comes as JSON on stdin; what came of it goes as JSON to the descriptor that is their only
argument, and every line printed is the build's log. SIGTERM stops one, and it dies with the server.
"""

from __future__ import annotations

import asyncio
import errno
import os
import resource
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec

from hud._core import json
from hud._core.errors import HudError, RuntimeFault, bounded
from hud._core.processes import die_with_parent
from hud.packaging.archive import unpack
from hud.packaging.context import Limits

_FILE_BYTES = 8 << 30
_CONTEXT = Limits(files=100_000, total_bytes=2 << 30)


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What is built of what.

    Attributes:
        context: The archive that was uploaded.
        scratch: An empty folder, gone afterwards.
        store: Where bundles are kept.
        name: The environment's.
        team: Whose build it is.
        variables: What loading the code is given; they are not kept.
        parent: The server's pid, so that a server that is gone already is noticed.
    """

    context: str
    scratch: str
    store: str
    name: str
    parent: int
    team: str = ""
    no_cache: bool = False
    variables: dict[str, str] = {}
    build_args: dict[str, str] = {}
    build_secrets: dict[str, str] = {}


Build = Callable[[Order, Path], Awaitable[dict[str, Any]]]
"""Builds the unpacked source in a folder, and returns the fields of `Built`."""


def run(build: Build) -> int:
    """Build what is ordered, and return the exit code."""
    order = msgspec.json.decode(sys.stdin.buffer.read(), type=Order)
    die_with_parent()
    if os.getppid() != order.parent:
        return 1
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (_FILE_BYTES, _FILE_BYTES))
    try:
        outcome = asyncio.run(_until_told(build, order))
    except HudError as error:
        is_here = isinstance(error, RuntimeFault)
        outcome = {"error": bounded(error.message, 2000), "hint": error.hint, "is_here": is_here}
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        outcome = {"error": "the platform's disk is full", "hint": None, "is_here": True}
    except asyncio.CancelledError:
        return 1
    with os.fdopen(int(sys.argv[1]), "wb") as file:
        file.write(json.encode(outcome))
    return 0


def say(line: str) -> None:
    """Write a line of the log."""
    sys.stdout.write(line.rstrip("\n") + "\n")
    sys.stdout.flush()


async def _until_told(build: Build, order: Order) -> dict[str, Any]:
    task = asyncio.create_task(_build(build, order))
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await task


async def _build(build: Build, order: Order) -> dict[str, Any]:
    source = Path(order.scratch) / "source"
    await asyncio.to_thread(unpack, order.context, source, _CONTEXT)
    return await build(order, source)
