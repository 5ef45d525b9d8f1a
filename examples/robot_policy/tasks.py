"""Tasks of the robot policy example: as many as there are tables."""

from env import env, push_t

__all__ = ["env", "tasks"]

tasks = [push_t(distance=d, side="bar") for d in (40.0, 50.0, 60.0, 70.0)]
tasks += [push_t(distance=d, side="stem") for d in (30.0, 45.0, 60.0, 75.0)]
