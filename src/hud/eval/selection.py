"""Which tasks of a taskset a command means: all of them, some by name, or the first."""

from __future__ import annotations

from collections.abc import Sequence

from hud._core.errors import InputError
from hud.eval.taskset import Taskset


def names_in(text: str | None) -> list[str]:
    """Return the names of a comma-separated list."""
    return [name for part in (text or "").split(",") if (name := part.strip())]


def select(taskset: Taskset, names: Sequence[str] = (), *, first_only: bool = False) -> Taskset:
    """Return the tasks meant, in the taskset's order.

    Args:
        names: Slugs; the id of a template stands for all of its tasks. None of them: every task.
        first_only: Keep the first one only.

    Raises:
        InputError: for a name that is neither, or a taskset without tasks.
    """
    if not len(taskset):
        raise InputError(f"taskset {taskset.name!r} has no tasks")
    if names:
        wanted: set[str] = set()
        for name in names:
            of_template = {task.slug for task in taskset if task.id == name}
            wanted |= {name} if name in taskset.tasks or not of_template else of_template
        taskset = taskset.filter(wanted)
    return taskset.filter([next(iter(taskset)).slug]) if first_only else taskset
