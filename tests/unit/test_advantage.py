"""Group-relative advantages: what they are, and that they are always numbers."""

from __future__ import annotations

import math
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hud.eval.advantage import group_relative

NAN = math.nan
rewards = st.floats(-1e100, 1e100)


def test_advantages_are_deviations_in_population_standard_deviations() -> None:
    assert group_relative([0.0, 1.0]) == [-1.0, 1.0]
    assert group_relative([0.0, 0.0, 0.0, 1.0]) == pytest.approx(
        [-(3**-0.5), -(3**-0.5), -(3**-0.5), 3**0.5]
    )


def test_without_normalising_they_are_plain_deviations() -> None:
    assert group_relative([1.0, 2.0, 6.0], normalize_std=False) == pytest.approx([-2.0, -1.0, 3.0])


def test_ungraded_members_get_0_and_leave_the_others_as_if_they_were_not_there() -> None:
    assert group_relative([NAN, 0.0, NAN, 1.0]) == [0.0, -1.0, 0.0, 1.0]
    assert group_relative([0.0, NAN, 1.0], normalize_std=False) == [-0.5, 0.0, 0.5]


@pytest.mark.parametrize(
    "group",
    [[], [0.5], [NAN], [NAN, 1.0, NAN], [1.0] * 5, [0.1] * 3, [0.0, -0.0], [0.1 + 0.2, 0.3]],
)
def test_a_group_that_says_nothing_gives_zeros(group: list[float]) -> None:
    for normalize_std in (True, False):
        assert group_relative(group, normalize_std=normalize_std) == [0.0] * len(group)


@pytest.mark.parametrize("endless", [math.inf, -math.inf])
def test_an_infinite_reward_is_refused_by_its_place(endless: float) -> None:
    with pytest.raises(ValueError, match=r"rewards\[1\] is -?inf"):
        group_relative([0.0, endless])


@given(st.lists(rewards | st.just(NAN), max_size=30), st.booleans())
def test_advantages_are_finite_one_per_reward_in_order_and_sum_to_0(
    group: list[float], normalize_std: bool
) -> None:
    advantages = group_relative(group, normalize_std=normalize_std)
    assert len(advantages) == len(group)
    assert all(math.isfinite(advantage) for advantage in advantages)
    largest = max(map(abs, advantages), default=0.0)
    assert abs(math.fsum(advantages)) <= 1e-9 * largest
    graded = [(r, a) for r, a in zip(group, advantages, strict=True) if not math.isnan(r)]
    assert [a for _, a in sorted(graded)] == sorted(a for _, a in graded)


@given(st.lists(rewards, min_size=2, max_size=30))
def test_normalised_advantages_have_unit_deviation_or_are_all_0(group: list[float]) -> None:
    advantages = group_relative(group)
    assert not any(advantages) or statistics.pstdev(advantages) == pytest.approx(1.0)


@given(st.lists(st.integers(0, 100), min_size=2, max_size=10), st.integers(1, 50))
def test_normalised_advantages_do_not_depend_on_the_unit_of_reward(
    group: list[int], unit: int
) -> None:
    scaled = [float(reward * unit) for reward in group]
    assert group_relative(scaled) == pytest.approx(group_relative([float(r) for r in group]))
