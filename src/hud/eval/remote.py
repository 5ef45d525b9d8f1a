"""Tasksets of a platform: found by name or id, read whole, and added to."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hud.environment.task import Task
from hud.eval.sync import tasks_of_export, upload_item

if TYPE_CHECKING:
    from hud.api.client import BlockingPlatformClient
    from hud.api.replies import Uploaded

UPLOADED_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class RemoteTaskset:
    """A taskset of a platform with its tasks."""

    taskset_id: str
    name: str
    tasks: list[Task]


def is_uuid(text: str) -> bool:
    """Tell whether a taskset is named by its id."""
    try:
        uuid.UUID(text)
    except ValueError:
        return False
    return True


def load_remote(client: BlockingPlatformClient, name: str) -> RemoteTaskset:
    """Read a taskset, by name or id.

    Raises:
        NotOnPlatform: when there is none.
        PlatformError: when the platform cannot be asked.
        InputError: when a row of it is no task.
    """
    from hud.api import calls

    taskset_id = name if is_uuid(name) else client.send(calls.taskset_by_name(name)).taskset_id
    export = client.send(calls.export_taskset(taskset_id))
    return RemoteTaskset(
        taskset_id, export.name, tasks_of_export(export.tasks, taskset=export.name)
    )


def find_remote(client: BlockingPlatformClient, name: str) -> RemoteTaskset | None:
    """Read a taskset by name; None when there is none of that name.

    Raises:
        PlatformError: when the platform cannot be asked, or there is none of that id.
        InputError: when a row of it is no task.
    """
    from hud.api.errors import NotOnPlatform

    try:
        return load_remote(client, name)
    except NotOnPlatform:
        if is_uuid(name):
            raise
        return None


def upload(
    client: BlockingPlatformClient,
    name: str,
    tasks: Sequence[Task],
    *,
    taskset_id: str | None = None,
    project_id: str | None = None,
    on_progress: Callable[[int], None] = lambda done: None,
) -> Uploaded:
    """Create and update tasks in a taskset, which is made when there is none.

    Args:
        on_progress: Told how many are uploaded, after each part of an upload.

    Raises:
        PlatformError: when the platform cannot be asked, or refuses them; what was uploaded
            before stays.
    """
    from hud.api import calls
    from hud.api.replies import Uploaded

    created = updated = 0
    reply: Uploaded | None = None
    for start in range(0, max(len(tasks), 1), UPLOADED_AT_ONCE):
        part = tasks[start : start + UPLOADED_AT_ONCE]
        reply = client.send(
            calls.upload_tasks(
                name,
                [upload_item(task) for task in part],
                taskset_id=taskset_id,
                project_id=project_id,
            )
        )
        created += reply.tasks_created
        updated += reply.tasks_updated
        on_progress(start + len(part))
    assert reply is not None
    return Uploaded(taskset_id=reply.taskset_id, tasks_created=created, tasks_updated=updated)
