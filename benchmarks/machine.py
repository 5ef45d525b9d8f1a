"""What the figures were measured on, and whether it was busy with something else."""

from __future__ import annotations

import os
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path

BUSY_LOAD = 1.0


def describe(peer: Path | None) -> str:
    """Return one line: processor, cores, memory, system, Python, versions, date."""
    from hud import __version__

    parts = [
        _processor(),
        f"{os.cpu_count()} cores",
        f"{_memory_gib():.0f} GiB",
        f"{platform.system()} {platform.release()}",
        f"Python {platform.python_version()}",
        f"hud-python {__version__}",
        f"peer: hud {peer_version(peer)}" if peer else "no peer",
        datetime.now(UTC).date().isoformat(),
    ]
    return ", ".join(parts)


def find_peer() -> Path | None:
    """Return the interpreter that has the peer, as HUD_BENCH_PEER_PYTHON or the set-up names it."""
    for name in ("HUD_BENCH_PEER_PYTHON", "HUD_TEST_PEER_PYTHON"):
        path = os.environ.get(name, "").strip()
        if path and Path(path).is_file():
            return Path(path).absolute()
    return None


def peer_version(peer: Path) -> str:
    """Return the version of the peer's distribution."""
    line = "import importlib.metadata as m; print(m.version('hud'))"
    done = subprocess.run([peer, "-c", line], check=True, capture_output=True, text=True)
    return done.stdout.strip()


def load() -> float | None:
    """Return how many processes wanted to run in the last minute, None where nobody counts."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else None


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _memory_gib() -> float:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
