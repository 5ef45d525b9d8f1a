"""Sub-scores, their combination, and graders written as classes."""

from __future__ import annotations

import asyncio
import json
import logging
import math
import subprocess
import sys
from collections.abc import Awaitable
from pathlib import Path
from typing import Any, ClassVar, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from hud._core.errors import GraderFault
from hud.graders import EvaluationResult, Grader, SubScore, combine, combine_all, combine_any
from hud.graders.parameters import recorded


def score(name: str, value: float, weight: float = 1.0) -> SubScore:
    return SubScore(name=name, value=value, weight=weight)


def names(result: EvaluationResult | SubScore) -> list[str]:
    nodes = result.subscores if isinstance(result, EvaluationResult) else result.children
    assert nodes is not None
    return [node.name for node in nodes]


class Fixed(Grader):
    """Return whatever it is given."""

    name: ClassVar[str] = "Fixed"

    @classmethod
    async def compute_score(cls, returned: Any = 1.0, **kwargs: Any) -> Any:
        return returned


class TestSubScore:
    @pytest.mark.parametrize("value", [-0.01, 1.01, math.nan, math.inf])
    def test_a_value_outside_0_to_1_is_refused_also_on_assignment(self, value: float) -> None:
        with pytest.raises(ValidationError):
            score("x", value)
        node = score("x", 0.5)
        with pytest.raises(ValidationError):
            node.value = value

    def test_a_weight_that_is_not_finite_is_refused(self) -> None:
        with pytest.raises(ValidationError):
            score("x", 1.0, weight=math.nan)

    def test_the_older_names_still_work(self) -> None:
        node = SubScore.model_validate({"name": "x", "value": 0.5, "metadata": {"k": 1}})
        assert (node.info, node.metadata, node.score) == ({"k": 1}, {"k": 1}, 0.5)

    def test_a_summary_leaves_out_info_at_every_depth(self) -> None:
        leaf = SubScore(name="leaf", value=1.0, info={"stdout": "long"})
        assert combine_any(2.0, [leaf]).to_summary() == {
            "name": "any",
            "weight": 2.0,
            "value": 1.0,
            "children": [{"name": "leaf", "weight": 1.0, "value": 1.0, "children": None}],
        }

    def test_a_result_keeps_unknown_keys_and_refuses_a_nan_reward(self) -> None:
        assert EvaluationResult.model_validate({"reward": 1, "extra": 2}).model_extra == {
            "extra": 2
        }
        assert EvaluationResult.from_float(0.5).reward == 0.5
        with pytest.raises(ValidationError):
            EvaluationResult(reward=math.nan)


class TestCombine:
    async def test_positive_weights_are_scaled_to_1_with_a_warning(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        with caplog.at_level(logging.WARNING, logger="hud.graders"):
            result = await combine(score("a", 1.0, 3), score("b", 0.0, 1))
        assert result.reward == 0.75
        assert [node.weight for node in result.subscores or []] == [0.75, 0.25]
        assert "sum to 4" in caplog.text

    async def test_weights_that_sum_to_1_are_left_alone_without_a_warning(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        with caplog.at_level(logging.WARNING, logger="hud.graders"):
            result = await combine(score("a", 1.0, 0.7), score("b", 0.5, 0.3))
        assert result.reward == pytest.approx(0.85)
        assert not caplog.records

    async def test_a_negative_weight_is_a_penalty_that_may_take_the_reward_below_0(self) -> None:
        result = await combine(score("a", 0.25, 2), score("rude", 1.0, -1))
        assert result.reward == -0.75
        assert [node.weight for node in result.subscores or []] == [1.0, -1.0]

    @given(st.lists(st.floats(0.001, 1000.0), min_size=1, max_size=12))
    def test_full_marks_are_exactly_1_whatever_the_weights(self, weights: list[float]) -> None:
        items = [score("x", 1.0, weight) for weight in weights]
        assert asyncio.run(combine(*items)).reward == 1.0

    async def test_items_that_share_a_name_are_numbered_and_never_collide(self) -> None:
        result = await combine(*[score(name, 1.0) for name in ("a", "b", "a", "a-1")])
        assert names(result) == ["a-2", "b", "a-3", "a-1"]
        assert names(await combine(score("a", 1.0), score("a", 0.0))) == ["a-1", "a-2"]

    @pytest.mark.parametrize("items", [[], [score("a", 1.0, -1)], [score("a", 1.0, 0)]])
    async def test_without_a_positive_weight_there_is_no_grade(self, items: list[SubScore]) -> None:
        with pytest.raises(ValueError, match="at least one"):
            await combine(*items)

    async def test_an_item_of_another_type_is_named_and_forgets_no_coroutine(self) -> None:
        with pytest.raises(TypeError, match=r"item 2 .* 0\.5 \(float\)"):
            await combine(Fixed.grade(1.0), cast("SubScore", 0.5))

    async def test_an_awaitable_that_gives_no_sub_score_is_named(self) -> None:
        with pytest.raises(TypeError, match="item 1"):
            await combine(cast("Awaitable[SubScore]", asyncio.sleep(0, 0.5)))

    async def test_awaitables_run_in_parallel_and_keep_their_order(self) -> None:
        first_may_end = asyncio.Event()

        async def first() -> SubScore:
            await first_may_end.wait()
            return score("first", 1.0, 0.5)

        async def second() -> SubScore:
            first_may_end.set()
            return score("second", 0.0, 0.5)

        async with asyncio.timeout(30):
            result = await combine(first(), second())
        assert (names(result), result.reward) == (["first", "second"], 0.5)

    async def test_a_failing_grader_is_raised_as_it_is_and_the_others_are_cancelled(self) -> None:
        started, cancelled = asyncio.Event(), asyncio.Event()

        async def waits() -> SubScore:
            started.set()
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                cancelled.set()
                raise
            raise AssertionError

        async def fails() -> SubScore:
            await started.wait()
            raise KeyError("broken")

        async with asyncio.timeout(30):
            with pytest.raises(KeyError, match="broken"):
                await combine(waits(), fails())
        assert cancelled.is_set()

    async def test_a_grader_cancelled_from_elsewhere_is_a_fault_not_the_rollouts_end(self) -> None:
        async def gives_up() -> SubScore:
            raise asyncio.CancelledError

        with pytest.raises(GraderFault, match="grader 1 of 2 was cancelled"):
            await combine(gives_up(), Fixed.grade(1.0))

    async def test_cancelling_the_combination_cancels_its_graders(self) -> None:
        started, cancelled = asyncio.Event(), asyncio.Event()

        async def waits() -> SubScore:
            started.set()
            try:
                await asyncio.Event().wait()
            finally:
                cancelled.set()
            raise AssertionError

        grading = asyncio.create_task(combine(waits()))
        await started.wait()
        grading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await grading
        assert cancelled.is_set()

    def test_any_takes_the_best_and_all_the_worst_and_both_keep_the_inputs(self) -> None:
        inputs = [score("a", 0.2, 0.5), score("a", 0.8, 0.5)]
        best, worst = combine_any(1.0, inputs), combine_all(0.5, inputs, name="every")
        assert (best.name, best.weight, best.value) == ("any", 1.0, 0.8)
        assert (worst.name, worst.weight, worst.value) == ("every", 0.5, 0.2)
        assert names(best) == names(worst) == ["a-1", "a-2"]
        assert [node.name for node in inputs] == ["a", "a"]
        for empty in (combine_any, combine_all):
            with pytest.raises(ValueError, match="at least one"):
                empty(1.0, [])


class TestGrader:
    @pytest.mark.parametrize(
        ("returned", "value", "info"),
        [
            (0.5, 0.5, {}),
            (True, 1.0, {}),
            ((0.25, {"why": "so"}), 0.25, {"why": "so"}),
            (SubScore(name="inner", value=0.75, weight=9, info={"k": 1}), 0.75, {"k": 1}),
        ],
    )
    async def test_every_form_of_measurement_becomes_a_weighted_node(
        self, returned: object, value: float, info: dict[str, Any]
    ) -> None:
        node = await Fixed.grade(0.5, returned=returned)
        assert (node.name, node.weight, node.value) == ("Fixed", 0.5, value)
        assert node.info is not None
        assert {key: item for key, item in node.info.items() if key != "_parameters"} == info

    async def test_a_node_can_be_named_and_keeps_children(self) -> None:
        inner = combine_any(1.0, [score("leaf", 1.0)])
        node = await Fixed.grade(1.0, "mine", returned=inner)
        assert node.name == "mine"
        assert names(node) == ["leaf"]

    @pytest.mark.parametrize(
        "returned", [math.nan, math.inf, 1.5, -0.1, "1.0", None, (0.5,), (0.5, "why"), 1j]
    )
    async def test_what_is_no_number_from_0_to_1_is_a_fault_that_names_the_grader(
        self, returned: object
    ) -> None:
        with pytest.raises(GraderFault, match="grader Fixed returned"):
            await Fixed.grade(1.0, returned=returned)

    async def test_a_measurement_that_raises_is_not_turned_into_a_score(self) -> None:
        with pytest.raises(NotImplementedError, match="Grader"):
            await Grader.grade(1.0)

    async def test_the_arguments_are_recorded_beside_the_measurement(self) -> None:
        node = await Fixed.grade(1.0, returned=(1.0, {"why": "so"}), path=Path("a/b"), n=3)
        assert node.info == {
            "why": "so",
            "_parameters": {"returned": [1.0, {"why": "so"}], "path": "a/b", "n": 3},
        }


class TestRecordedParameters:
    @given(
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
            lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner),
            max_leaves=30,
        )
    )
    def test_anything_becomes_plain_json(self, value: object) -> None:
        json.dumps(recorded({"value": value}), allow_nan=False).encode()

    def test_large_deep_and_endless_values_stay_small(self) -> None:
        endless: list[object] = []
        endless.extend([endless] * 1000)
        for value in ("x" * 10**6, list(range(10**6)), {str(n): n for n in range(10**5)}, endless):
            assert len(json.dumps(recorded(value))) < 50_000

    def test_what_was_cut_is_said(self) -> None:
        assert recorded(list(range(150)))[-1] == "… 50 more"
        assert recorded({n: n for n in range(101)})["…"] == "… 1 more"
        assert recorded("x" * 4_001).endswith("… 1 more characters")

    def test_objects_are_shown_by_type_and_never_by_their_own_text(self) -> None:
        class Client:
            __qualname__ = "Client"

            def __repr__(self) -> str:
                raise AssertionError("asked for its repr")

        assert recorded([Client(), math.nan, 2**70, "\ud800"]) == [
            "<Client>",
            "nan",
            "<int>",
            "?",
        ]


def test_graders_can_be_imported_without_any_model_sdk() -> None:
    program = "import hud.graders, sys; print('openai' in sys.modules, 'httpx' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == "False False\n", done.stderr
