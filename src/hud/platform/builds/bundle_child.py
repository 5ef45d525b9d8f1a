"""The program that builds one bundle, apart from the server: it packs, hashes and installs.

    python -m hud.platform.builds.bundle_child ANSWER

The order comes as JSON on stdin; what came of it goes as JSON to the descriptor ANSWER, and every
line printed is the build's log. It is told to stop by SIGTERM, and dies with the server.
"""

from __future__ import annotations

import asyncio
import errno
import os
import resource
import signal
import sys
from pathlib import Path
from typing import Any

import msgspec

from hud._core import json
from hud._core.errors import HudError, RuntimeFault, bounded
from hud._core.processes import die_with_parent
from hud.packaging.archive import unpack
from hud.packaging.bundle import build_bundle
from hud.packaging.context import Limits
from hud.packaging.declared import file_declaring

_FILE_BYTES = 8 << 30
_CONTEXT = Limits(files=100_000, total_bytes=2 << 30)


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What one bundle is built of.

    Attributes:
        context: The archive that was uploaded.
        scratch: An empty folder, gone afterwards.
        store: Where bundles are kept.
        name: The environment's.
        variables: What loading the code is given; they are not kept.
        parent: The server's pid, so that a server that is gone already is noticed.
    """

    context: str
    scratch: str
    store: str
    name: str
    variables: dict[str, str]
    no_cache: bool
    parent: int


def main(answer: int) -> int:
    """Build, and return the exit code."""
    order = msgspec.json.decode(sys.stdin.buffer.read(), type=Order)
    die_with_parent()
    if os.getppid() != order.parent:
        return 1
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (_FILE_BYTES, _FILE_BYTES))
    try:
        outcome = asyncio.run(_until_told(order))
    except HudError as error:
        is_here = isinstance(error, RuntimeFault)
        outcome = {"error": bounded(error.message, 2000), "hint": error.hint, "is_here": is_here}
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        outcome = {"error": "the platform's disk is full", "hint": None, "is_here": True}
    except asyncio.CancelledError:
        return 1
    with os.fdopen(answer, "wb") as file:
        file.write(json.encode(outcome))
    return 0


async def _until_told(order: Order) -> dict[str, Any]:
    task = asyncio.create_task(_built(order))
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await task


async def _built(order: Order) -> dict[str, Any]:
    source = Path(order.scratch) / "source"
    await asyncio.to_thread(unpack, order.context, source, _CONTEXT)
    for name in ("Dockerfile.hud", "Dockerfile"):
        if (source / name).exists():
            _say(f"{name} is not used: this platform builds bundles")
    bundle = await build_bundle(
        source,
        store=Path(order.store),
        target=await asyncio.to_thread(file_declaring, source, order.name),
        env=order.name,
        variables=order.variables,
        no_cache=order.no_cache,
        on_line=_say,
    )
    return {
        "uri": bundle.uri,
        "manifest": bundle.lock.manifest(),
        "lock": bundle.lock.model_dump(mode="json"),
    }


def _say(line: str) -> None:
    sys.stdout.write(line.rstrip("\n") + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
