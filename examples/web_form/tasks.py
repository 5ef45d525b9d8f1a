"""Tasks of the example: different people, different courses."""

from env import env, sign_up

__all__ = ["env", "tasks"]

tasks = [
    sign_up(name="Ada Lovelace", age=36, course="Chess"),
    sign_up(name="Zoë Å. O'Neil", age=7, course="Pottery"),
]
