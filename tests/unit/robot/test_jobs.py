"""Loops over simulators outside of tasks, recorded as jobs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hud.environment.robot import wrap
from hud.store import every_run, open_store
from hud.telemetry.robot import JobRecorder, to_numpy
from tests.needs import need_module

np = need_module("numpy")
need_module("gymnasium")

from tests.e2e.capabilities import robots  # noqa: E402 — needs gymnasium


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HUD_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def recorded(job_id: str) -> tuple[Any, list[Any]]:
    store = open_store()
    try:
        runs = sorted(every_run(store, job_id), key=lambda run: run.member)
        return store.find_job(job_id), runs
    finally:
        store.close()


def test_every_episode_of_a_slot_is_a_run_of_the_job(home: Path) -> None:
    with JobRecorder("grasp", 3, record_indices=[0, 2], model="pi", video=False) as job:
        for tick in range(4):
            job.record(
                obs={"pose": np.full((3, 2), tick)},
                action=np.ones((3, 1)),
                reward=[1.0, 5.0, 0.5],
                done=[tick == 1, False, False],
                success=[tick == 1, False, False],
            )
        job_id = job.job_id
        assert job.job_url.endswith(job_id)
    job.close()
    row, runs = recorded(job_id)
    assert row.name == "grasp" and row.status == "completed"
    found = [(run.reward, run.extra["slot"], run.extra["total_reward"]) for run in runs]
    assert found == [(1.0, 0, 2.0), (0.0, 2, 2.0), (0.0, 0, 2.0)]
    with pytest.raises(ValueError, match="closed"):
        job.record(reward=[0.0] * 3)


def test_a_wrapped_environment_is_recorded_as_it_is_used(home: Path) -> None:
    with wrap(robots.Point(home=3), job="try", task="go home", contract=None, video=False) as env:
        assert env.home == 3
        for _ in range(2):
            env.reset(seed=1)
            is_over = False
            while not is_over:
                is_over = env.step(np.array([1.0, 0.0], np.float32))[2]
        job_id = env.job_id
        assert job_id is not None
    _, runs = recorded(job_id)
    assert [(run.reward, run.extra["total_reward"]) for run in runs] == [(1.0, 4.5), (1.0, 4.5)]


def test_a_wrapped_vector_is_a_run_per_slot(home: Path) -> None:
    env = wrap(robots.points(2, home=2), contract=None, video=False)
    env.reset(seed=0)
    for _ in range(2):
        env.step(np.ones((2, 2), np.float32))
    job_id = env.job_id
    assert job_id is not None
    env.close()
    _, runs = recorded(job_id)
    assert [(run.reward, run.extra["slot"]) for run in runs] == [(1.0, 0), (1.0, 1)]


def test_numbers_lists_and_tensors_become_arrays() -> None:
    class Tensor:
        def detach(self) -> Tensor:
            return self

        def cpu(self) -> list[float]:
            return [1.0, 2.0]

    assert to_numpy(Tensor()).tolist() == [1.0, 2.0]
    assert to_numpy([[1], [2]]).shape == (2, 1) and to_numpy(3.0).shape == ()
