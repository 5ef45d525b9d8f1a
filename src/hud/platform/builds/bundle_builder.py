"""Builds bundles: the engine that every platform has, because it needs no other.

Only wheels are installed and the code is loaded behind a wall of its own, so that no line of a
stranger's runs beside the platform; see `hud.packaging.bundle`.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import msgspec

from hud._core.errors import RuntimeFault, bounded
from hud._core.paths import make_home
from hud.platform.builds.builder import BuildAsk, BuildFailed, Built, Say
from hud.platform.builds.child import run_child
from hud.sandbox import files, folders

_CHILD = "hud.platform.builds.bundle_child"


class BundleBuilder:
    """Builds bundles into `home/bundles`."""

    name = "bundle"

    def __init__(self, home: Path) -> None:
        self._home = home
        self._store = home / "bundles"

    async def build(self, context: Path, ask: BuildAsk, say: Say) -> Built:
        """Do what `Builder.build` says."""
        if ask.runtime_config.get("image") or ask.runtime_config.get("compose"):
            raise BuildFailed(
                "this platform builds bundles, which have no image and no Compose project",
                hint="leave image and compose out of --runtime-config",
            )
        if ask.build_args or ask.build_secrets:
            say("build arguments and secrets are not used: a bundle has no steps to use them in")
        await asyncio.to_thread(make_home, self._store)
        await asyncio.to_thread(folders.sweep)
        scratch = folders.make("build")
        try:
            order = {
                "context": str(context),
                "scratch": str(scratch),
                "store": str(self._store),
                "name": ask.name,
                "variables": dict(ask.variables),
                "no_cache": ask.no_cache,
                "parent": os.getpid(),
            }
            # The child hides this home from what it walls in.
            env = {"HUD_HOME": str(self._home), "TMPDIR": str(scratch)}
            answer = await run_child(_CHILD, msgspec.json.encode(order), env, say)
        finally:
            await asyncio.shield(asyncio.to_thread(files.remove_tree, scratch))
        if "error" in answer:
            hint = answer.get("hint")
            kind = RuntimeFault if answer.get("is_here") else BuildFailed
            raise kind(
                bounded(str(answer["error"]), 1500), hint=bounded(hint, 300) if hint else None
            )
        return Built(answer["uri"], answer["manifest"], answer["lock"])
