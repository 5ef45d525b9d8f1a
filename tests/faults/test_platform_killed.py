"""What runs rollouts for others is killed: a worker, the server, with leases and queue in hand."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections import Counter
from pathlib import Path
from typing import Any

import httpx

from hud import HUDRuntime, Run, Task, Taskset
from hud._core.ids import new_id
from tests.faults import census as counting
from tests.faults.census import Census
from tests.faults.places import leases, tasks_file, team_with
from tests.faults.table import Record
from tests.platform.remote.asking import over, submit
from tests.platform.remote.conftest import RemoteServer, team_with_qa
from tests.platform.remote.test_faults import wait_for_grading, worker

GROUP = "What runs rollouts for others is killed (`kill -9`)"
ROLLOUTS = 4
DEADLINE_S = 120.0


def _ends(client: httpx.Client, job: str, runs: list[str]) -> tuple[int, int, int, dict[str, int]]:
    """Return how many ended graded, twice, as a false zero, and the attempts that did not."""
    items: list[dict[str, Any]] = client.get(
        "/v2/traces", params={"job_id": job, "limit": 100}
    ).json()["items"]
    graded = [one for one in items if one["outcome"] == "graded"]
    broken = Counter(one["outcome"] for one in items if one["outcome"] != "graded")
    assert {one["id"] for one in graded} == set(runs)
    zeros = [one for one in items if one["reward"] == 0.0]
    return len(graded), len(graded) - len(runs), len(zeros), dict(broken)


def test_a_worker_killed_while_its_rollouts_are_graded_leaves_them_to_the_next(
    census: Census, tmp_path: Path, fault_row: Record
) -> None:
    marker, job = tmp_path / "go", new_id()
    server = RemoteServer(tmp_path / "home")
    before = census.take()
    try:
        server.start("--rollouts", "0")
        team = team_with_qa(server)
        with team.client() as client:
            args = {"marker": str(marker)}
            runs = [submit(client, "slow", job_id=job, args=args) for _ in range(ROLLOUTS)]
            idle = census.take()
            with worker(server) as first:
                wait_for_grading(marker, ROLLOUTS)
                census.remember(first.pid)
                during = census.left(idle)
                first.send_signal(signal.SIGKILL)
                first.wait()
                seconds, left = census.wait_until(idle)
                assert left == {}, counting.spelled(left)
            with worker(server):
                wait_for_grading(marker, 2 * ROLLOUTS)
                marker.touch()
                for run in runs:
                    over(client, run)
            graded, twice, zeros, broken = _ends(client, job, runs)
    finally:
        server.close()
    _, left = census.wait_until(before)
    assert left == {}, counting.spelled(left)
    assert (graded, twice, zeros, broken) == (ROLLOUTS, 0, 0, {"runtime": ROLLOUTS})
    fault_row(
        group=GROUP,
        fault="a worker, with four rollouts in the middle of grading",
        where="hosted",
        rollouts=ROLLOUTS,
        graded=graded,
        twice=twice,
        false_zeros=zeros,
        during=counting.spelled(during),
        reaped_s=seconds,
        by="by the kernel and a guard",
        note=NOTE,
    )


def test_a_server_killed_while_its_rollouts_are_graded_goes_on_with_them(
    census: Census, tmp_path: Path, fault_row: Record
) -> None:
    marker, job = tmp_path / "go", new_id()
    server = RemoteServer(tmp_path / "home")
    before = census.take()
    try:
        server.start("--rollouts", "4")
        team = team_with_qa(server)
        with team.client() as client:
            open_gate = tmp_path / "open"
            open_gate.touch()
            first = submit(client, "slow", job_id=job, args={"marker": str(open_gate)})
            kept = over(client, first)
            args = {"marker": str(marker)}
            runs = [submit(client, "slow", job_id=job, args=args) for _ in range(ROLLOUTS)]
            wait_for_grading(marker, ROLLOUTS)
        assert server.process is not None
        census.remember(server.process.pid)
        during = census.left(before)
        server.kill()
        seconds, left = census.wait_until(before)
        assert left == {}, counting.spelled(left)
        marker.touch()
        server.start("--rollouts", "4")
        with team.client() as client:
            for run in runs:
                over(client, run)
            assert over(client, first) == kept, "what was graded is not run again"
            graded, twice, zeros, broken = _ends(client, job, [first, *runs])
    finally:
        server.close()
    _, left = census.wait_until(before)
    assert left == {}, counting.spelled(left)
    assert (graded, twice, zeros, broken) == (ROLLOUTS + 1, 0, 0, {"runtime": ROLLOUTS})
    fault_row(
        group=GROUP,
        fault="the server, with one rollout graded and four in the middle of grading",
        where="hosted",
        rollouts=ROLLOUTS + 1,
        graded=graded,
        twice=twice,
        false_zeros=zeros,
        during=counting.spelled(during),
        reaped_s=seconds,
        by="by the kernel and a guard",
        note=NOTE,
    )


NOTE = (
    "What a worker or a server had in hand is tried again by the next one under the same id; the "
    "attempt that broke stands beside it with the outcome `runtime`."
)


async def test_a_server_killed_under_lent_environments_ends_their_rollouts_and_its_leases(
    census: Census, tmp_path: Path, monkeypatch: Any, fault_row: Record
) -> None:
    monkeypatch.setenv("HUD_HOME", str(tmp_path / "own"))
    server = RemoteServer(tmp_path / "home")
    before = await asyncio.to_thread(census.take)
    try:
        await asyncio.to_thread(server.start, "--rollouts", "0")
        source = tasks_file(tmp_path).parent
        team = await asyncio.to_thread(team_with, server, source, "lenders")
        for name, value in team.settings().items():
            monkeypatch.setenv(name, value)
        at_work = asyncio.Semaphore(0)

        async def hold(run: Run) -> str:
            at_work.release()
            await run.client.lost
            return "yes"

        rows = [
            Task(env="faulted", id="held", slug=f"n{n}", args={"name": "x", "n": 1})
            for n in range(ROLLOUTS)
        ]
        work = asyncio.create_task(Taskset("held", rows).run(hold, runtime=HUDRuntime(), retries=0))
        for _ in rows:
            await asyncio.wait_for(at_work.acquire(), DEADLINE_S)
        held = await asyncio.to_thread(leases, team)
        assert len(held) == ROLLOUTS
        assert server.process is not None
        census.remember(server.process.pid)
        during = await asyncio.to_thread(census.left, before)
        os.kill(server.process.pid, signal.SIGKILL)
        began = time.monotonic()
        async with asyncio.timeout(DEADLINE_S):
            job = await work
        await asyncio.to_thread(server.kill)
        _, left = await asyncio.to_thread(census.wait_until, before, ("processes", "sockets"))
        assert left == {}, counting.spelled(left)
        await asyncio.to_thread(server.start, "--rollouts", "0")
        while await asyncio.to_thread(leases, team):
            assert time.monotonic() - began < DEADLINE_S, "the leases of the killed server stay"
            await asyncio.sleep(0.2)
        seconds = time.monotonic() - began
        left = await asyncio.to_thread(census.left, before)
        assert not left.keys() & {"files", "control groups"}, counting.spelled(left)
    finally:
        server.close()
    outcomes = Counter(run.outcome.value for run in job.runs if run.outcome is not None)
    assert outcomes == {"runtime": ROLLOUTS}
    assert not [run for run in job.runs if run.reward == 0.0]
    assert seconds < counting.LIMIT_S
    fault_row(
        group=GROUP,
        fault="the server that lent four environments",
        where="hud",
        rollouts=ROLLOUTS,
        graded=0,
        ungraded=dict(outcomes),
        during=f"{counting.spelled(during)}, {len(held)} leases",
        reaped_s=seconds,
        by="the environments at once; folder, control group and leases by the next server",
    )
