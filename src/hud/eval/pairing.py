"""Two sets of rewards on the same tasks: their difference, its interval, and how likely chance is.

Works on plain numbers, as `statistics` does. Tasks are the unit: what counts is each task's mean
over its graded rollouts, so repeats of one task are never taken for independent evidence. Which
runs may be paired at all is `comparison`'s matter.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from operator import getitem
from statistics import NormalDist

from hud.eval.statistics import CONFIDENCE, student_t_quantile, student_t_two_sided

SIGNIFICANCE = 1.0 - CONFIDENCE
"""A p-value above this is no evidence of a difference."""

FLIPS = 10_000
"""Random sign assignments tried where all of them cannot be counted."""

POWER = 0.8
"""How often the detectable difference would be found, were it the true one."""

_RESOLUTION = 10**9
_LARGEST_DENOMINATOR = 720
_LARGEST_LATTICE = 100_000
_MOST_STEPS = 1 << 18
_MOST_LOOKUPS = 40_000_000


@dataclass(frozen=True, slots=True)
class Pairs:
    """The tasks of two sides, paired.

    Attributes:
        differences: Mean reward of the first side less that of the second, for each task that
            both have graded.
        lower_bound: Mean difference over all tasks that both have, graded or not, with what the
            first side has ungraded counted as 0 and what the second has as 1; None without any.
        upper_bound: The same the other way round.
    """

    differences: Mapping[str, float]
    lower_bound: float | None
    upper_bound: float | None

    @property
    def mean(self) -> float | None:
        """The mean difference, every task counting the same."""
        values = self.differences.values()
        return math.fsum(values) / len(values) if values else None

    @property
    def disagreeing(self) -> int:
        """Tasks on which the sides differ at all."""
        return sum(value != 0.0 for value in self.differences.values())


@dataclass(frozen=True, slots=True)
class SignFlip:
    """A sign-flip test: how often chance alone gives a mean difference at least as large.

    Attributes:
        p_value: Two-sided; None without a pair.
        flips: Random sign assignments behind it; None when all of them were counted.
        smallest_p: The smallest p-value that so many disagreeing tasks can give.
    """

    p_value: float | None
    flips: int | None
    smallest_p: float

    @property
    def is_exact(self) -> bool:
        """Whether every assignment of signs was counted."""
        return self.flips is None


@dataclass(frozen=True, slots=True)
class TaskMean:
    """One task's rewards in short.

    Attributes:
        mean: Over the graded rollouts; None without any.
        low: Over all rollouts, were the ungraded 0.
        high: Over all rollouts, were the ungraded 1.
    """

    mean: float | None
    low: float
    high: float


def task_means(rewards: Mapping[str, Sequence[float]]) -> dict[str, TaskMean]:
    """Return the means of rewards by task, NaN where ungraded; tasks without rollouts are not."""
    found: dict[str, TaskMean] = {}
    for task, values in rewards.items():
        if values:
            graded = [value for value in values if not math.isnan(value)]
            total, runs = math.fsum(graded), len(values)
            mean = total / len(graded) if graded else None
            found[task] = TaskMean(mean, total / runs, (total + runs - len(graded)) / runs)
    return found


def pair(first: Mapping[str, TaskMean], second: Mapping[str, TaskMean]) -> Pairs:
    """Pair two sides by task; tasks that one side lacks are left out."""
    differences: dict[str, float] = {}
    lows: list[float] = []
    highs: list[float] = []
    for task, ours in first.items():
        theirs = second.get(task)
        if theirs is None:
            continue
        lows.append(ours.low - theirs.high)
        highs.append(ours.high - theirs.low)
        if ours.mean is not None and theirs.mean is not None:
            differences[task] = ours.mean - theirs.mean
    return Pairs(differences, _mean(lows), _mean(highs))


def _mean(values: Sequence[float]) -> float | None:
    return math.fsum(values) / len(values) if values else None


def standard_error(differences: Sequence[float]) -> float | None:
    """Return the standard error of the mean difference; None with fewer than two."""
    count = len(differences)
    if count < 2:
        return None
    mean = math.fsum(differences) / count
    return math.sqrt(math.fsum((value - mean) ** 2 for value in differences) / (count - 1) / count)


def paired_interval(differences: Sequence[float]) -> tuple[float, float] | None:
    """Return the 95 % t interval around the mean difference; None with fewer than two."""
    error = standard_error(differences)
    if error is None:
        return None
    mean = math.fsum(differences) / len(differences)
    reach = student_t_quantile(CONFIDENCE, len(differences) - 1) * error
    return mean - reach, mean + reach


def paired_t_p(differences: Sequence[float]) -> float:
    """Return the two-sided p-value of the paired t test; 1.0 with fewer than two differences."""
    error = standard_error(differences)
    if error is None:
        return 1.0
    mean = math.fsum(differences) / len(differences)
    if error == 0.0:
        return 1.0 if mean == 0.0 else 0.0
    return student_t_two_sided(mean / error, len(differences) - 1)


def detectable_difference(differences: Sequence[float]) -> float | None:
    """Return the true difference that a sample like this finds four times of five.

    That is (t + z) times the standard error, with the t quantile of the 95 % interval and the
    normal quantile of 80 % power. None where there is no error to go by: fewer than two tasks, or
    all with the same difference.
    """
    error = standard_error(differences)
    if not error:
        return None
    quantile = student_t_quantile(CONFIDENCE, len(differences) - 1)
    return (quantile + NormalDist().inv_cdf(POWER)) * error


def sign_flip(differences: Sequence[float], *, flips: int = FLIPS, seed: int = 0) -> SignFlip:
    """Test that the sides are exchangeable on every task, by flipping the signs of differences.

    The p-value is the share of all assignments of signs whose mean is at least as far from zero
    as the one seen. It is counted exactly where that is feasible, which it is for rewards of 0
    and 1 in any number; else `flips` random assignments stand for all, the one seen among them,
    so that p is at least 1 / (flips + 1). The order of the differences does not matter.

    Raises:
        ValueError: for a difference that is not finite, or fewer than one flip.
    """
    if flips < 1:
        raise ValueError(f"flips must be at least 1, not {flips}")
    if not all(math.isfinite(value) for value in differences):
        raise ValueError("a difference of rewards is a finite number")
    whole, slack = _as_integers(differences)
    sizes = sorted(abs(value) for value in whole if value)
    smallest = math.ldexp(1.0, 1 - len(sizes)) if sizes else 1.0
    if not differences:
        return SignFlip(None, None, smallest)
    least = abs(sum(whole)) - slack
    exact = _exact_p(sizes, least)
    if exact is not None:
        return SignFlip(exact, None, smallest)
    tried = max(1, min(flips, _MOST_LOOKUPS * 8 // len(sizes)))
    found = _random_extremes(sizes, least, tried, seed)
    return SignFlip((1 + found) / (1 + tried), tried, max(smallest, 1 / (1 + tried)))


def holm(p_values: Sequence[float]) -> list[float]:
    """Return the p-values adjusted for being several, after Holm 1979, in the given order."""
    ranked = sorted(range(len(p_values)), key=lambda at: p_values[at])
    adjusted = [1.0] * len(p_values)
    highest = 0.0
    for rank, at in enumerate(ranked):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[at]))
        adjusted[at] = highest
    return adjusted


def _as_integers(differences: Sequence[float]) -> tuple[list[int], int]:
    """Return the differences in a common unit, and how far rounding may have moved their sum.

    Means of a few rewards are simple fractions: then the unit is exact, equal sums are equal
    numbers, and nothing is moved.
    """
    near = [Fraction(value).limit_denominator(_LARGEST_DENOMINATOR) for value in differences]
    unit = math.lcm(*(fraction.denominator for fraction in near))
    is_lattice = unit <= _LARGEST_LATTICE and all(
        abs(fraction - Fraction(value)) * _RESOLUTION <= 1
        for fraction, value in zip(near, differences, strict=True)
    )
    if is_lattice:
        return [int(fraction * unit) for fraction in near], 0
    return [round(value * _RESOLUTION) for value in differences], len(differences)


def _exact_p(sizes: Sequence[int], least: int) -> float | None:
    """Return the share of sign assignments whose sum is at least `least` from zero.

    Differences of one size are taken together: their sum is binomial. None where the sums are too
    many to be counted.
    """
    ways: dict[int, int] = {0: 1}
    steps = 0
    for size, times in sorted(Counter(sizes).items()):
        steps += len(ways) * (times + 1)
        if steps > _MOST_STEPS:
            return None
        choices = [(size * (2 * up - times), math.comb(times, up)) for up in range(times + 1)]
        grown: Counter[int] = Counter()
        for total, count in ways.items():
            for shift, weight in choices:
                grown[total + shift] += count * weight
        ways = grown
    extreme = sum(count for total, count in ways.items() if abs(total) >= least)
    return extreme / (1 << len(sizes))


def _random_extremes(sizes: Sequence[int], least: int, flips: int, seed: int) -> int:
    """Return how many of `flips` random sign assignments give a sum at least `least` from zero.

    Eight signs are drawn with one byte, which looks their sum up in a table.
    """
    tables: list[list[int]] = []
    for start in range(0, len(sizes), 8):
        table = [0]
        for at in range(start, start + 8):
            size = sizes[at] if at < len(sizes) else 0
            table = [total - size for total in table] + [total + size for total in table]
        tables.append(table)
    draw = random.Random(seed).randbytes
    count = len(tables)
    return sum(abs(sum(map(getitem, tables, draw(count)))) >= least for _ in range(flips))
