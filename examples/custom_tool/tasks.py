"""Tasks of the example: different things for different budgets."""

from env import env, spend

__all__ = ["env", "tasks"]

tasks = [spend(item="apple", budget=100), spend(item="cheese", budget=5000)]
