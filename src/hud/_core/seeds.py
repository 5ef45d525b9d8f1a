"""Fresh seeds for a process that inherited the random state of another one."""

from __future__ import annotations

import os
import random
import sys
from typing import Any


def reseed() -> int:
    """Seed `random`, and numpy's and torch's global generators if loaded; return the seed.

    Generators a program made itself (`numpy.random.default_rng()`, `random.Random()`) are not
    known here: environments reseed those with `@env.reseed`.
    """
    seed = int.from_bytes(os.urandom(8))
    random.seed(seed)
    numpy_random: Any = sys.modules.get("numpy.random")
    if numpy_random is not None:
        numpy_random.seed(seed & 0xFFFFFFFF)
    torch: Any = sys.modules.get("torch")
    if torch is not None and hasattr(torch, "manual_seed"):
        torch.manual_seed(seed)
    return seed
