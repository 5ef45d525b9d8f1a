"""Means, errors and pass@k: against reference values, and against simulated evaluations."""

from __future__ import annotations

import dataclasses
import json
import math
from fractions import Fraction
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from hud.eval.statistics import PassAtK, pass_at_k, student_t_quantile, summarize

NAN = math.nan
reward_tables = st.dictionaries(
    st.text(max_size=3), st.lists(st.floats(0, 1) | st.just(NAN), max_size=6), max_size=6
)


class TestStudentT:
    @pytest.mark.parametrize("confidence", [0.5, 0.8, 0.9, 0.95, 0.99, 0.999])
    def test_quantiles_agree_with_scipy_for_1_to_500_degrees(self, confidence: float) -> None:
        df = np.arange(1, 501)
        expected = stats.t.ppf((1 + confidence) / 2, df)
        ours = [student_t_quantile(confidence, int(n)) for n in df]
        np.testing.assert_allclose(ours, expected, rtol=1e-11)

    @pytest.mark.parametrize("df", [5_000, 100_000, 100_001, 10**7])
    def test_quantiles_agree_with_scipy_for_large_degrees(self, df: int) -> None:
        assert student_t_quantile(0.95, df) == pytest.approx(stats.t.ppf(0.975, df), rel=1e-10)

    @pytest.mark.parametrize(("confidence", "df"), [(0.0, 5), (1.0, 5), (0.95, 0), (NAN, 5)])
    def test_a_quantile_that_does_not_exist_is_an_error(self, confidence: float, df: int) -> None:
        with pytest.raises(ValueError, match="no t quantile"):
            student_t_quantile(confidence, df)


class TestPassAtK:
    @pytest.mark.parametrize("graded", range(1, 8))
    def test_it_is_the_share_of_all_draws_of_k_that_hold_a_success(self, graded: int) -> None:
        for successes in range(graded + 1):
            outcomes = [True] * successes + [False] * (graded - successes)
            for k in range(1, graded + 1):
                draws = [any(draw) for draw in combinations(outcomes, k)]
                share = float(Fraction(sum(draws), len(draws)))
                assert pass_at_k(graded, successes, k) == share

    def test_it_stays_exact_for_counts_whose_binomials_overflow_a_float(self) -> None:
        assert pass_at_k(10_000, 1, 5_000) == 0.5
        assert pass_at_k(10_000, 0, 5_000) == 0.0
        assert pass_at_k(10_000, 5_001, 5_000) == 1.0

    def test_it_is_not_available_beyond_the_graded_rollouts(self) -> None:
        assert pass_at_k(3, 3, 4) is None
        assert pass_at_k(0, 0, 1) is None

    @pytest.mark.parametrize("counts", [(3, 4, 1), (3, -1, 1), (3, 1, 0)])
    def test_impossible_counts_are_an_error(self, counts: tuple[int, int, int]) -> None:
        with pytest.raises(ValueError, match=r"successes|at least 1"):
            pass_at_k(*counts)

    def test_a_tasksets_value_averages_tasks_where_it_is_defined_and_says_how_many(self) -> None:
        rewards = {"a": [1.0, 0.0, 0.0], "b": [1.0, NAN, NAN], "c": [0.0, 0.0, NAN], "d": [NAN]}
        summary = summarize(rewards, ks=(1, 2, 3, 4))
        assert summary.pass_at_k == (
            PassAtK(k=1, value=(1 / 3 + 1 + 0) / 3, tasks=3),
            PassAtK(k=2, value=(2 / 3 + 0) / 2, tasks=2),
            PassAtK(k=3, value=1.0, tasks=1),
            PassAtK(k=4, value=None, tasks=0),
        )


class TestSummary:
    def test_ungraded_rollouts_count_only_in_coverage_and_bounds(self) -> None:
        summary = summarize(
            {"a": [1.0, NAN], "b": [0.0, 1.0], "c": [NAN]},
            ungraded_by_cause={"model": 1, "runtime": 1},
        )
        assert (summary.tasks, summary.graded_tasks) == (3, 2)
        assert (summary.runs, summary.graded, summary.ungraded) == (5, 3, 2)
        assert summary.mean == pytest.approx(2 / 3)
        assert summary.coverage == 0.6
        assert (summary.lower_bound, summary.upper_bound) == (0.4, 0.8)
        assert summary.success_rate == pytest.approx(2 / 3)
        assert summary.ungraded_by_cause == {"model": 1, "runtime": 1}

    def test_the_error_treats_a_tasks_rollouts_as_one_cluster(self) -> None:
        rewards = {"a": [1.0, 1.0, 0.0], "b": [0.0, 0.0], "c": [1.0]}
        # Mean 1/2; residual sums 1/2, -1, 1/2; G/(G-1) = 3/2; N = 6.
        assert summarize(rewards).standard_error == pytest.approx(math.sqrt(1.5 * 1.5) / 6)

    def test_with_equal_groups_it_is_the_error_of_the_task_means(self) -> None:
        rewards = {"a": [0.0, 1.0], "b": [1.0, 1.0], "c": [0.0, 0.0], "d": [0.5, 0.7]}
        means = [sum(values) / 2 for values in rewards.values()]
        expected = stats.sem(means)
        summary = summarize(rewards)
        assert summary.standard_error == pytest.approx(expected)
        low, high = stats.t.interval(0.95, df=3, loc=np.mean(means), scale=expected)
        assert summary.interval == (pytest.approx(low), pytest.approx(high))

    def test_repeating_every_rollout_makes_the_mean_no_surer(self) -> None:
        once = {"a": [0.0], "b": [1.0], "c": [0.3]}
        often = {task: values * 50 for task, values in once.items()}
        assert summarize(often).standard_error == pytest.approx(summarize(once).standard_error)

    @pytest.mark.parametrize("rewards", [{"a": [0.0, 1.0]}, {"a": [0.0, 1.0], "b": [NAN]}])
    def test_one_graded_task_has_a_mean_but_no_error(self, rewards: dict[str, list[float]]) -> None:
        summary = summarize(rewards)
        assert summary.mean == 0.5
        assert summary.standard_error is None
        assert summary.interval is None

    def test_without_rollouts_or_grades_nothing_is_made_up(self) -> None:
        empty, ungraded = summarize({}), summarize({"a": [NAN, NAN], "b": []})
        assert (empty.mean, empty.coverage, empty.lower_bound, empty.success_rate) == (None,) * 4
        assert (ungraded.mean, ungraded.interval, ungraded.success_rate) == (None, None, None)
        assert (ungraded.coverage, ungraded.lower_bound, ungraded.upper_bound) == (0.0, 0.0, 1.0)
        assert ungraded.pass_at_k == (PassAtK(k=1, value=None, tasks=0),)

    def test_the_success_threshold_can_be_set_and_forgives_rounding_only(self) -> None:
        rewards = {"a": [0.5, 0.49, 1.0 - 1e-12, 0.999]}
        assert summarize(rewards).success_rate == 0.25
        assert summarize(rewards, success_threshold=0.5).success_rate == 0.75

    @pytest.mark.parametrize("endless", [math.inf, -math.inf])
    def test_an_infinite_reward_is_refused_by_its_task(self, endless: float) -> None:
        with pytest.raises(ValueError, match="'bad'"):
            summarize({"good": [1.0], "bad": [endless]})

    def test_causes_that_do_not_add_up_are_refused(self) -> None:
        with pytest.raises(ValueError, match="causes name 2 ungraded rollouts, the rewards show 1"):
            summarize({"a": [NAN]}, ungraded_by_cause={"model": 2})

    @given(reward_tables)
    def test_every_figure_is_plain_json_and_lies_where_it_must(
        self, rewards: dict[str, list[float]]
    ) -> None:
        summary = summarize(rewards, ks=(1, 3))
        json.dumps(dataclasses.asdict(summary), allow_nan=False)
        if summary.mean is None:
            assert summary.graded == 0
            return
        assert summary.lower_bound is not None
        assert summary.upper_bound is not None
        slack = 1e-12
        assert -slack <= summary.lower_bound <= summary.mean + slack
        assert summary.mean <= summary.upper_bound + slack <= 1 + 2 * slack
        assert (summary.interval is None) == (summary.graded_tasks < 2)


@pytest.mark.parametrize(("tasks", "repeats"), [(5, 8), (20, 4), (200, 4)])
@pytest.mark.parametrize("ungraded_share", [0.0, 0.1])
def test_95_percent_intervals_hold_the_true_mean_in_93_to_97_percent_of_evaluations(
    tasks: int, repeats: int, ungraded_share: float
) -> None:
    simulations = 3_000
    draw = np.random.default_rng(20_24)
    difficulty = draw.beta(2, 3, size=(simulations, tasks, 1))
    rewards = (draw.random((simulations, tasks, repeats)) < difficulty).astype(float)
    rewards[draw.random(rewards.shape) < ungraded_share] = np.nan
    names = [f"task-{n}" for n in range(tasks)]
    held = 0
    for evaluation in rewards.tolist():
        interval = summarize(dict(zip(names, evaluation, strict=True)), ks=()).interval
        assert interval is not None
        held += interval[0] <= 0.4 <= interval[1]  # the mean of Beta(2, 3)
    assert 0.93 <= held / simulations <= 0.97


def test_ignoring_tasks_would_fail_that_simulation() -> None:
    """The cluster correction matters: intervals from independent rollouts would be too short."""
    draw = np.random.default_rng(20_24)
    difficulty = draw.beta(0.5, 0.5, size=(20, 1))
    rewards = (draw.random((20, 16)) < difficulty).astype(float)
    clustered = summarize({str(n): row for n, row in enumerate(rewards.tolist())}).standard_error
    alone = summarize({str(n): [v] for n, v in enumerate(rewards.ravel().tolist())}).standard_error
    assert clustered is not None
    assert alone is not None
    assert clustered > 2 * alone
