"""Contracts derived from spaces, and the way from the wire's rows back to actions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from hud._core.errors import InputError
from hud.environment.robot.contract import Actions, derive, merge, observed
from tests.needs import need_module

np = need_module("numpy")
spaces = need_module("gymnasium").spaces


def contract(observation: Any, action: Any = None) -> dict[str, Any]:
    action = action or spaces.Box(-1, 1, (2,), np.float32)
    return derive(observed(observation), action, control_rate=10, robot_type="arm")


def test_dicts_and_tuples_are_taken_apart_and_images_recognised() -> None:
    space = spaces.Dict(
        {
            "pose": spaces.Box(-1.0, np.inf, (2, 2), np.float64),
            "top": spaces.Box(0, 255, (24, 32, 3), np.uint8),
            "turned": spaces.Box(0, 255, (3, 24, 32), np.uint8),
            "flat": spaces.Box(0, 255, (24, 32), np.uint8),
            "bytes": spaces.Box(0, 255, (4, 4, 3), np.uint8),
            "nest": spaces.Tuple([spaces.Discrete(3, start=1), spaces.MultiBinary(2)]),
        }
    )
    features = contract(space)["features"]
    seen = {name: (row.get("type"), row["shape"]) for name, row in features.items()}
    assert seen == {
        "pose": (None, [4]),
        "top": ("rgb", [24, 32, 3]),
        "turned": ("rgb", [24, 32, 3]),
        "flat": ("gray", [24, 32, 1]),
        "bytes": (None, [48]),
        "nest/0": (None, [1]),
        "nest/1": (None, [2]),
        "action": (None, [2]),
    }
    assert features["pose"]["stats"] == {"low": [-1.0] * 4, "high": [None] * 4}
    assert features["pose"]["names"] == ["pose_0", "pose_1", "pose_2", "pose_3"]
    assert features["nest/0"]["stats"] == {"low": [1.0], "high": [3.0]}
    assert {row["role"] for name, row in features.items() if name != "action"} == {"observation"}
    assert json.loads(json.dumps(features)) == features

    value = space.sample()
    read = {leaf.name: leaf.read(value) for leaf in observed(space)}
    for name, held in read.items():
        assert list(held.shape) == features[name]["shape"], name
        assert str(held.dtype) == features[name]["dtype"], name
    assert np.array_equal(read["turned"], np.moveaxis(value["turned"], 0, 2))
    assert read["nest/0"][0] == value["nest"][0]


def test_a_sole_space_has_a_name() -> None:
    assert list(contract(spaces.Box(0, 1, (3,)))["features"]) == ["obs", "action"]


@pytest.mark.parametrize(
    ("space", "row", "native"),
    [
        (spaces.Discrete(4, start=2), [7.6], 5),
        (spaces.Discrete(4), [1.4], 1),
        (spaces.MultiDiscrete([3, 4]), [1.0, 3.0], [1, 3]),
        (spaces.MultiBinary(3), [0.9, 0.1, 1.0], [1, 0, 1]),
        (spaces.Box(-1, 1, (2, 2), np.float64), [1, 2, 3, 4], [[1, 2], [3, 4]]),
    ],
)
def test_a_row_becomes_the_simulations_own_action(space: Any, row: Any, native: Any) -> None:
    made = Actions(space).native(np.array(row, np.float32))
    assert np.array_equal(made, native)
    if not isinstance(made, int):
        assert made.dtype == space.dtype


def test_a_row_becomes_nested_actions_in_the_order_of_the_names() -> None:
    space = spaces.Dict(
        {"arm": spaces.Box(-1, 1, (2,)), "hand": spaces.Tuple([spaces.Discrete(2)])}
    )
    actions = Actions(space)
    assert actions.feature["names"] == ["arm_0", "arm_1", "0_0"]
    made = actions.native(np.array([0.5, -0.5, 1.0], np.float32))
    assert made["arm"].tolist() == [0.5, -0.5]
    assert made["hand"] == (1,)


def test_holding_still_is_zero_or_the_nearest_that_is_allowed() -> None:
    space = spaces.Dict({"a": spaces.Box(-1, 1, (1,)), "b": spaces.Box(2, 3, (1,))})
    assert Actions(space).held().tolist() == [0.0, 2.0]


def test_a_space_without_a_form_on_the_wire_is_named() -> None:
    with pytest.raises(InputError, match="Text"):
        contract(spaces.Dict({"words": spaces.Text(5)}))


def test_a_contract_file_adds_to_what_is_derived(tmp_path: Path) -> None:
    derived = contract(spaces.Dict({"pose": spaces.Box(0, 1, (2,))}))
    path = tmp_path / "contract.json"
    said = {"robot_type": "so101", "features": {"pose": {"names": ["x", "y"]}}}
    path.write_text(json.dumps(said))
    merged = merge(derived, path)
    assert merged["robot_type"] == "so101" and merged["control_rate"] == 10
    assert merged["features"]["pose"]["names"] == ["x", "y"]
    assert merged["features"]["pose"]["shape"] == [2]
    assert merged["features"]["action"] == derived["features"]["action"]


@pytest.mark.parametrize("text", ["[]", "{", '{"features": {"tail": {"role": "observation"}}}'])
def test_a_contract_file_that_cannot_be_meant_is_named(text: str, tmp_path: Path) -> None:
    path = tmp_path / "contract.json"
    path.write_text(text)
    with pytest.raises(InputError, match=r"contract\.json"):
        merge(contract(spaces.Dict({"pose": spaces.Box(0, 1, (2,))})), path)
