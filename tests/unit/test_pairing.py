"""Paired differences and the sign-flip test: against scipy, by simulation, and in their laws."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from itertools import combinations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from hud.eval.pairing import (
    FLIPS,
    detectable_difference,
    holm,
    pair,
    paired_interval,
    paired_t_p,
    sign_flip,
    task_means,
)
from hud.eval.statistics import best_at_k, pass_at_k, student_t_two_sided, summarize

NAN = math.nan
differences = st.lists(st.floats(-1, 1), max_size=12)
thirds = st.lists(st.integers(-3, 3).map(lambda n: n / 3), max_size=40)
tables = st.dictionaries(
    st.text(max_size=2), st.lists(st.floats(0, 1) | st.just(NAN), max_size=4), max_size=6
)


def scipy_p(values: Sequence[float]) -> float:
    """Return the exact two-sided p-value of scipy's permutation test over signs."""
    found = stats.permutation_test(
        (np.array(values),),
        np.sum,
        permutation_type="samples",
        n_resamples=1 << 20,
        alternative="two-sided",
        vectorized=True,
    )
    return float(found.pvalue)


class TestSignFlip:
    @pytest.mark.parametrize("tasks", range(2, 15))
    @pytest.mark.parametrize("kind", ["binary", "thirds", "continuous"])
    def test_exact_p_values_are_those_of_scipy(self, tasks: int, kind: str) -> None:
        draw = random.Random(f"{kind}{tasks}")
        values = {
            "binary": lambda: float(draw.randint(-1, 1)),
            "thirds": lambda: draw.randint(0, 3) / 3 - draw.randint(0, 3) / 3,
            "continuous": lambda: draw.gauss(0.2, 1.0),
        }[kind]
        found = [values() for _ in range(tasks)]
        test = sign_flip(found)
        assert test.is_exact
        # scipy compares rounded sums of thirds, so it is given whole numbers of them.
        theirs = [round(3 * value) for value in found] if kind == "thirds" else found
        assert test.p_value == pytest.approx(scipy_p(theirs), abs=1e-12)

    def test_rewards_of_0_and_1_are_counted_exactly_for_any_number_of_tasks(self) -> None:
        for wins, losses in ((60, 40), (1_200, 1_100), (30, 2)):
            test = sign_flip([1.0] * wins + [-1.0] * losses + [0.0] * 500)
            expected = stats.binomtest(wins, wins + losses).pvalue
            assert test.is_exact
            assert test.p_value == pytest.approx(expected, rel=1e-9)

    def test_where_all_cannot_be_counted_random_flips_come_close_and_are_stated(self) -> None:
        draw = random.Random(7)
        for shift in (0.0, 0.15, 0.3):
            values = [draw.gauss(shift, 1.0) for _ in range(80)]
            test = sign_flip(values)
            assert test.flips == FLIPS
            normal = paired_t_p(values)
            assert test.p_value == pytest.approx(normal, abs=4 * math.sqrt(0.25 / FLIPS))

    def test_the_smallest_p_value_is_what_full_agreement_gives(self) -> None:
        for tasks in range(1, 9):
            test = sign_flip([0.1 * n for n in range(1, tasks + 1)])
            assert test.p_value == test.smallest_p == 2.0 ** (1 - tasks)
        certain = sign_flip([random.Random(3).uniform(0.5, 1) * n for n in range(1, 101)])
        assert certain.p_value == certain.smallest_p == 1 / (FLIPS + 1)

    def test_no_difference_at_all_is_a_p_value_of_1_and_no_pair_is_none(self) -> None:
        assert sign_flip([0.0, 0.0, 0.0]).p_value == 1.0
        assert sign_flip([]).p_value is None

    def test_a_sum_that_differs_by_rounding_only_counts_as_equal(self) -> None:
        values = [1 / 3, 1 / 3, -2 / 3, 0.1 + 0.2 - 0.3]
        assert sign_flip(values).p_value == 1.0

    @settings(deadline=None)
    @given(differences | thirds)
    def test_it_is_the_same_for_both_directions_and_in_any_order(self, values: list[float]) -> None:
        test = sign_flip(values, flips=50)
        assert sign_flip([-value for value in values], flips=50) == test
        shuffled = random.Random(0).sample(values, len(values))
        assert sign_flip(shuffled, flips=50) == test
        assert test.p_value is None or 0.0 < test.p_value <= 1.0

    @settings(deadline=None)
    @given(st.lists(st.integers(-2, 2), min_size=1, max_size=8))
    def test_it_is_the_share_of_all_signs_at_least_as_extreme(self, whole: list[int]) -> None:
        signs = list(product((-1, 1), repeat=len(whole)))
        sums = [sum(s * v for s, v in zip(sign, whole, strict=True)) for sign in signs]
        share = sum(abs(total) >= abs(sum(whole)) for total in sums) / len(signs)
        assert sign_flip([value / 2 for value in whole]).p_value == share

    def test_what_is_no_difference_is_refused(self) -> None:
        with pytest.raises(ValueError, match="finite"):
            sign_flip([NAN])
        with pytest.raises(ValueError, match="at least 1"):
            sign_flip([1.0], flips=0)


def simulated(rng: random.Random, tasks: int, group: int, gain: float) -> list[float]:
    """Return the differences of two agents on tasks of varying difficulty, graded 0 or 1."""
    found: list[float] = []
    for _ in range(tasks):
        chance = rng.betavariate(0.6, 0.6)
        better = min(1.0, chance + gain)
        ours = sum(rng.random() < better for _ in range(group)) / group
        theirs = sum(rng.random() < chance for _ in range(group)) / group
        found.append(ours - theirs)
    return found


@pytest.mark.parametrize(("tasks", "group", "least"), [(12, 1, 0.0), (40, 1, 0.02), (40, 4, 0.035)])
def test_without_a_difference_about_one_test_in_twenty_says_there_is_one(
    tasks: int, group: int, least: float
) -> None:
    rng = random.Random(11)
    times = 2_000
    found = [sign_flip(simulated(rng, tasks, group, 0.0)).p_value or 1.0 for _ in range(times)]
    share = sum(p_value <= 0.05 for p_value in found) / times
    # Few tasks with few possible rewards cannot come close to 5 % from below.
    assert least <= share <= 0.05 + 4 * math.sqrt(0.05 * 0.95 / times)


def test_intervals_cover_the_true_difference_and_the_detectable_one_is_found_as_said() -> None:
    rng = random.Random(5)
    times, tasks = 2_000, 40
    covered = found = 0
    reach = detectable_difference([rng.gauss(0.0, 1.0) for _ in range(20_000)])
    assert reach is not None
    gain = reach * math.sqrt(20_000 / tasks)
    for _ in range(times):
        values = [rng.gauss(gain, 1.0) for _ in range(tasks)]
        interval = paired_interval(values)
        assert interval is not None
        covered += interval[0] <= gain <= interval[1]
        found += paired_t_p(values) <= 0.05
    assert covered / times == pytest.approx(0.95, abs=0.02)
    assert found / times == pytest.approx(0.8, abs=0.04)


class TestPaired:
    def test_ungraded_rollouts_are_in_the_bounds_only(self) -> None:
        first = task_means({"a": [1.0, NAN], "b": [0.0], "c": [NAN], "only": [1.0], "none": []})
        second = task_means({"a": [0.0, 0.0], "b": [NAN, 1.0], "c": [1.0], "none": [1.0]})
        found = pair(first, second)
        assert found.differences == {"a": 1.0, "b": -1.0}
        assert found.mean == 0.0
        assert found.lower_bound == pytest.approx((0.5 - 1.0 - 1.0) / 3)
        assert found.upper_bound == pytest.approx((1.0 - 0.5 + 0.0) / 3)

    @settings(deadline=None)
    @given(tables, tables)
    def test_the_bounds_hold_the_difference_whatever_the_ungraded_would_have_been(
        self, first: dict[str, list[float]], second: dict[str, list[float]]
    ) -> None:
        found = pair(task_means(first), task_means(second))
        for value in (0.0, 0.5, 1.0):
            ours = {t: [value if math.isnan(r) else r for r in rs] for t, rs in first.items()}
            theirs = {
                t: [1 - value if math.isnan(r) else r for r in rs] for t, rs in second.items()
            }
            filled = pair(task_means(ours), task_means(theirs)).mean
            if filled is None:
                assert found.lower_bound is None
            else:
                assert found.lower_bound is not None and found.upper_bound is not None
                assert found.lower_bound - 1e-9 <= filled <= found.upper_bound + 1e-9

    @settings(deadline=None)
    @given(tables, tables)
    def test_turning_the_sides_round_turns_the_signs_round(
        self, first: dict[str, list[float]], second: dict[str, list[float]]
    ) -> None:
        one = pair(task_means(first), task_means(second))
        other = pair(task_means(second), task_means(first))
        assert other.differences == {task: -value for task, value in one.differences.items()}
        if one.mean is not None and one.lower_bound is not None:
            assert other.mean == pytest.approx(-one.mean)
            assert other.upper_bound == pytest.approx(-one.lower_bound)

    def test_the_t_test_and_its_interval_are_those_of_scipy(self) -> None:
        rng = random.Random(2)
        for tasks in (2, 3, 10, 200):
            values = [rng.gauss(0.3, 1.0) for _ in range(tasks)]
            theirs = stats.ttest_1samp(values, 0.0)
            assert paired_t_p(values) == pytest.approx(float(theirs.pvalue), rel=1e-9)
            low, high = theirs.confidence_interval(0.95)
            assert paired_interval(values) == pytest.approx((float(low), float(high)))

    def test_one_task_gives_no_interval_and_no_detectable_difference(self) -> None:
        assert paired_interval([1.0]) is None
        assert detectable_difference([1.0]) is None
        assert detectable_difference([0.5, 0.5, 0.5]) is None
        assert (paired_t_p([1.0]), paired_t_p([0.5, 0.5]), paired_t_p([0.0, 0.0])) == (1, 0, 1)


class TestHolm:
    def test_it_is_the_step_down_of_its_author(self) -> None:
        assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
        assert holm([]) == []

    @settings(deadline=None)
    @given(st.lists(st.floats(0, 1), max_size=8))
    def test_it_only_raises_and_keeps_the_order(self, values: list[float]) -> None:
        adjusted = holm(values)
        assert all(0 <= value <= now <= 1 for value, now in zip(values, adjusted, strict=True))
        ranked = sorted(range(len(values)), key=lambda at: values[at])
        assert [adjusted[at] for at in ranked] == sorted(adjusted)


@pytest.mark.parametrize("df", [1, 2, 7, 60, 5_000, 200_000])
def test_the_two_sided_t_probability_is_that_of_scipy(df: int) -> None:
    for t in (0.0, 0.3, -1.96, 4.0):
        expected = 2 * float(stats.t.sf(abs(t), df))
        assert student_t_two_sided(t, df) == pytest.approx(expected, abs=2e-6)
    with pytest.raises(ValueError, match="degrees"):
        student_t_two_sided(1.0, 0)


class TestBestAtK:
    @settings(deadline=None)
    @given(st.lists(st.floats(0, 1), min_size=1, max_size=7), st.integers(1, 7))
    def test_it_is_the_mean_of_the_best_over_all_draws(self, rewards: list[float], k: int) -> None:
        found = best_at_k(rewards, k)
        if k > len(rewards):
            assert found is None
        else:
            bests = [max(draw) for draw in combinations(rewards, k)]
            assert found == pytest.approx(sum(bests) / len(bests))

    def test_with_rewards_of_0_and_1_it_is_pass_at_k(self) -> None:
        for wins in range(6):
            rewards = [1.0] * wins + [0.0] * (5 - wins)
            for k in range(1, 6):
                assert best_at_k(rewards, k) == pytest.approx(pass_at_k(5, wins, k))

    def test_a_summary_has_it_beside_pass_at_k(self) -> None:
        summary = summarize({"a": [0.2, 0.6, NAN], "b": [0.4]}, ks=iter((1, 2)))
        assert [one.value for one in summary.best_at_k] == pytest.approx([0.4, 0.6])
        assert [(one.k, one.tasks) for one in summary.best_at_k] == [(1, 2), (2, 1)]
        assert [one.k for one in summary.pass_at_k] == [1, 2]

    def test_a_k_below_1_is_an_error(self) -> None:
        with pytest.raises(ValueError, match="at least 1"):
            best_at_k([1.0], 0)
