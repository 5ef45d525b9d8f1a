"""Who made something that outlives a process: a label, and whether that process is gone.

What carries such a label (a container, a folder) is ended by whoever finds its owner dead.
"""

from __future__ import annotations

import functools
import os
from pathlib import Path

from hud._core.processes import identity_of

OWNER_LABEL = "hud.owner"
_BOOT = Path("/proc/sys/kernel/random/boot_id")
_NAMESPACE = Path("/proc/self/ns/pid")


def own_label() -> str:
    """Return the label of this process: `boot/pid namespace/pid:start time`."""
    return f"{_machine()}/{identity_of(os.getpid()) or os.getpid()}"


def is_gone(label: str) -> bool:
    """Tell whether the process of that label is known to be gone.

    False for one that this process could not see, such as one on another machine.
    """
    machine, _, identity = label.rpartition("/")
    pid = identity.partition(":")[0]
    if machine != _machine() or ":" not in identity or not pid.isdigit():
        return False
    return identity_of(int(pid)) != identity


@functools.cache
def _machine() -> str:
    try:
        boot = _BOOT.read_text("ascii").strip()
        return f"{boot}/{_NAMESPACE.stat().st_ino}"
    except OSError:
        return "unknown"
