"""Builds that fail, hang or fill what they are given, and images that lack what they need."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections import Counter
from collections.abc import Generator
from pathlib import Path
from unittest.mock import Mock

import pytest

from hud import Run, Task, Taskset
from hud._core.errors import EnvironmentFault
from hud.packaging.docker import room
from hud.packaging.docker.build import ImageAsk, build_image
from hud.runtimes.docker import DockerRuntime
from tests.docker.conftest import RECIPE
from tests.docker_engine import DockerEngine
from tests.faults import census as counting
from tests.faults.census import Census
from tests.faults.places import need_walls
from tests.faults.table import Record
from tests.platform.builds.building import (
    built,
    following,
    packed,
    source,
    triggered,
    uploaded,
    write,
)
from tests.platform.server import Server

GROUP = "A build breaks"
TIMEOUT_S = 25.0
DEADLINE_S = 240.0
BEGUN = "print('begun', flush=True)\n"
BUILDS = {
    "its code raises": (BEGUN + "raise ValueError('on purpose')", "FAILED"),
    "it hangs": (BEGUN + "import time\ntime.sleep(3600)", "TIMED_OUT"),
    "it hangs, ignores SIGTERM and has left its session": (
        BEGUN + "import os, signal, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "if os.fork() == 0:\n    os.setsid()\n    os.fork()\n"
        "time.sleep(3600)",
        "TIMED_OUT",
    ),
    "it fills the disk it sees": (
        BEGUN + "with open('/tmp/flood', 'wb') as file:\n"
        "    while True:\n        file.write(bytes(64 << 20))",
        "FAILED",
    ),
    "it prints without end": (BEGUN + "while True: print('x' * 1000)", "TIMED_OUT"),
}


@contextlib.contextmanager
def builder(home: Path, *options: str) -> Generator[Server]:
    """Run a platform whose builds may take a few seconds."""
    server = Server(home)
    try:
        server.start("--build-timeout", str(TIMEOUT_S), *options)
        yield server
    finally:
        server.close()


@pytest.mark.parametrize("what", BUILDS)
def test_a_build_that_breaks_ends_and_leaves_nothing(
    what: str, census: Census, tmp_path: Path, fault_row: Record
) -> None:
    need_walls()
    text, expected = BUILDS[what]
    with builder(tmp_path / "home") as server, server.client(server.key()) as client:
        assert server.process is not None
        census.remember(server.process.pid)
        census.counts["contexts"] = lambda: map(str, (server.home / "builds").glob("*"))
        assert built(server, client, source())["status"] == "SUCCEEDED"
        census.counts["bundles"] = lambda: map(str, (server.home / "bundles").iterdir())
        before = census.take()
        files = packed(source(before=text))
        build = triggered(client, uploaded(client, files))
        during, last = before, {}
        for frame in following(server, server.key("log"), build["id"]):
            if "begun" in frame.get("message", ""):
                census.remember(server.process.pid)
                during = census.left(before)
            last = frame
        ended = client.get(f"/v2/builds/{build['id']}/status").json()
        seconds, left = census.wait_until(before)
        assert left == {}, counting.spelled(left)
        # Where memory is slow to fill, the time may be up first.
        assert ended["status"] in (expected, *(["TIMED_OUT"] if "disk" in what else [])), last
        assert ended["version"] is None
        again = built(server, client, source(after="NEXT = 1"))
        assert (again["status"], again["version"]) == ("SUCCEEDED", 2), "the platform goes on"
    fault_row(
        group=GROUP,
        fault=what,
        where="bundle",
        came=f"{ended['status']}: {ended['error_message'][:90].split('; it last')[0]}",
        during=counting.spelled(during),
        reaped_s=seconds,
        by="by the platform, counted from its end",
        note="The version before stays the current one, and the next build succeeds.",
    )


async def _answer(run: Run) -> str:
    return "yes"


async def test_an_image_without_hud_is_the_runtimes_fault(
    container_engine: DockerEngine,
    census: Census,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    fault_row: Record,
) -> None:
    monkeypatch.setenv("HUD_HOME", str(tmp_path / "home"))
    for name, value in container_engine.environ.items():
        monkeypatch.setenv(name, value)
    container_engine.docker("tag", "hud-test-base", "without-hud")
    census.counts["containers"] = container_engine.containers
    before = census.take()
    runtime = DockerRuntime("without-hud", run_args=["--entrypoint", "hud"])
    rows = [Task(env="faulted", id="held", slug=f"n{n}") for n in range(2)]
    job = await Taskset("none", rows).run(_answer, runtime=runtime, retries=0)
    ended = Counter(run.outcome.value for run in job.runs if run.outcome is not None)
    assert ended == {"runtime": 2}
    seconds, left = census.wait_until(before)
    assert left == {}, counting.spelled(left)
    fault_row(
        group="An image lacks what it needs",
        fault="there is no `hud` in it",
        where="docker",
        rollouts=2,
        ungraded=dict(ended),
        reaped_s=seconds,
        by="by the eval",
    )


async def test_a_build_that_is_cancelled_while_its_image_hangs_leaves_no_container(
    container_engine: DockerEngine,
    census: Census,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    fault_row: Record,
) -> None:
    monkeypatch.setenv("HUD_HOME", str(tmp_path / "home"))
    for name, value in container_engine.environ.items():
        monkeypatch.setenv(name, value)
    folder = write(tmp_path / "hangs", {"env.py": HANGS, "Dockerfile.hud": RECIPE})
    census.counts["containers"] = container_engine.containers
    before = await asyncio.to_thread(census.take)
    work = asyncio.create_task(build_image(folder, ImageAsk(), on_line=lambda line: None))
    async with asyncio.timeout(DEADLINE_S):
        while not await asyncio.to_thread(counting.named, "hud-hangs"):
            assert not work.done(), work.exception()
            await asyncio.sleep(0.05)
    during = await asyncio.to_thread(census.left, before)
    assert "containers" in during
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    seconds, left = await asyncio.to_thread(census.wait_until, before)
    assert left == {}, counting.spelled(left)
    fault_row(
        group=GROUP,
        fault="its code hangs when the image is asked what it offers, and the build is ended",
        where="docker",
        came="STOPPED",
        during=counting.spelled(during),
        reaped_s=seconds,
        by="by the build",
    )


async def test_an_image_that_fills_the_engines_disk_is_not_built_to_its_end(
    container_engine: DockerEngine,
    census: Census,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    fault_row: Record,
) -> None:
    monkeypatch.setenv("HUD_HOME", str(tmp_path / "home"))
    for name, value in container_engine.environ.items():
        monkeypatch.setenv(name, value)
    data = container_engine.folder / "data"

    def free_mb() -> int:
        return shutil.disk_usage(data).free >> 20

    files = {"flood.py": FLOOD, "Dockerfile.hud": f"{RECIPE}RUN python3 flood.py\n"}
    folder = write(tmp_path / "floods", source() | files)
    census.counts["containers"] = container_engine.containers
    before = await asyncio.to_thread(census.take)
    free = free_mb()
    monkeypatch.setattr(room, "floor_mb", Mock(return_value=free - FLOOD_MB // 4))
    with pytest.raises(EnvironmentFault, match="it left less than") as caught:
        async with asyncio.timeout(DEADLINE_S):
            await build_image(folder, ImageAsk(leaves_room=True), on_line=lambda line: None)
    during = await asyncio.to_thread(census.left, before)
    seconds, left = await asyncio.to_thread(census.wait_until, before)
    assert left == {}, counting.spelled(left)
    async with asyncio.timeout(DEADLINE_S):
        is_back = False
        while not is_back:
            await asyncio.sleep(0.1)
            is_back = free - free_mb() < FLOOD_MB // 8
    fault_row(
        group=GROUP,
        fault="it fills the engine's disk",
        where="docker",
        came=f"FAILED: {caught.value.message[:60]}",
        during=counting.spelled(during),
        reaped_s=seconds,
        by="by the build",
        note="What it wrote is off the disk again.",
    )


FLOOD_MB = 4096
FLOOD = f"""
import time
with open("/flood", "wb") as file:
    for _ in range({FLOOD_MB} // 16):
        file.write(bytes(16 << 20))
        time.sleep(0.05)
time.sleep(3600)
"""


HANGS = """
import time
from pathlib import Path
Path("/proc/self/comm").write_text("hud-hangs")
time.sleep(3600)
"""
