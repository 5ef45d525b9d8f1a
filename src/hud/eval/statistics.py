"""What a set of rewards says, and how sure one can be of it.

Works on plain numbers: rewards by task, NaN where a rollout was not graded. Knows nothing of runs,
jobs or tables; an ungraded rollout never counts as 0 in a mean, only in the bounds.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist

CONFIDENCE = 0.95
"""The confidence level of every interval reported."""

# A weighted sum of full marks may miss 1.0 by rounding; that is still a success.
_ROUNDING = 1e-9
_MAX_SERIES_DF = 100_000


@dataclass(frozen=True, slots=True)
class PassAtK:
    """The chance that at least one of `k` rollouts of a task succeeds, averaged over tasks.

    Attributes:
        k: How many rollouts are drawn, without replacement, from a task's graded ones.
        value: The mean of the unbiased estimate over the tasks it is defined for, or None (n/a)
            when no task has `k` graded rollouts.
        tasks: How many tasks that is; fewer than `Summary.tasks` means the rest are left out.
    """

    k: int
    value: float | None
    tasks: int


@dataclass(frozen=True, slots=True)
class BestAtK:
    """The reward of the best of `k` rollouts of a task, averaged over tasks.

    Attributes:
        k: How many rollouts are drawn, without replacement, from a task's graded ones.
        value: The mean of the unbiased estimate over the tasks it is defined for, or None (n/a)
            when no task has `k` graded rollouts.
        tasks: How many tasks that is.
    """

    k: int
    value: float | None
    tasks: int


@dataclass(frozen=True, slots=True)
class Summary:
    """The statistics of one taskset's rewards. None stands for "not available".

    Attributes:
        tasks: Tasks in the set, graded or not.
        graded_tasks: Tasks with at least one graded rollout: the clusters behind the error.
        runs: Rollouts in the set.
        graded: Rollouts with a reward.
        mean: Mean reward over graded rollouts.
        standard_error: Standard error of `mean`, robust to correlation within a task; None with
            fewer than two graded tasks.
        interval: The 95 % t interval around `mean` with graded_tasks - 1 degrees of freedom.
        coverage: graded / runs.
        lower_bound: Mean over all rollouts with the ungraded counted as 0.
        upper_bound: Mean over all rollouts with the ungraded counted as 1.
        success_rate: Share of graded rollouts whose reward reaches the success threshold.
        pass_at_k: One entry per k asked for, in that order.
        ungraded_by_cause: Ungraded rollouts by the boundary that broke.
        best_at_k: One entry per k asked for, in that order.
    """

    tasks: int
    graded_tasks: int
    runs: int
    graded: int
    mean: float | None
    standard_error: float | None
    interval: tuple[float, float] | None
    coverage: float | None
    lower_bound: float | None
    upper_bound: float | None
    success_rate: float | None
    pass_at_k: tuple[PassAtK, ...]
    ungraded_by_cause: Mapping[str, int]
    best_at_k: tuple[BestAtK, ...] = ()

    @property
    def ungraded(self) -> int:
        """Rollouts without a reward."""
        return self.runs - self.graded


def summarize(
    rewards: Mapping[str, Sequence[float]],
    *,
    ks: Iterable[int] = (1,),
    success_threshold: float = 1.0,
    ungraded_by_cause: Mapping[str, int] | None = None,
) -> Summary:
    """Return the statistics of `rewards`: per task, one number per rollout, NaN where ungraded.

    A reward within 1e-9 of `success_threshold` reaches it. The order of tasks and rollouts does
    not matter.

    Raises:
        ValueError: for an infinite reward, a k below 1, or causes that do not add up to the
            number of ungraded rollouts.
    """
    graded_by_task = {task: _graded(task, values) for task, values in rewards.items()}
    clusters = [values for values in graded_by_task.values() if values]
    graded = [value for values in clusters for value in values]
    runs = sum(len(values) for values in rewards.values())
    ungraded = runs - len(graded)
    causes = _checked_causes(ungraded_by_cause, ungraded)
    successes = [sum(_succeeds(value, success_threshold) for value in c) for c in clusters]
    mean = math.fsum(graded) / len(graded) if graded else None
    error = _clustered_standard_error(clusters)
    total = math.fsum(graded)
    ks = tuple(ks)
    return Summary(
        tasks=len(rewards),
        graded_tasks=len(clusters),
        runs=runs,
        graded=len(graded),
        mean=mean,
        standard_error=error,
        interval=_interval(mean, error, len(clusters)),
        coverage=len(graded) / runs if runs else None,
        lower_bound=total / runs if runs else None,
        upper_bound=(total + ungraded) / runs if runs else None,
        success_rate=sum(successes) / len(graded) if graded else None,
        pass_at_k=tuple(_mean_pass_at(k, clusters, successes) for k in ks),
        ungraded_by_cause=causes,
        best_at_k=tuple(_mean_best_at(k, clusters) for k in ks),
    )


def pass_at_k(graded: int, successes: int, k: int) -> float | None:
    """Return the unbiased chance that `k` of a task's `graded` rollouts hold a success.

    That is 1 - C(graded - successes, k) / C(graded, k), the estimator of Chen et al. 2021
    ("Evaluating Large Language Models Trained on Code"), computed in whole numbers and rounded
    once. None when `k` exceeds `graded`.

    Raises:
        ValueError: when `k` is below 1, or `successes` is not within 0 and `graded`.
    """
    if k < 1:
        raise ValueError(f"k of pass@k must be at least 1, not {k}")
    if not 0 <= successes <= graded:
        raise ValueError(f"{successes} successes of {graded} graded rollouts cannot be")
    if k > graded:
        return None
    draws = math.comb(graded, k)
    return (draws - math.comb(graded - successes, k)) / draws


def best_at_k(rewards: Sequence[float], k: int) -> float | None:
    """Return the unbiased estimate of the best reward among `k` of a task's graded rollouts.

    That is the mean of the maximum over all subsets of size `k`: the i-th smallest of n rewards is
    the maximum of C(i - 1, k - 1) of the C(n, k) subsets. With rewards of 0 and 1 it is pass@k.
    None when `k` exceeds the number of rewards.

    Raises:
        ValueError: when `k` is below 1.
    """
    if k < 1:
        raise ValueError(f"k of best@k must be at least 1, not {k}")
    if k > len(rewards):
        return None
    draws = math.comb(len(rewards), k)
    ordered = sorted(rewards)
    return math.fsum(
        math.comb(below, k - 1) / draws * ordered[below] for below in range(k - 1, len(ordered))
    )


def student_t_quantile(confidence: float, df: int) -> float:
    """Return t such that a Student t variable of `df` degrees lies within ±t with `confidence`.

    Solves the exact finite series for whole degrees of freedom (Abramowitz and Stegun, 26.7.3 and
    26.7.4) to about 12 digits; above 100,000 degrees the normal expansion (26.7.5) is as good.

    Raises:
        ValueError: when `confidence` is not strictly within 0 and 1, or `df` is below 1.
    """
    if not 0.0 < confidence < 1.0 or df < 1:
        raise ValueError(f"no t quantile for confidence {confidence} and {df} degrees of freedom")
    normal = NormalDist().inv_cdf((1.0 + confidence) / 2.0)
    if df > _MAX_SERIES_DF:
        return (
            normal
            + (normal**3 + normal) / (4 * df)
            + (5 * normal**5 + 16 * normal**3 + 3 * normal) / (96 * df**2)
        )
    log_scale = math.lgamma((df + 1) / 2) - math.lgamma(df / 2) - math.log(df * math.pi) / 2
    t = normal
    # The central probability is concave in t and the normal quantile lies below the root, so
    # Newton's steps climb to it without overshooting; rounding ends the climb.
    for _ in range(200):
        density = 2.0 * math.exp(log_scale - (df + 1) / 2 * math.log1p(t * t / df))
        step = (confidence - _central_probability(t, df)) / density
        t += step
        if step <= 4 * sys.float_info.epsilon * t:
            break
    return t


def student_t_two_sided(t: float, df: int) -> float:
    """Return the chance that a Student t variable of `df` degrees is at least as far out as `t`.

    Raises:
        ValueError: when `df` is below 1.
    """
    if df < 1:
        raise ValueError(f"no t distribution has {df} degrees of freedom")
    if df > _MAX_SERIES_DF:
        return math.erfc(abs(t) / math.sqrt(2.0))
    return min(1.0, max(0.0, 1.0 - _central_probability(abs(t), df)))


def _central_probability(t: float, df: int) -> float:
    """Return P(-t < T < t) for a Student t variable of `df` degrees of freedom."""
    angle = math.atan2(t, math.sqrt(df))
    cosine_squared = df / (df + t * t)
    odd = df % 2
    term = math.sqrt(cosine_squared) if odd else 1.0
    terms = [term] if df > 1 else []
    for j in range(2 + odd, df - 1, 2):
        term *= cosine_squared * (j - 1) / j
        terms.append(term)
    series = math.sin(angle) * math.fsum(terms)
    return 2.0 / math.pi * (angle + series) if odd else series


def _graded(task: str, values: Sequence[float]) -> list[float]:
    for value in values:
        if math.isinf(value):
            raise ValueError(f"rewards[{task!r}] holds {value!r}: a reward is finite, or NaN")
    return [value for value in values if not math.isnan(value)]


def _succeeds(reward: float, threshold: float) -> bool:
    return reward >= threshold - _ROUNDING


def _clustered_standard_error(clusters: Sequence[Sequence[float]]) -> float | None:
    """Return the standard error of the overall mean with tasks as clusters.

    The square is G/(G-1) Σ_g (Σ_i (x_gi - mean))² / N² for G clusters and N values (Liang and
    Zeger 1986): whatever correlates inside a task stays inside its term.
    """
    groups = len(clusters)
    if groups < 2:
        return None
    count = sum(len(cluster) for cluster in clusters)
    mean = math.fsum(value for cluster in clusters for value in cluster) / count
    squares = math.fsum((math.fsum(c) - len(c) * mean) ** 2 for c in clusters)
    return math.sqrt(groups / (groups - 1) * squares) / count


def _interval(mean: float | None, error: float | None, groups: int) -> tuple[float, float] | None:
    if mean is None or error is None:
        return None
    reach = student_t_quantile(CONFIDENCE, groups - 1) * error
    return mean - reach, mean + reach


def _mean_pass_at(k: int, clusters: Sequence[Sequence[float]], successes: Sequence[int]) -> PassAtK:
    estimates = [
        estimate
        for cluster, won in zip(clusters, successes, strict=True)
        if (estimate := pass_at_k(len(cluster), won, k)) is not None
    ]
    value = math.fsum(estimates) / len(estimates) if estimates else None
    return PassAtK(k=k, value=value, tasks=len(estimates))


def _mean_best_at(k: int, clusters: Sequence[Sequence[float]]) -> BestAtK:
    found = [best for cluster in clusters if (best := best_at_k(cluster, k)) is not None]
    return BestAtK(k=k, value=math.fsum(found) / len(found) if found else None, tasks=len(found))


def _checked_causes(causes: Mapping[str, int] | None, ungraded: int) -> dict[str, int]:
    if causes is None:
        return {}
    total = sum(causes.values())
    if total != ungraded:
        raise ValueError(f"causes name {total} ungraded rollouts, the rewards show {ungraded}")
    return dict(causes)
