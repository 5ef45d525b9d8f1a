"""Tasks of the example: different receipts."""

from env import add_up, env

__all__ = ["env", "tasks"]

tasks = [add_up(seed=1), add_up(seed=2)]
