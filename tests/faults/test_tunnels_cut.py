"""The way to a lent environment or to a pod is cut, or falls silent, in either direction."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from hud import HUDRuntime, Run, Task, Taskset
from hud.runtimes.base import Provider
from hud.runtimes.kubernetes import KubernetesRuntime
from tests.faults import census as counting
from tests.faults.census import Census, Counted
from tests.faults.cuttable import Way
from tests.faults.places import leases, tasks_file, team_with
from tests.faults.table import Record
from tests.kubernetes_api import KubernetesApi
from tests.needs import need_module
from tests.platform.server import Server

GROUP = "The way to an environment is cut"
ROLLOUTS = 2
DEADLINE_S = 150.0

Break = Callable[[Way], None]
CUTS: dict[str, Break] = {
    "every connection is reset": Way.cut,
    "it is gone for good: no new connection either": Way.close,
    "it falls silent towards the platform": lambda way: way.fall_silent("to the server"),
    "it falls silent towards the client": lambda way: way.fall_silent("to the client"),
}


class Broken:
    """Rollouts whose agents wait until their environment is lost."""

    def __init__(self, provider: Provider, name: str) -> None:
        self.at_work = asyncio.Semaphore(0)
        self.rows = [
            Task(env="faulted", id="held", slug=f"{name}-{n}", args={"name": name, "n": 1})
            for n in range(ROLLOUTS)
        ]
        taskset = Taskset("cut", self.rows)
        self.work = asyncio.create_task(taskset.run(self._hold, runtime=provider, retries=0))

    async def _hold(self, run: Run) -> str:
        self.at_work.release()
        await run.client.lost
        return "yes"

    async def begun(self) -> None:
        """Return once every agent works."""
        async with asyncio.timeout(DEADLINE_S):
            for _ in self.rows:
                await self.at_work.acquire()

    async def outcomes(self) -> dict[str, int]:
        """Return how they ended."""
        async with asyncio.timeout(DEADLINE_S):
            job = await self.work
        assert not [run for run in job.runs if run.is_graded], "nothing was graded"
        return dict(Counter(run.outcome.value for run in job.runs if run.outcome is not None))


async def test_a_lent_environment_whose_tunnel_is_cut_is_given_back(
    platform: Server,
    census: Census,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    fault_row: Record,
) -> None:
    monkeypatch.setenv("HUD_HOME", str(tmp_path / "own"))
    team = await asyncio.to_thread(team_with, platform, tasks_file(tmp_path).parent, "cut-off")
    for name, value in team.settings().items():
        monkeypatch.setenv(name, value)
    census.counts["leases"] = lambda: leases(team)
    before = await asyncio.to_thread(census.take)

    async def one(what: str) -> tuple[str, str, float, dict[str, int]]:
        async with Way(platform.port).open() as way:
            runtime = HUDRuntime(runtime_url=f"http://127.0.0.1:{way.port}")
            broken = Broken(runtime, "tunnel")
            await broken.begun()
            begun.release()
            await go.wait()
            began = time.monotonic()
            CUTS[what](way)
            ended = await broken.outcomes()
            return what, during, time.monotonic() - began, ended

    # All at once: noticing silence takes its time.
    begun, go, during = asyncio.Semaphore(0), asyncio.Event(), ""
    works = [asyncio.create_task(one(what)) for what in CUTS]
    for _ in works:
        await asyncio.wait_for(begun.acquire(), DEADLINE_S)
    held: Counted = await asyncio.to_thread(census.left, before)
    assert len(held["leases"]) == ROLLOUTS * len(CUTS)
    go.set()
    began = time.monotonic()
    ends = [await work for work in works]
    await asyncio.to_thread(census.wait_until, before)
    seconds = time.monotonic() - began
    left = await asyncio.to_thread(census.left, before)
    assert left == {}, counting.spelled(left)
    assert seconds < counting.LIMIT_S
    share = {name: names for name, names in held.items() if name == "leases"}
    for what, _, noticed_s, ended in ends:
        assert ended == {"runtime": ROLLOUTS}, what
        fault_row(
            group=GROUP,
            fault=what,
            where="hud",
            rollouts=ROLLOUTS,
            graded=0,
            ungraded=ended,
            during=f"{len(share['leases']) // len(CUTS)} leases",
            reaped_s=seconds,
            by=f"noticed after {noticed_s:.1f} s; the platform takes back what it is not given",
        )


async def test_a_pod_whose_way_is_cut_is_deleted(
    census: Census, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault_row: Record
) -> None:
    need_module("kubernetes")
    monkeypatch.setenv("HUD_HOME", str(tmp_path / "own"))
    api = KubernetesApi({"good": tasks_file(tmp_path).parent})
    async with api.serving(), Way(int(api.url.rpartition(":")[2])).open() as way:
        api.url = f"http://127.0.0.1:{way.port}"
        config = str(api.kubeconfig(tmp_path / "kubeconfig"))
        monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", config)
        census.counts["pods"] = lambda: list(api.pods)
        before = await asyncio.to_thread(census.take)
        broken = Broken(KubernetesRuntime("good"), "pod")
        await broken.begun()
        during = await asyncio.to_thread(census.left, before)
        way.cut()
        ended = await broken.outcomes()
        seconds, left = await asyncio.to_thread(census.wait_until, before)
        assert left == {}, counting.spelled(left)
    assert ended == {"runtime": ROLLOUTS}
    fault_row(
        group=GROUP,
        fault="every connection is reset",
        where="kubernetes",
        rollouts=ROLLOUTS,
        graded=0,
        ungraded=ended,
        during=counting.spelled(during),
        reaped_s=seconds,
        by="by the eval",
    )
