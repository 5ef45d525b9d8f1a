"""Builds bundles: the engine that every platform has, because it needs no other.

Only wheels are installed and the code is loaded behind a wall of its own, so that no line of a
stranger's runs beside the platform; see `hud.packaging.bundle`.
"""

from __future__ import annotations

from pathlib import Path

from hud.platform.builds.builder import BuildAsk, BuildFailed, Built, Say
from hud.platform.builds.child import build_apart


class BundleBuilder:
    """Builds bundles into `home/bundles`."""

    name = "bundle"

    def __init__(self, home: Path) -> None:
        self._home = home

    async def build(self, context: Path, ask: BuildAsk, say: Say) -> Built:
        """Do what `Builder.build` says."""
        if ask.runtime_config.get("image") or ask.runtime_config.get("compose"):
            raise BuildFailed(
                "this platform builds bundles, which have no image and no Compose project",
                hint="leave image and compose out of --runtime-config",
            )
        if ask.build_args or ask.build_secrets:
            say("build arguments and secrets are not used: a bundle has no steps to use them in")
        return await build_apart("hud.platform.builds.bundle_child", self._home, context, ask, say)
