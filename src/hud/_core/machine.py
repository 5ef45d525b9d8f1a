"""What this machine has, as far as this process may use it."""

from __future__ import annotations

import os
from pathlib import Path

_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
"""Inside a container these are the container's own, in versions 2 and 1."""


def memory_mb() -> int:
    """Return this machine's memory in MiB, or the limit of the container this runs in."""
    held = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for path in _LIMITS:
        try:
            text = Path(path).read_text("ascii").strip()
        except (OSError, ValueError):
            continue
        if text.isdigit():
            held = min(held, int(text))
    return max(1, held >> 20)


def fair_share_mb() -> int:
    """Return what code that asks for no memory gets at most, in MiB: half of what there is."""
    return max(1, memory_mb() // 2)
