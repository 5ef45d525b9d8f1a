"""What adapters learn of a robot, and how a policy's numbers become its actions."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from hud._core.errors import InputError
from hud.agents.robot import Adapter, OpenPIAdapter, ScaledAdapter
from hud.agents.robot.scaling import Scale
from tests.needs import need_module

np = need_module("numpy")

OBSERVED: dict[str, Any] = {
    "wrist": {"role": "observation", "type": "rgb", "dtype": "uint8", "shape": [8, 8, 3]},
    "joints": {"role": "observation", "dtype": "float32", "shape": [3]},
    "top": {"role": "observation", "dtype": "image", "shape": [8, 8, 3]},
    "grip": {"role": "observation", "dtype": "float32", "shape": [1]},
}
STATS: dict[str, Any] = {
    "low": [0.0, -2.0],
    "high": [10.0, 2.0],
    "mean": [5.0, 0.5],
    "std": [2.0, 0.25],
    "q01": [1.0, -1.0],
    "q99": [9.0, 1.0],
}


def action(stats: Any = STATS) -> dict[str, Any]:
    return {"role": "action", "shape": [2], "stats": stats}


def bound(adapter: Adapter, stats: Any = STATS) -> Adapter:
    adapter.bind(action(stats), OBSERVED)
    adapter.reset()
    return adapter


def test_cameras_and_state_are_found_in_the_contracts_order() -> None:
    adapter = bound(Adapter(model_image_keys=["a"], chunk_size=3))
    assert (adapter.image_keys, adapter.state_key) == (["wrist", "top"], "joints")
    assert (adapter.model_image_keys, adapter.chunk_size) == (["a"], 3)
    assert adapter.action_space == action()


def test_chunks_and_actions_go_through_as_they_are() -> None:
    adapter, row = bound(Adapter()), np.array([[1.0, 2.0]])
    assert adapter.adapt_chunk(row, {}) is row and adapter.adapt_action(row[0], {}).base is row
    with pytest.raises(NotImplementedError, match="Adapter must define adapt_observation"):
        adapter.adapt_observation({"data": {}}, "go")


def test_openpi_policies_get_the_robots_own_names_and_the_prompt() -> None:
    data = {"joints": np.zeros(3)}
    assert OpenPIAdapter().adapt_observation({"data": data}, "go") == {**data, "prompt": "go"}
    told = {"prompt": "as the robot says"}
    assert OpenPIAdapter().adapt_observation({"data": told}, "go") == told


@pytest.mark.parametrize(
    ("scale", "lowest", "middle"),
    [
        ("bounds", [0.0, -2.0], [5.0, 0.0]),
        ("mean_std", [3.0, 0.25], [5.0, 0.5]),
        ("quantiles", [1.0, -1.0], [5.0, 0.0]),
        (None, [0.0, -1.0], [0.0, 0.0]),
    ],
)
def test_actions_are_scaled_by_the_contracts_figures(
    scale: Scale | None, lowest: list[float], middle: list[float]
) -> None:
    adapter = bound(ScaledAdapter(Adapter(), scale=scale))
    found = adapter.adapt_chunk(np.array([[-1.0, -1.0], [0.0, 0.0]]), {})
    assert found.tolist() == [lowest, middle]


def test_actions_are_cut_to_the_robots_bounds_unless_told_otherwise() -> None:
    wild = np.array([[-9.0, 9.0]])
    assert bound(ScaledAdapter(Adapter())).adapt_chunk(wild, {}).tolist() == [[0.0, 2.0]]
    free = bound(ScaledAdapter(Adapter(), clip=False))
    assert free.adapt_chunk(wild, {}).tolist() == [[-40.0, 18.0]]


def test_a_value_without_bounds_is_neither_scaled_nor_cut() -> None:
    adapter = bound(ScaledAdapter(Adapter()), {"low": [None, -2.0], "high": [None, 2.0]})
    assert adapter.adapt_chunk(np.array([[70.0, 3.0]]), {}).tolist() == [[70.0, 2.0]]


def test_other_names_of_the_bounds_are_known() -> None:
    adapter = bound(ScaledAdapter(Adapter()), {"min": [0.0, 0.0], "max": [4.0, 4.0]})
    assert adapter.adapt_chunk(np.array([[0.0, 1.0]]), {}).tolist() == [[2.0, 4.0]]


def test_a_contract_without_the_figures_is_named() -> None:
    with pytest.raises(InputError, match="no mean and std of its actions to scale by"):
        bound(ScaledAdapter(Adapter(), scale="mean_std"), {"low": [0.0], "high": [1.0]})


class Relative(Adapter):
    """Its policy says how far to go; it remembers how often it was asked."""

    def __init__(self) -> None:
        super().__init__(chunk_size=2)
        self.asked = 0

    def adapt_observation(self, obs: dict[str, Any], prompt: str) -> Any:
        self.asked += 1
        return prompt

    def adapt_chunk(self, chunk: Any, obs: dict[str, Any]) -> Any:
        return chunk + obs["data"]["joints"]

    def adapt_action(self, action: Any, obs: dict[str, Any]) -> Any:
        return action + 100.0


def test_the_adapter_inside_translates_and_what_leaves_is_within_bounds() -> None:
    adapter = bound(ScaledAdapter(Relative(), scale=None))
    obs = {"data": {"joints": np.array([1.0, 0.5])}}
    assert adapter.chunk_size == 2 and adapter.adapt_observation(obs, "go") == "go"
    assert adapter.adapt_chunk(np.array([[2.0, 1.0]]), obs).tolist() == [[3.0, 1.5]]
    assert adapter.adapt_action(np.array([3.0, 1.5]), obs).tolist() == [10.0, 2.0]


def test_a_copy_keeps_to_itself() -> None:
    first = ScaledAdapter(Relative())
    second = copy.copy(first)
    bound(second)
    second.adapt_observation({}, "go")
    assert isinstance(first.inner, Relative) and isinstance(second.inner, Relative)
    assert (first.inner.asked, second.inner.asked) == (0, 1)
    assert first.inner.action_space == {}
