"""Turn one group's rewards into advantages for group-relative policy optimisation.

Plain numbers in and out; where rewards come from and where advantages go is the callers' business.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

# Rewards closer than this, relative to the largest, differ by rounding only.
_ROUNDING = 1e-12


def group_relative(rewards: Sequence[float], *, normalize_std: bool = True) -> list[float]:
    """Return each reward's advantage over its group, in order: (r - mean) / std.

    This is the outcome advantage of GRPO (Shao et al. 2024, "DeepSeekMath", section 4.1), with
    the population standard deviation (divided by n) of the group and no constant added to it;
    `normalize_std=False` leaves the division out (Liu et al. 2025, "Understanding R1-Zero-Like
    Training").

    Ungraded members (NaN) take no part in mean and deviation and get 0.0. A group whose rewards
    are equal up to rounding, or with fewer than two graded members, gives zeros.

    Raises:
        ValueError: for an infinite reward.
    """
    for position, reward in enumerate(rewards):
        if math.isinf(reward):
            raise ValueError(f"rewards[{position}] is {reward!r}: a reward is finite, or NaN")
    graded = [reward for reward in rewards if not math.isnan(reward)]
    if not graded:
        return [0.0] * len(rewards)
    lowest, highest = min(graded), max(graded)
    spread = highest - lowest
    if spread <= _ROUNDING * max(abs(lowest), abs(highest)):
        return [0.0] * len(rewards)
    # Measured in units of the spread, so that squares neither overflow nor vanish.
    positions = [(reward - lowest) / spread for reward in graded]
    mean = math.fsum(positions) / len(positions)
    deviation = math.sqrt(math.fsum((p - mean) ** 2 for p in positions) / len(positions))
    scale = 1.0 / deviation if normalize_std else spread
    return [
        0.0 if math.isnan(reward) else ((reward - lowest) / spread - mean) * scale
        for reward in rewards
    ]
