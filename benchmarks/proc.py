"""CPU time and memory of a process with everything below it, read from /proc.

Standard library only: the measured programs use it too, whatever interpreter they run in.
Elsewhere than on Linux memory is 0, and CPU time that of this process and the children it reaped.
"""

from __future__ import annotations

import os
import resource
from pathlib import Path

_PROC = Path("/proc")


def tree(root: int) -> list[int]:
    """Return the process ids of `root` and all its living descendants."""
    children: dict[int, list[int]] = {}
    for pid in (int(entry.name) for entry in _PROC.iterdir() if entry.name.isdigit()):
        if fields := _stat(pid):
            children.setdefault(int(fields[1]), []).append(pid)
    found = [root]
    for pid in found:
        found.extend(children.get(pid, ()))
    return found


def memory_bytes(root: int) -> int:
    """Return the memory of the tree: shared pages counted once (PSS), resident size without it."""
    if not _PROC.exists():
        return 0
    return sum(_memory_of(pid) for pid in tree(root))


def cpu_s(root: int) -> float:
    """Return the CPU seconds the tree has used, those of processes it has reaped included."""
    if not _PROC.exists():
        usages = (
            resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
        )
        return sum(usage.ru_utime + usage.ru_stime for usage in usages)
    ticks = sum(sum(map(int, _stat(pid)[11:15])) for pid in tree(root))
    return ticks / os.sysconf("SC_CLK_TCK")


def _stat(pid: int) -> list[str]:
    """Return the fields of a process after its name, from its state on; empty when it is gone."""
    try:
        return (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def _memory_of(pid: int) -> int:
    try:
        for line in (_PROC / str(pid) / "smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
        pages = int((_PROC / str(pid) / "statm").read_text().split()[1])
    except (OSError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")
