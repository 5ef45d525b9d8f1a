"""Tasks of the robot example: the block a little and a lot short of its mark, from both sides."""

from env import env, push_t

__all__ = ["env", "tasks"]

tasks = [
    push_t(distance=40.0, side="bar"),
    push_t(distance=80.0, side="bar"),
    push_t(distance=60.0, side="stem"),
]
