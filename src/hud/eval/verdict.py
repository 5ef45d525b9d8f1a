"""A comparison in words: its verdict, and what must be known before believing it."""

from __future__ import annotations

from hud.eval.comparison import Comparison
from hud.eval.pairing import SIGNIFICANCE


def verdict_of(found: Comparison) -> str:
    """Return what came out of a comparison, in one sentence."""
    first, second = found.first.name, found.second.name
    mean, p_value, interval = found.difference, found.p_value, found.interval
    if mean is None or p_value is None:
        return f"{first} and {second} cannot be compared: no task is graded on both sides"
    test = spelled_p(p_value)
    if found.comparisons > 1:
        test += f" (adjusted for {found.comparisons} comparisons)"
    if found.better is None:
        return (
            f"no difference can be told from {tasks_in_words(found.compared)}: "
            f"{first} − {second} = {mean:+.3f}{_between(interval)}, {test}"
        )
    if mean < 0:
        first, second, mean = second, first, -mean
        interval = None if interval is None else (-interval[1], -interval[0])
    return f"{first} is better than {second} by {mean:.3f}{_between(interval)}, {test}"


def warnings_of(found: Comparison) -> tuple[str, ...]:
    """Return what a reader of the verdict must know, one sentence each, the gravest first."""
    return (
        *_about_size(found),
        *_about_coverage(found),
        *_about_tasks(found),
        *_about_sides(found),
    )


def spelled_p(p_value: float) -> str:
    """Return `p = 0.008`, `p < 0.001`."""
    return "p < 0.001" if p_value < 0.001 else f"p = {p_value:.3f}"


def tasks_in_words(count: int) -> str:
    """Return `1 task`, `2 tasks`."""
    return f"{count:,} task{'' if count == 1 else 's'}"


def reasons_in_words(invalid_by_reason: dict[str, int]) -> str:
    """Return `broken image: 3, wrong key: 1`."""
    return ", ".join(f"{reason or 'no reason'}: {n:,}" for reason, n in invalid_by_reason.items())


def _between(interval: tuple[float, float] | None) -> str:
    return "" if interval is None else f" [{interval[0]:.3f}, {interval[1]:.3f}]"


def _about_size(found: Comparison) -> list[str]:
    if not found.compared:
        return []
    # Sides that came out alike on many tasks are no small sample.
    smallest = found.test.smallest_p if found.disagreeing else 2.0 ** (1 - found.compared)
    smallest = min(1.0, smallest * found.comparisons)
    if smallest > SIGNIFICANCE:
        differ = f"the sides differ on {found.disagreeing:,} of {tasks_in_words(found.compared)}"
        least = f"no p-value below {smallest:.3g} can come out of so few"
        return [f"too small a sample to say anything: {differ}, and {least}"]
    if found.interval is not None and found.interval[0] == found.interval[1] != 0.0:
        return ["every task differs by the same amount, so the interval has no width"]
    return []


def _about_coverage(found: Comparison) -> list[str]:
    sides = (found.first, found.second)
    low, high = found.lower_bound, found.upper_bound
    if low is None or high is None or all(one.graded == one.runs for one in sides):
        return []
    said = ", ".join(f"{one.name} has {one.graded:,} of {one.runs:,} runs graded" for one in sides)
    kind = "" if found.first.coverage == found.second.coverage else "unequal coverage: "
    warnings = [
        f"{kind}{said}; were the others 0 or 1, the difference would be {low:+.3f} to {high:+.3f}"
    ]
    if found.better is not None and low <= 0.0 <= high:
        warnings.append("the ungraded runs could turn the verdict round")
    return warnings


def _about_tasks(found: Comparison) -> list[str]:
    warnings: list[str] = []
    for side, lone in (
        (found.first, found.slugs("only first")),
        (found.second, found.slugs("only second")),
    ):
        if lone:
            warnings.append(f"only {side.name} has {tasks_in_words(len(lone))}: left out")
    if blank := found.slugs("ungraded"):
        warnings.append(f"{tasks_in_words(len(blank))} without a grade on one side: left out")
    if found.changed:
        fate = "compared nevertheless" if found.includes_changed else "left out"
        warnings.append(f"{tasks_in_words(len(found.changed))} changed between the sides: {fate}")
    if found.mixed:
        fate = "all of them count" if found.includes_changed else "only what both ran counts"
        warnings.append(f"{tasks_in_words(len(found.mixed))} ran in several versions: {fate}")
    return warnings


def _about_sides(found: Comparison) -> list[str]:
    warnings: list[str] = []
    for side in (found.first, found.second):
        if side.is_running:
            warnings.append(f"a job of {side.name} has not ended yet")
        if side.invalid:
            total = sum(side.invalid.values())
            said = reasons_in_words(dict(side.invalid))
            warnings.append(f"{total:,} invalid runs of {side.name} are left out ({said})")
    return warnings
