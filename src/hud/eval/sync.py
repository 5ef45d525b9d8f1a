"""Tasks here and tasks on a platform: what differs, and the rows that go between them.

Asking a platform is `hud.api`, showing and confirming a plan the command line's part.
"""

from __future__ import annotations

import json as stdlib_json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from pydantic import ValidationError

from hud._core import json
from hud._core.errors import InputError, bounded
from hud.environment.compose import FOREIGN
from hud.environment.task import Task

_OPTIONAL = ("validation", "agent_config", "columns", "runtime_config", "verifier")


@dataclass
class SyncPlan:
    """What an upload of local tasks would do.

    Attributes:
        remote_only: On the platform and not here: reported, never deleted.
    """

    to_create: list[Task] = field(default_factory=list[Task])
    to_update: list[Task] = field(default_factory=list[Task])
    unchanged: list[Task] = field(default_factory=list[Task])
    remote_only: list[Task] = field(default_factory=list[Task])
    taskset_name: str = ""

    @property
    def to_apply(self) -> list[Task]:
        """What is uploaded."""
        return [*self.to_create, *self.to_update]

    def summary(self) -> str:
        """Return the counts in one line."""
        parts = [
            f"{len(self.to_create):,} to create",
            f"{len(self.to_update):,} to update",
            f"{len(self.unchanged):,} unchanged",
        ]
        if self.remote_only:
            parts.append(f"{len(self.remote_only):,} only on the platform")
        return f"{self.taskset_name or 'taskset'}: {', '.join(parts)}"


def plan_sync(
    local: Iterable[Task], remote: Iterable[Task], *, name: str = "", force: bool = False
) -> SyncPlan:
    """Compare tasks by slug; with `force`, those that are the same count as changed."""
    plan = SyncPlan(taskset_name=name)
    there = {task.slug: task for task in remote}
    for task in local:
        other = there.pop(task.slug, None)
        if other is None:
            plan.to_create.append(task)
        elif force or signature(task) != signature(other):
            plan.to_update.append(task)
        else:
            plan.unchanged.append(task)
    plan.remote_only = list(there.values())
    return plan


def signature(task: Task) -> str:
    """Return canonical JSON of what decides a task; its slug does not, what is unset does not."""
    row = {name: value for name, value in task.to_row().items() if name != "slug"}
    return stdlib_json.dumps(row, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def upload_item(task: Task) -> dict[str, Any]:
    """Return a task as an upload has it: what is unset is left out, its arguments never are."""
    row = task.to_row()
    return {
        "name": task.slug,
        "env": {"name": task.env},
        "task_id": task.id,
        "args": row.get("args", {}),
        **{name: row[name] for name in _OPTIONAL if row.get(name) is not None},
    }


def tasks_of_export(records: Sequence[Mapping[str, Any]], *, taskset: str) -> list[Task]:
    """Read the rows of a platform's taskset.

    Raises:
        InputError: when one is no task; the sentence says which.
    """
    return [_task(record, f"task {at} of {taskset}") for at, record in enumerate(records, 1)]


def _task(record: Mapping[str, Any], where: str) -> Task:
    environment = record.get("env")
    if isinstance(environment, Mapping):
        environment = cast("Mapping[str, Any]", environment).get("name")
    row: dict[str, Any] = {
        "env": environment,
        "id": record.get("scenario") or record.get("task_id") or record.get("id"),
        "slug": record.get("name") or record.get("slug") or "",
        "args": record.get("args") or {},
        **{name: record[name] for name in _OPTIONAL if record.get(name) is not None},
    }
    try:
        return Task.model_validate(json.to_plain(row), context={FOREIGN: True})
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "task"
        raise InputError(f"{bounded(where)}: {place}: {first['msg']}") from error
