"""LeRobot's datasets as far as writing one goes, for tests.

LeRobot itself does not install where these run, so what it checks of every frame is checked here
(`validate_frame` of its `datasets/feature_utils.py`).
"""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

LEROBOT = "lerobot.datasets.lerobot_dataset"


class Dataset:
    """As strict with frames as LeRobotDataset is, and as forgetful of what was not saved."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self.settings = settings
        self.frames: list[dict[str, Any]] = []
        self.episodes: list[list[dict[str, Any]]] = []
        self.is_finished = False

    def add_frame(self, frame: dict[str, Any]) -> None:
        features = self.settings["features"]
        assert set(frame) == {*features, "task"}
        for key, feature in features.items():
            dtype = "uint8" if feature["dtype"] == "video" else feature["dtype"]
            assert (frame[key].shape, str(frame[key].dtype)) == (feature["shape"], dtype)
        self.frames.append(frame)

    def save_episode(self) -> None:
        self.episodes.append(self.frames)
        self.frames = []

    def finalize(self) -> None:
        self.is_finished = True


def stand_in(monkeypatch: pytest.MonkeyPatch, folder: Path) -> list[Dataset]:
    """Be LeRobot for a test, recording below `folder`; return the datasets that are made."""
    made: list[Dataset] = []

    class LeRobotDataset(Dataset):
        @classmethod
        def create(cls, **settings: Any) -> Dataset:
            Path(settings["root"]).mkdir(exist_ok=False)
            made.append(cls(settings))
            return made[-1]

    module: Any = ModuleType(LEROBOT)
    module.LeRobotDataset = LeRobotDataset
    monkeypatch.setitem(sys.modules, LEROBOT, module)
    monkeypatch.setenv("RECORD_DIR", str(folder / "recorded"))
    return made
