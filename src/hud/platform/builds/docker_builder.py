"""Builds images with the container engine of this machine, for platforms that are given one.

Build steps run in the engine's containers, and the code is loaded in one without a network. The
engine is the wall, so it should be one that is there for this alone.
"""

from __future__ import annotations

from pathlib import Path

from hud.platform.builds.builder import BuildAsk, BuildFailed, Built, Say
from hud.platform.builds.child import build_apart


class DockerBuilder:
    """Builds images under names of their own: no two builds share one."""

    name = "docker"

    def __init__(self, home: Path) -> None:
        self._home = home

    async def build(self, context: Path, ask: BuildAsk, say: Say) -> Built:
        """Do what `Builder.build` says."""
        for name in ("image", "compose"):
            if ask.runtime_config.get(name):
                raise BuildFailed(
                    f"an image is built of the context and runs alone, so --runtime-config cannot "
                    f"have {name}",
                    hint=f"leave {name} out of it",
                )
        return await build_apart("hud.platform.builds.docker_child", self._home, context, ask, say)
