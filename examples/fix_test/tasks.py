"""Tasks of the example: each of the project's two bugs."""

from env import env, fix

__all__ = ["env", "tasks"]

tasks = [fix(function="total"), fix(function="discounted")]
