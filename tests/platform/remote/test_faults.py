"""Whatever dies, a rollout ends once: graded, or with the outcome that names what broke."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import time
from collections.abc import Generator
from pathlib import Path

from hud._core.ids import new_id
from hud._core.processes import find_marked
from tests.platform.remote.asking import DEADLINE_S, over, submit, until
from tests.platform.remote.conftest import RemoteServer, Team, team_with_qa
from tests.platform.server import environment

WORKER = (sys.executable, "-m", "tests.platform.remote.served", "platform", "worker")


@contextlib.contextmanager
def worker(server: RemoteServer) -> Generator[subprocess.Popen[bytes]]:
    """Run a worker beside the server until the block ends."""
    with (server.home.parent / "worker.log").open("ab") as log:
        process = subprocess.Popen(
            [*WORKER, "--home", str(server.home), "--rollouts", "4"],
            env=environment(server.home),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
        )
        try:
            assert process.stdout is not None
            assert process.stdout.readline().startswith(b"worker ready")
            yield process
        finally:
            process.kill()
            process.wait()
            assert process.stdout is not None
            process.stdout.close()


def grading(marker: Path) -> int:
    """Return how often the grading that waits for `marker` has begun."""
    file = Path(f"{marker}.grading")
    return len(file.read_text().splitlines()) if file.exists() else 0


def wait_for_grading(marker: Path, times: int = 1) -> None:
    ends = time.monotonic() + DEADLINE_S
    while grading(marker) < times:
        assert time.monotonic() < ends, "grading did not begin"
        time.sleep(0.02)


def test_a_worker_that_is_killed_in_grading_leaves_its_run_to_another(tmp_path: Path) -> None:
    marker, job = tmp_path / "go", new_id()
    server = RemoteServer(tmp_path / "home")
    try:
        server.start("--rollouts", "0")
        team = team_with_qa(server)
        with team.client() as client:
            run = submit(client, "slow", job_id=job, args={"marker": str(marker)})
            with worker(server) as first:
                wait_for_grading(marker)
                first.send_signal(signal.SIGKILL)
                first.wait()
            with worker(server):
                wait_for_grading(marker, 2)
                marker.touch()
                ended = over(client, run)
            attempts = client.get("/v2/traces", params={"job_id": job}).json()["items"]
    finally:
        server.close()
    wait_until_nothing_runs(server.home)
    assert (ended["outcome"], ended["reward"], ended["attempt"]) == ("graded", 1.0, 2)
    assert [one["outcome"] for one in attempts if one["id"] != run] == ["runtime"]
    assert "the worker that ran it vanished" in [
        one["error"] for one in attempts if one["id"] != run
    ]


def test_a_server_that_is_killed_goes_on_where_it_was(tmp_path: Path) -> None:
    marker, job = tmp_path / "go", new_id()
    server = RemoteServer(tmp_path / "home")
    try:
        server.start("--rollouts", "2")
        team = team_with_qa(server)
        with team.client() as client:
            first = submit(client, job_id=job)
            graded = over(client, first)
            runs = [
                submit(client, "slow", job_id=job, args={"marker": str(marker)}) for _ in range(4)
            ]
            wait_for_grading(marker, 2)
        server.kill()
        wait_until_nothing_runs(server.home)
        marker.touch()
        server.start("--rollouts", "2")
        with team.client() as client:
            ends = [over(client, run) for run in runs]
            again = over(client, first)
            counts = client.get(f"/v2/jobs/{job}").json()["counts"]
    finally:
        server.close()
    assert {(end["outcome"], end["reward"]) for end in ends} == {("graded", 1.0)}
    assert again == graded
    assert (counts["runs"], counts["graded"], counts["attempts"]) == (5, 5, 7)


def test_a_server_that_is_stopped_leaves_what_it_ran_to_the_next(tmp_path: Path) -> None:
    marker = tmp_path / "go"
    server = RemoteServer(tmp_path / "home")
    try:
        server.start()
        team = team_with_qa(server)
        with team.client() as client:
            run = submit(client, "slow", args={"marker": str(marker)})
            wait_for_grading(marker)
        assert server.stop() == 0
        marker.touch()
        server.start()
        with team.client() as client:
            ended = over(client, run)
    finally:
        server.close()
    assert (ended["outcome"], ended["attempt"]) == ("graded", 2)


def test_a_job_cancelled_at_the_server_ends_what_another_process_runs(tmp_path: Path) -> None:
    marker, job = tmp_path / "go", new_id()
    server = RemoteServer(tmp_path / "home")
    try:
        server.start("--rollouts", "0")
        team = team_with_qa(server)
        with team.client() as client, worker(server):
            run = submit(client, "slow", job_id=job, args={"marker": str(marker)})
            until(client, run, "running")
            assert client.post("/v2/rollouts/cancel_job", json={"job_id": job}).status_code == 200
            ended = over(client, run)
    finally:
        server.close()
    assert (ended["status"], ended["outcome"]) == ("cancelled", "cancelled")


def wait_until_nothing_runs(home: Path) -> None:
    """Return once no process is left that was started for this home."""
    ends = time.monotonic() + DEADLINE_S
    while left := find_marked("HUD_HOME", str(home)):
        assert time.monotonic() < ends, f"still running: {left}"
        time.sleep(0.05)


def test_two_teams_share_the_workers(team: Team, tmp_path: Path) -> None:
    """A team with a long queue does not keep another waiting until it is through."""
    marker = tmp_path / "go"
    other = team_with_qa(team.server)
    with team.client() as client, other.client() as others:
        job = new_id()
        many = [submit(client, "slow", job_id=job, args={"marker": str(marker)}) for _ in range(40)]
        one = submit(others, "ask")
        until(client, many[0], "running")
        marker.touch()
        ended = over(others, one)
        ends = [over(client, run) for run in many]
    assert ended["outcome"] == "graded"
    before = [end for end in ends if end["start_time"] < ended["start_time"]]
    assert len(before) < len(many) / 2
    assert {end["outcome"] for end in ends} == {"graded"}
