"""Ending a build before it has filled the disk of its engine.

An engine holds no build to a size, so what is left free is watched while one is under way.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import socket
from collections.abc import AsyncGenerator
from pathlib import Path

from hud._core.errors import EnvironmentFault
from hud.packaging.docker.engine import Engine

_LOOK_S = 0.5
_PART = 20
_MOST_MB = 5_120


def floor_mb(folder: Path) -> int:
    """Return what a build has to leave free of a disk, in MiB: a twentieth, and at most 5 GiB."""
    return min(_MOST_MB, (shutil.disk_usage(folder).total >> 20) // _PART)


@contextlib.asynccontextmanager
async def leaving_room(engine: Engine, floor: int | None = None) -> AsyncGenerator[None]:
    """End the block when less than `floor` MiB are left on the engine's disk.

    An engine whose disk is not one of this machine's is not watched.

    Raises:
        EnvironmentFault: when that happened.
        RuntimeFault: when the engine does not answer.
    """
    folder = await _folder_of(engine)
    if folder is None:
        yield
        return
    if floor is None:
        floor = floor_mb(folder)
    task = asyncio.current_task()
    assert task is not None
    is_full = False

    async def watch() -> None:
        nonlocal is_full
        while not is_full:
            await asyncio.sleep(_LOOK_S)
            is_full = (shutil.disk_usage(folder).free >> 20) < floor
        task.cancel()

    watching = asyncio.create_task(watch())
    try:
        yield
    except asyncio.CancelledError:
        # Whoever cancelled the build, too, is answered with that.
        if not is_full or task.uncancel() > 0:
            raise
        raise EnvironmentFault(
            f"the build was ended because it left less than {floor} MiB on the engine's disk",
            hint="have it write less, or make room: docker system prune",
        ) from None
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)


async def _folder_of(engine: Engine) -> Path | None:
    """Return where an engine keeps its images, when that is a folder here."""
    info = await engine.info()
    named = str(info.get("DockerRootDir") or "")
    folder = Path(named)
    is_here = info.get("Name") == socket.gethostname() and folder.is_dir()
    return folder if named and is_here else None
