"""Which server builds something, so that others can tell when it is gone."""

from __future__ import annotations

import functools
import os
from pathlib import Path

from hud._core import processes


@functools.cache
def _machine() -> str:
    """Name this boot of this machine, or this container of it."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip().replace("-", "")
        return f"{boot[:16]}.{Path('/proc/self/ns/pid').stat().st_ino}"
    except OSError:
        return ""


def this_worker() -> str:
    """Return the name of this process."""
    pid = os.getpid()
    return f"{_machine()}/{processes.identity_of(pid) or pid}"


def is_known_gone(worker: str) -> bool:
    """Tell whether the process of that name ran on this machine and has ended."""
    machine, _, identity = worker.partition("/")
    if not machine or machine != _machine():
        return False
    pid = identity.partition(":")[0]
    return not pid.isdigit() or processes.identity_of(int(pid)) != identity
