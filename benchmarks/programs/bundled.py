"""Rollouts in a bundle, one after the other, beside a bare fork in a process and a bare wall."""

from __future__ import annotations

import asyncio
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from hud.environment.task import Task
from hud.packaging.bundle import build_bundle
from hud.runtimes.base import Provider
from hud.runtimes.bundle import BundleRuntime
from hud.runtimes.subprocess import SubprocessRuntime

ROW = Task(env="letters", id="count")


async def _places(provider: Provider, count: int) -> float:
    """Return the median seconds from acquire to release."""
    took: list[float] = []
    for _ in range(count):
        began = time.perf_counter()
        async with provider(ROW):
            pass
        took.append(time.perf_counter() - began)
    return statistics.median(took)


def _wall(count: int) -> float:
    """Return the median seconds of a bare bubblewrap whose program lays an overlay and ends."""
    with tempfile.TemporaryDirectory() as name:
        script = (
            "mkdir -p /tmp/u /tmp/w && "
            "mount -t overlay o /mnt "
            "-o lowerdir=/usr/share/misc,upperdir=/tmp/u,workdir=/tmp/w,userxattr"
        )
        argv = ["bwrap", "--unshare-all", "--uid", "0", "--gid", "0", "--cap-add", "CAP_SYS_ADMIN"]
        argv += ["--ro-bind", "/", "/", "--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp"]
        argv += ["sh", "-c", script]
        took: list[float] = []
        for _ in range(count):
            began = time.perf_counter()
            subprocess.run(argv, check=True, cwd=name, capture_output=True)
            took.append(time.perf_counter() - began)
    return statistics.median(took)


async def main(asked: dict[str, int | str]) -> dict[str, float]:
    count, source = int(asked["count"]), Path(str(asked["source"]))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name, "source")
        folder.mkdir()
        shutil.copy(source, folder / "tasks.py")
        bundle = await build_bundle(folder, store=Path(name, "bundles"))
        async with BundleRuntime(bundle) as bundled, SubprocessRuntime(source) as forked:
            await _places(bundled, 3)
            await _places(forked, 3)
            found = {"bundle_s": 0.0, "fork_s": 0.0, "wall_s": 0.0}
            found["bundle_s"] = await _places(bundled, count)
            found["fork_s"] = await _places(forked, count)
    found["wall_s"] = _wall(count)
    return found


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main(json.loads(sys.argv[1])))))
