"""Removes what carries a label: containers, networks and volumes, in the order they allow."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from hud._core.errors import Fault
from hud._core.owner import OWNER_LABEL, is_gone
from hud.packaging.docker.engine import Engine

logger = logging.getLogger(__name__)

REMOVE_S = 60.0


@dataclass(frozen=True, slots=True)
class _Kind:
    name: str
    listing: tuple[str, ...]
    identity: str
    removing: tuple[str, ...]


_KINDS = (
    _Kind("container", ("ps", "--all", "--no-trunc"), "ID", ("rm", "--force", "--volumes")),
    _Kind("network", ("network", "ls", "--no-trunc"), "ID", ("network", "rm")),
    _Kind("volume", ("volume", "ls"), "Name", ("volume", "rm", "--force")),
)


async def remove_labelled(engine: Engine, label: str) -> str | None:
    """Remove everything with that label; return what is said of what cannot be removed.

    Raises:
        RuntimeFault: when the engine does not answer.
    """
    for kind in _KINDS:
        words = (
            *kind.listing,
            "--filter",
            f"label={label}",
            "--format",
            f"{{{{.{kind.identity}}}}}",
        )
        found = (await engine.check(*words)).split()
        if found:
            done = await engine.run(*kind.removing, *found, timeout_s=REMOVE_S)
            if done.code != 0 and "no such" not in done.err.lower():
                return done.reason
    return None


async def reap(engine: Engine) -> None:
    """Remove what is left of owners that died without doing so; never raises for it."""
    try:
        for kind in _KINDS:
            form = f'{{{{.{kind.identity}}}}} {{{{.Label "{OWNER_LABEL}"}}}}'
            words = (*kind.listing, "--filter", f"label={OWNER_LABEL}", "--format", form)
            lines = (await engine.check(*words)).splitlines()
            left = [line.split(" ", 1) for line in lines if " " in line]
            orphans = [identity for identity, owner in left if is_gone(owner.strip())]
            if orphans:
                await engine.run(*kind.removing, *orphans, timeout_s=REMOVE_S)
                logger.info("%d %ss of dead processes are removed", len(orphans), kind.name)
    except Fault as fault:
        logger.info("what dead processes left cannot be looked for: %s", fault.message)


def sweep_folders() -> None:
    """Remove the folders of guards that died too, a day after."""
    for folder in Path(tempfile.gettempdir()).glob("hud-docker-*"):
        with contextlib.suppress(OSError):
            found = folder.stat()
            if found.st_uid == os.geteuid() and time.time() - found.st_mtime > 86_400:
                shutil.rmtree(folder, ignore_errors=True)
