"""What `hud sync tasks` does: compare, show, ask, upload, remember."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hud._core import json
from hud._core.errors import InputError, bounded
from hud.api import calls
from hud.api.client import BlockingPlatformClient
from hud.api.errors import NotOnPlatform, PlatformRefused
from hud.api.place import required_place
from hud.api.replies import Uploaded
from hud.cli import streams
from hud.cli.asking import confirm
from hud.cli.bar import bar
from hud.cli.link import Link, read_link, write_link
from hud.cli.projects import project_for
from hud.cli.render import count, one_line
from hud.cli.tables import table
from hud.environment.task import Task
from hud.eval.loading import load_tasks
from hud.eval.remote import RemoteTaskset, find_remote, is_uuid, upload
from hud.eval.sync import SyncPlan, plan_sync
from hud.eval.taskset import Taskset

FORMATS = ("json", "jsonl", "csv")
_SHOWN = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncRequest:
    """The arguments of `hud sync tasks`; None where nothing was said."""

    taskset: str | None = None
    source: str = "."
    taskset_id: str | None = None
    link: bool = False
    project: str | None = None
    task: str | None = None
    exclude: tuple[str, ...] = ()
    yes: bool = False
    dry_run: bool = False
    force: bool = False
    as_json: bool = False


def sync_tasks(request: SyncRequest) -> None:
    """Upload what is new or changed.

    Raises:
        InputError: when the tasks, the taskset or the link of the folder cannot be used.
        PlatformError: when the platform cannot be asked, or refuses the tasks.
    """
    streams.guard_stdout()
    tasks = _local(request)
    folder = _folder(request.source)
    place = required_place()
    link = read_link(folder)
    with BlockingPlatformClient(place) as client:
        me = client.send(calls.me())
        if not request.link:
            link.check(place, me, folder)
        name = _target(request, link)
        remote = find_remote(client, name)
        if remote is None and request.taskset is None:
            raise InputError(
                f"there is no taskset {bounded(name)} at {place.shown}",
                hint="name it to have it made: hud sync tasks NAME",
            )
        there = remote.tasks if remote is not None else []
        title = remote.name if remote is not None else name
        plan = plan_sync(tasks, there, name=title, force=request.force)
        if request.task is not None or request.exclude:
            plan.remote_only = []  # what was left out on purpose is no difference
        project = project_for(client, request.project, link) if remote is None else None
        uploaded: Uploaded | None = None
        if not request.dry_run:
            _confirm(plan, request, is_new=remote is None)
            uploaded = _upload(client, plan, remote, project.id if project else None)
            _remember(request, link, folder, uploaded, title, place.api_url, me.team_id)
    _show(plan, request, remote, uploaded, place.link)


def export_tasks(request: SyncRequest, kind: str) -> None:
    """Print a taskset as it is on the platform.

    Raises:
        InputError: for another format, or when nothing says which taskset.
        PlatformError: when there is none, or the platform cannot be asked.
    """
    if kind not in FORMATS:
        raise InputError(
            f"--export {bounded(kind)} is not known", hint=f"one of: {', '.join(FORMATS)}"
        )
    name = _target(request, read_link(_folder(request.source)))
    with BlockingPlatformClient(required_place()) as client:
        remote = find_remote(client, name)
    if remote is None:
        raise InputError(f"there is no taskset {bounded(name)} on the platform")
    taskset = _narrowed(Taskset(remote.name, remote.tasks), request)
    rows = [{**task.to_row(), "slug": task.slug} for task in taskset]
    match kind:
        case "json":
            streams.write_json({"name": taskset.name, "tasks": rows})
        case "jsonl":
            for row in rows:
                streams.write(json.encode(row).decode())
        case _:
            streams.write(_csv(rows))


def _local(request: SyncRequest) -> Taskset:
    loaded = load_tasks(_here(request.source))
    return _narrowed(loaded.taskset, request)


def _here(source: str) -> str:
    """Return the source, which has to be a file or folder of this machine."""
    path = Path(source)
    if not (path.exists() or path.with_suffix(".py").exists() or ":" in source):
        raise InputError(f"source {bounded(source)} does not exist")
    return source


def _narrowed(taskset: Taskset, request: SyncRequest) -> Taskset:
    if request.task is not None:
        taskset = taskset.filter([request.task])
    return taskset.exclude(request.exclude) if request.exclude else taskset


def _folder(source: str) -> Path:
    path = Path(source.partition(":")[0]) if not Path(source).exists() else Path(source)
    return (path if path.is_dir() else path.parent).resolve()


def _target(request: SyncRequest, link: Link) -> str:
    named = request.taskset_id or request.taskset or link.taskset_id
    if named is None:
        raise InputError("nothing says which taskset is meant", hint="name it: hud sync tasks NAME")
    if request.taskset_id is not None and not is_uuid(request.taskset_id):
        raise InputError(f"--id {bounded(request.taskset_id)} is no id of a taskset")
    return named


def _confirm(plan: SyncPlan, request: SyncRequest, *, is_new: bool) -> None:
    """Ask before uploading, when there is something to upload and somebody to answer.

    Raises:
        InputError: when the answer is not yes.
    """
    if request.yes or not plan.to_apply:
        return
    new = " (new)" if is_new else ""
    confirm(f"{one_line(plan.summary())}{new}. Upload?", otherwise="nothing was uploaded")


def _upload(
    client: BlockingPlatformClient,
    plan: SyncPlan,
    remote: RemoteTaskset | None,
    project_id: str | None,
) -> Uploaded:
    if remote is not None and not plan.to_apply:
        return Uploaded(taskset_id=remote.taskset_id, tasks_created=0, tasks_updated=0)
    done = 0
    with bar("uploading tasks", len(plan.to_apply)) as advance:

        def told(so_far: int) -> None:
            nonlocal done
            advance(so_far - done)
            done = so_far

        try:
            return upload(
                client,
                plan.taskset_name,
                plan.to_apply,
                taskset_id=remote.taskset_id if remote is not None else None,
                project_id=project_id,
                on_progress=told,
            )
        except (PlatformRefused, NotOnPlatform) as error:
            first, *others = error.message.splitlines() or [""]
            for line in others:
                streams.note(one_line(line))
            raise InputError(first, hint=error.hint) from error


def _remember(
    request: SyncRequest,
    link: Link,
    folder: Path,
    uploaded: Uploaded,
    name: str,
    origin: str,
    team_id: str,
) -> None:
    if link.taskset_id is None or request.link:
        write_link(
            folder,
            origin=origin,
            team_id=team_id,
            taskset_id=uploaded.taskset_id,
            taskset_name=name,
        )


def _show(
    plan: SyncPlan,
    request: SyncRequest,
    remote: RemoteTaskset | None,
    uploaded: Uploaded | None,
    link: Any,
) -> None:
    taskset_id = uploaded.taskset_id if uploaded else remote.taskset_id if remote else None
    if request.as_json:
        streams.write_json(
            {
                "taskset": plan.taskset_name,
                "taskset_id": taskset_id,
                "dry_run": request.dry_run,
                "to_create": [task.slug for task in plan.to_create],
                "to_update": [task.slug for task in plan.to_update],
                "unchanged": [task.slug for task in plan.unchanged],
                "remote_only": [task.slug for task in plan.remote_only],
                "created": uploaded.tasks_created if uploaded else 0,
                "updated": uploaded.tasks_updated if uploaded else 0,
                "link": link(f"/tasksets/{taskset_id}") if taskset_id else None,
            }
        )
        return
    rows = [
        *_rows("create", plan.to_create),
        *_rows("update", plan.to_update),
        *_rows("only there", plan.remote_only),
    ]
    if rows:
        streams.write(table(("CHANGE", "TASK", "ENVIRONMENT", "TEMPLATE"), rows[:_SHOWN]))
    if len(rows) > _SHOWN:
        streams.note(f"… {count(len(rows) - _SHOWN, 'more change')} (--json has all)")
    streams.note(one_line(plan.summary()))
    if request.dry_run and plan.to_apply:
        streams.note("nothing was uploaded (--dry-run)")
    elif uploaded is not None and plan.to_apply:
        streams.note(
            f"{uploaded.tasks_created:,} created, {uploaded.tasks_updated:,} updated: "
            f"{link(f'/tasksets/{uploaded.taskset_id}')}"
        )


def _rows(change: str, tasks: Sequence[Task]) -> list[tuple[str, str, str, str]]:
    return [(change, task.slug, task.env, task.id) for task in tasks]


def _csv(rows: Sequence[dict[str, Any]]) -> str:
    names = ["slug", "env", "id", "args"]
    names += sorted({name for row in rows for name in row} - set(names))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(names)
    for row in rows:
        writer.writerow([_cell(row.get(name)) for name in names])
    return text.getvalue()


def _cell(value: Any) -> str:
    if value is None:
        return ""
    text = value if isinstance(value, str) else json.encode(value).decode()
    # A spreadsheet would take these for a formula.
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text
