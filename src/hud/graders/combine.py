"""Combine sub-scores into one grade: weighted sum, best of, worst of.

Does no scoring of its own and never hides a failure: a grader that raises ends the whole
combination with its error.
"""

from __future__ import annotations

import inspect
import logging
import math
from collections import Counter
from collections.abc import Awaitable, Sequence
from typing import cast

from hud._core.errors import bounded
from hud.graders.parallel import all_of, discard
from hud.graders.result import EvaluationResult, SubScore

logger = logging.getLogger(__name__)

_WEIGHT_SLACK = 1e-6


async def combine(*items: SubScore | Awaitable[SubScore]) -> EvaluationResult:
    """Return Σ value × weight over all items, with positive weights scaled to sum to 1.

    Awaitable items (`Grader.grade(...)`) run in parallel. Negative weights stay as given and act
    as penalties; the reward is not clipped and may be negative. Items that share a name get
    `-1`, `-2`, … in order. A warning is logged when the positive weights did not sum to 1.

    Raises:
        TypeError: for an item that is neither a sub-score nor an awaitable of one.
        ValueError: without items, or without a positive weight.
        BaseException: whatever an item raises; the others are cancelled first.
    """
    try:
        for position, item in enumerate(items):
            if not isinstance(item, SubScore) and not inspect.isawaitable(item):
                raise _not_a_subscore(position, item)
        if not items:
            raise ValueError("combine() needs at least one sub-score")
    except Exception:
        discard(items)
        raise
    waiting = [item for item in items if not isinstance(item, SubScore)]
    awaited = iter(await all_of(waiting))
    scores = [item if isinstance(item, SubScore) else next(awaited) for item in items]
    for position, score in enumerate(cast("Sequence[object]", scores)):
        if not isinstance(score, SubScore):
            raise _not_a_subscore(position, score)
    return _weighted(with_unique_names(scores))


def combine_any(weight: float, subscores: Sequence[SubScore], *, name: str = "any") -> SubScore:
    """Return the highest value of `subscores`, which are kept as `children`.

    Raises:
        ValueError: when `subscores` is empty.
    """
    children = _children(subscores, "combine_any")
    value = max(child.value for child in children)
    return SubScore(name=name, weight=weight, value=value, children=children)


def combine_all(weight: float, subscores: Sequence[SubScore], *, name: str = "all") -> SubScore:
    """Return the lowest value of `subscores`, which are kept as `children`.

    Raises:
        ValueError: when `subscores` is empty.
    """
    children = _children(subscores, "combine_all")
    value = min(child.value for child in children)
    return SubScore(name=name, weight=weight, value=value, children=children)


def _weighted(scores: list[SubScore]) -> EvaluationResult:
    total = math.fsum(score.weight for score in scores if score.weight > 0)
    if total <= 0:
        weights = bounded([score.weight for score in scores])
        raise ValueError(f"combine() needs at least one positive weight, got {weights}")
    if abs(total - 1.0) > _WEIGHT_SLACK:
        logger.warning("positive grader weights sum to %g; each is divided by that", total)
    # One division at the end: full marks everywhere are exactly 1.0, whatever the weights.
    gained = math.fsum(score.weight * score.value for score in scores if score.weight > 0) / total
    penalty = math.fsum(score.weight * score.value for score in scores if score.weight < 0)
    scaled = [
        score.model_copy(update={"weight": score.weight / total}) if score.weight > 0 else score
        for score in scores
    ]
    return EvaluationResult(reward=gained + penalty, subscores=scaled)


def _children(subscores: Sequence[SubScore], caller: str) -> list[SubScore]:
    if not subscores:
        raise ValueError(f"{caller}() needs at least one sub-score")
    return with_unique_names(subscores)


def with_unique_names(scores: Sequence[SubScore]) -> list[SubScore]:
    """Return the scores in order, those that share a name told apart by `-1`, `-2`, …."""
    counts = Counter(score.name for score in scores)
    taken = set(counts)
    last_number: Counter[str] = Counter()
    named: list[SubScore] = []
    for score in scores:
        name = score.name
        while name in taken and counts[score.name] > 1:
            last_number[score.name] += 1
            name = f"{score.name}-{last_number[score.name]}"
        taken.add(name)
        named.append(score if name == score.name else score.model_copy(update={"name": name}))
    return named


def _not_a_subscore(position: int, item: object) -> TypeError:
    return TypeError(
        f"combine(): item {position + 1} must be a SubScore or an awaitable of one, "
        f"not {bounded(item)} ({type(item).__name__})"
    )
