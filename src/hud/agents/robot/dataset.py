"""Episodes as a LeRobot dataset: what the robot saw and did, ready to train on.

Frames are kept in memory until their episode ends. Episodes of one contract and rate share a
dataset, however many rollouts write it, and lie in it one after the other. Written through
`lerobot.datasets.lerobot_dataset.LeRobotDataset` (0.4 and later).
"""

from __future__ import annotations

import atexit
import importlib
import logging
import os
import threading
import uuid
from collections.abc import Hashable
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, cast
from weakref import WeakSet

from hud._core.errors import InputError, bounded
from hud.agents.robot.adapter import is_camera
from hud.protocol.openpi import load_numpy

if TYPE_CHECKING:
    from numpy.typing import NDArray

logger = logging.getLogger(__name__)

FOLDER_VARIABLE = "RECORD_DIR"
_MODULE = "lerobot.datasets.lerobot_dataset"


def load_lerobot() -> Any:
    """Import and return LeRobot's module of datasets.

    Raises:
        InputError: when lerobot cannot be imported.
    """
    try:
        return importlib.import_module(_MODULE)
    except ImportError as error:
        raise InputError(
            f"writing a dataset of a robot's episodes needs the package lerobot: {error}",
            hint="pip install lerobot, or leave save off",
        ) from error


class DatasetWriter:
    """Write one rollout's episodes. Whoever made it ends or discards its episodes.

    A dataset lies in a folder of its own below RECORD_DIR (`data` in the working folder) and is
    finished by `finalize`, at the end of the process at the latest.

    Args:
        contract: The robot's contract.
        fps: Frames a second.
    """

    _datasets: ClassVar[dict[Hashable, Any]] = {}
    _writers: ClassVar[WeakSet[DatasetWriter]] = WeakSet()
    _turn: ClassVar[threading.RLock] = threading.RLock()
    _is_registered: ClassVar[bool] = False

    def __init__(self, contract: dict[str, Any], *, fps: int) -> None:
        """Read the contract.

        Raises:
            InputError: when lerobot cannot be imported, or two features would get the same name.
        """
        self._lerobot = load_lerobot()
        self._robot_type = str(contract.get("robot_type") or "robot")
        self._fps = fps
        self._keys, self._features = features_of(contract)
        self._frames: list[dict[str, Any]] = []

    def add(self, data: dict[str, Any], action: NDArray[Any], *, task: str) -> None:
        """Keep one frame: an observation's data by feature, and the action sent for it.

        Raises:
            InputError: when a feature of the contract is missing, or does not fit its shape.
        """
        frame: dict[str, Any] = {"task": task}
        for name, key in self._keys.items():
            if name not in data:
                raise InputError(f"an observation lacks {name!r}, which the contract has")
            frame[key] = self._fitted(key, data[name])
        frame["action"] = self._fitted("action", action)
        self._frames.append(frame)
        with self._turn:
            self._writers.add(self)

    def end_episode(self) -> None:
        """Append the frames kept so far to the dataset as one episode. Blocks while encoding."""
        frames, self._frames = self._frames, []
        if not frames:
            return
        with self._turn:
            self._writers.discard(self)
            dataset = self._dataset()
            for frame in frames:
                dataset.add_frame(frame)
            dataset.save_episode()

    def discard(self) -> None:
        """Forget the frames kept so far."""
        self._frames.clear()
        with self._turn:
            self._writers.discard(self)

    @classmethod
    def finalize(cls) -> None:
        """End what is under way and finish every dataset. Blocks; safe to call twice."""
        with cls._turn:
            for writer in list(cls._writers):
                writer.end_episode()
            datasets = list(cls._datasets.values())
            cls._datasets.clear()
            for dataset in datasets:
                dataset.finalize()

    def _fitted(self, key: str, value: Any) -> Any:
        """Return a value as its feature wants it; one without a shape takes the first value's."""
        numpy = load_numpy()
        feature = self._features[key]
        is_video = feature["dtype"] == "video"
        array = numpy.array(value, dtype="uint8" if is_video else feature["dtype"])
        if not feature["shape"]:
            feature["shape"] = tuple(array.shape) or (1,)
        try:
            return array.reshape(feature["shape"])
        except ValueError:
            raise InputError(
                f"{key} of shape {list(array.shape)}, the contract says {list(feature['shape'])}"
            ) from None

    def _dataset(self) -> Any:
        """Return the dataset of this contract and rate, made when it is the first to write."""
        kind = (
            self._robot_type,
            self._fps,
            tuple((key, row["dtype"], row["shape"]) for key, row in sorted(self._features.items())),
        )
        if kind in self._datasets:
            return self._datasets[kind]
        plain = "".join(char if char.isalnum() else "-" for char in self._robot_type)
        name = f"{plain}-{uuid.uuid4().hex[:12]}"
        root = Path(os.environ.get(FOLDER_VARIABLE) or "data") / name
        root.parent.mkdir(parents=True, exist_ok=True)
        dataset = self._lerobot.LeRobotDataset.create(
            repo_id=f"local/{name}",
            fps=self._fps,
            features=self._features,
            robot_type=self._robot_type,
            root=root,
            use_videos=True,
        )
        logger.info("episodes are written to %s", root)
        self._datasets[kind] = dataset
        if not DatasetWriter._is_registered:
            DatasetWriter._is_registered = True
            atexit.register(DatasetWriter.finalize)
        return dataset


def features_of(contract: dict[str, Any]) -> tuple[dict[str, str], dict[str, dict[str, Any]]]:
    """Return LeRobot's key of every observation, and its features by key.

    Cameras become `observation.images.NAME`, the only row of numbers (or one named `state`)
    `observation.state`, other rows `observation.NAME`; texts are left out.

    Raises:
        InputError: when two features would get the same key, or there is no action.
    """
    held = cast("dict[str, dict[str, Any]]", contract.get("features") or {})
    seen = {
        name: row
        for name, row in held.items()
        if row.get("role") == "observation" and row.get("dtype") != "string"
    }
    rows = [name for name, row in seen.items() if not is_camera(row)]
    keys: dict[str, str] = {}
    features: dict[str, dict[str, Any]] = {}
    for name, row in seen.items():
        slug = name.replace("/", "_")
        if is_camera(row):
            key, dtype = f"observation.images.{slug}", "video"
        else:
            is_state = rows == [name] or name.rpartition("/")[2] == "state"
            key = "observation.state" if is_state else f"observation.{slug}"
            dtype = str(row.get("dtype") or "float32")
        if key in features:
            taken = next(other for other, its in keys.items() if its == key)
            raise InputError(
                f"features {bounded(taken)!r} and {bounded(name)!r} are both {key!r} in a dataset"
            )
        keys[name] = key
        features[key] = _feature(row, dtype, slug)
    actions = [row for row in held.values() if row.get("role") == "action"]
    if not actions:
        raise InputError("the robot's contract has no action")
    features["action"] = _feature(actions[0], str(actions[0].get("dtype") or "float32"), "action")
    return keys, features


def _feature(row: dict[str, Any], dtype: str, name: str) -> dict[str, Any]:
    shape = tuple(int(size) for size in row.get("shape") or ())
    names: Any = row.get("names")
    if dtype == "video":
        names = names or ["height", "width", "channels"]
    elif not names and len(shape) == 1:
        names = [f"{name}_{index}" for index in range(shape[0])]
    return {"dtype": dtype, "shape": shape, "names": names or None}
