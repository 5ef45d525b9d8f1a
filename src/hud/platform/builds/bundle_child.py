"""The program that builds one bundle, apart from the server: it packs, hashes and installs."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

from hud.packaging.bundle import build_bundle
from hud.packaging.declared import file_declaring
from hud.platform.builds.program import Order, run, say


async def build(order: Order, source: Path) -> dict[str, Any]:
    """Build the bundle."""
    for name in ("Dockerfile.hud", "Dockerfile"):
        if (source / name).exists():
            say(f"{name} is not used: this platform builds bundles")
    bundle = await build_bundle(
        source,
        store=Path(order.store),
        target=await asyncio.to_thread(file_declaring, source, order.name),
        env=order.name,
        variables=order.variables,
        no_cache=order.no_cache,
        on_line=say,
    )
    lock = bundle.lock
    return {"uri": bundle.uri, "manifest": lock.manifest(), "lock": lock.model_dump(mode="json")}


if __name__ == "__main__":
    sys.exit(run(build))
