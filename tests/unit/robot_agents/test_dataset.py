"""Episodes as a LeRobot dataset: names, shapes, and whole episodes one after the other."""

from __future__ import annotations

import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from hud._core.errors import InputError
from hud.agents.robot import DatasetWriter
from hud.agents.robot.dataset import features_of
from tests.e2e.lerobot_datasets import LEROBOT, Dataset, stand_in
from tests.needs import need_module

np = need_module("numpy")


def row(shape: list[int], **beside: Any) -> dict[str, Any]:
    return {"role": "observation", "dtype": "float32", "shape": shape, **beside}


CONTRACT: dict[str, Any] = {
    "robot_type": "arm/one",
    "features": {
        "left/wrist": row([4, 6, 3], type="rgb"),
        "joints": row([2], names=["a", "b"]),
        "goal": row([1], dtype="string"),
        "action": {"role": "action", "dtype": "float32", "shape": [2]},
    },
}


@pytest.fixture
def datasets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[list[Dataset]]:
    yield stand_in(monkeypatch, tmp_path)
    DatasetWriter.finalize()


def data(value: float) -> dict[str, Any]:
    return {
        "left/wrist": np.full((4, 6, 3), value, np.uint8),
        "joints": [value, -value],
        "goal": "the cup",
    }


def write(writer: DatasetWriter, *values: float) -> None:
    for value in values:
        writer.add(data(value), np.array([value, 0.0]), task="fetch")


def test_features_get_the_names_that_lerobot_gives_them() -> None:
    keys, features = features_of(CONTRACT)
    assert keys == {
        "left/wrist": "observation.images.left_wrist",
        "joints": "observation.state",
    }
    assert features["observation.images.left_wrist"] == {
        "dtype": "video",
        "shape": (4, 6, 3),
        "names": ["height", "width", "channels"],
    }
    assert features["observation.state"]["names"] == ["a", "b"]
    assert features["action"]["names"] == ["action_0", "action_1"]


def test_of_several_rows_the_one_called_state_is_the_state() -> None:
    held = {"arm/state": row([2]), "gripper": row([1]), "action": CONTRACT["features"]["action"]}
    keys, _ = features_of({"features": held})
    assert keys == {"arm/state": "observation.state", "gripper": "observation.gripper"}


def test_two_features_of_one_name_are_refused() -> None:
    held = {"a/b": row([1]), "a_b": row([1]), "action": CONTRACT["features"]["action"]}
    with pytest.raises(InputError, match=r"'a/b' and 'a_b' are both 'observation\.a_b'"):
        features_of({"features": held})


def test_whole_episodes_of_several_writers_share_a_dataset(datasets: list[Dataset]) -> None:
    first, second = (DatasetWriter(CONTRACT, fps=20) for _ in range(2))
    write(first, 1, 2)
    write(second, 7)
    write(first, 3)
    first.end_episode()
    second.end_episode()
    (dataset,) = datasets
    states = [[f["observation.state"][0] for f in frames] for frames in dataset.episodes]
    assert states == [[1, 2, 3], [7]]
    assert dataset.settings["fps"] == 20 and dataset.settings["robot_type"] == "arm/one"
    assert dataset.settings["use_videos"] and dataset.settings["root"].is_dir()
    assert dataset.episodes[0][0]["task"] == "fetch"


def test_another_rate_is_another_dataset(datasets: list[Dataset]) -> None:
    for fps in (10, 20):
        writer = DatasetWriter(CONTRACT, fps=fps)
        write(writer, 1)
        writer.end_episode()
    assert len(datasets) == 2


def test_a_discarded_episode_and_an_empty_one_leave_nothing(datasets: list[Dataset]) -> None:
    writer = DatasetWriter(CONTRACT, fps=20)
    write(writer, 1)
    writer.discard()
    writer.end_episode()
    assert not datasets


def test_finishing_keeps_what_is_under_way(datasets: list[Dataset]) -> None:
    writer = DatasetWriter(CONTRACT, fps=20)
    write(writer, 1)
    DatasetWriter.finalize()
    DatasetWriter.finalize()
    assert [len(frames) for frames in datasets[0].episodes] == [1]
    assert datasets[0].is_finished


def test_a_shape_the_contract_leaves_out_is_the_first_frames(datasets: list[Dataset]) -> None:
    features = {**CONTRACT["features"], "joints": {"role": "observation"}}
    writer = DatasetWriter({**CONTRACT, "features": features}, fps=20)
    write(writer, 1)
    writer.end_episode()
    assert datasets[0].settings["features"]["observation.state"]["shape"] == (2,)


@pytest.mark.parametrize(
    ("change", "says"),
    [({"joints": [1.0]}, r"observation.state of shape \[1\]"), ({"joints": None}, "lacks")],
)
def test_an_observation_that_does_not_fit_is_refused(
    datasets: list[Dataset], change: dict[str, Any], says: str
) -> None:
    held = {k: v for k, v in {**data(1), **change}.items() if v is not None}
    with pytest.raises(InputError, match=says):
        DatasetWriter(CONTRACT, fps=20).add(held, np.zeros(2), task="fetch")


def test_without_lerobot_the_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, LEROBOT, None)
    with pytest.raises(InputError, match="needs the package lerobot") as caught:
        DatasetWriter(CONTRACT, fps=20)
    assert "pip install lerobot" in (caught.value.hint or "")
