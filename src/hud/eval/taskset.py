"""A taskset: named tasks with unique slugs, from code or from files, and running them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, cast

from pydantic import ValidationError

from hud._core import json
from hud._core.errors import InputError, bounded
from hud.agents.base import Agent, AgentFunction
from hud.environment.compose import BASE_PATH
from hud.environment.loader import execute, resolve
from hud.environment.task import Task
from hud.eval.budget import Budget
from hud.eval.job import Job
from hud.eval.running import run_taskset
from hud.eval.schedule import Options
from hud.runtimes.base import Provider
from hud.runtimes.hosted import HostedRuntime


class Taskset:
    """Tasks by slug, in order.

    `Taskset(name, tasks)` and `Taskset(tasks)` are the same but for the name.

    Raises:
        InputError: when two tasks share a slug.
    """

    def __init__(
        self,
        name: str | Iterable[Task] | None = None,
        tasks: Iterable[Task] = (),
        *,
        taskset_id: str | None = None,
    ) -> None:
        if name is not None and not isinstance(name, str):
            name, tasks = None, name
        self.taskset_id = taskset_id
        self.tasks: dict[str, Task] = {}
        for task in tasks:
            if task.slug in self.tasks:
                raise InputError(
                    f"two tasks have the slug {task.slug!r}",
                    hint="give one of them another slug: task.slug = …",
                )
            self.tasks[task.slug] = task
        self.name = name or self._default_name()

    def _default_name(self) -> str:
        ids = {task.id for task in self.tasks.values()}
        return ids.pop() if len(ids) == 1 else "taskset"

    def __repr__(self) -> str:
        return f"<Taskset {self.name!r}: {len(self.tasks)} tasks>"

    def __len__(self) -> int:
        return len(self.tasks)

    def __iter__(self) -> Iterator[Task]:
        return iter(self.tasks.values())

    def __getitem__(self, slug: str) -> Task:
        return self.tasks[slug]

    def items(self) -> Iterator[tuple[str, Task]]:
        """Yield slugs with their tasks."""
        yield from self.tasks.items()

    def filter(self, slugs: Iterable[str]) -> Taskset:
        """Return the tasks of these slugs, in this taskset's order.

        Raises:
            InputError: for a slug that is not there.
        """
        wanted = self._known(slugs)
        kept = (task for slug, task in self.tasks.items() if slug in wanted)
        return Taskset(self.name, kept, taskset_id=self.taskset_id)

    def exclude(self, slugs: Iterable[str]) -> Taskset:
        """Return the tasks of all other slugs.

        Raises:
            InputError: for a slug that is not there.
        """
        dropped = self._known(slugs)
        kept = (task for slug, task in self.tasks.items() if slug not in dropped)
        return Taskset(self.name, kept, taskset_id=self.taskset_id)

    def _known(self, slugs: Iterable[str]) -> set[str]:
        wanted = set(slugs)
        missing = sorted(wanted - self.tasks.keys())
        if missing:
            shown = ", ".join(list(self.tasks)[:10])
            raise InputError(
                f"taskset {self.name!r} has no task {bounded(missing[0])!r}",
                hint=f"its tasks: {shown}{', …' if len(self.tasks) > 10 else ''}",
            )
        return wanted

    def environment_names(self) -> set[str]:
        """Return the names of the environments the tasks belong to."""
        return {task.env for task in self.tasks.values()}

    @classmethod
    def from_file(cls, path: str | Path) -> Taskset:
        """Load tasks from a `.py` source, a directory, a `.json` or a `.jsonl` file.

        Raises:
            InputError: when the file or a row of it cannot be used; the sentence says which.
        """
        file = Path(path)
        if file.suffix == ".json":
            return cls(*_read_json(file))
        if file.suffix == ".jsonl":
            return cls(file.stem, _read_jsonl(file))
        return cls.from_module(path)

    @classmethod
    def from_module(cls, source: str | Path) -> Taskset:
        """Load the tasks a Python source has at module level.

        Raises:
            InputError: when the source cannot be used or has no tasks.
        """
        loaded = execute(resolve(source))
        tasks = loaded.tasks()
        if not tasks:
            raise InputError(
                f"{loaded.source.path.name} has no tasks at module level",
                hint="collect them in a list: tasks = [my_template(…)]",
            )
        name = loaded.source.path.stem
        return cls(loaded.source.root.name if name in {"tasks", "env"} else name, tasks)

    @classmethod
    def from_api(cls, name: str) -> Taskset:
        """Load a taskset from the platform the settings name, by its name or id.

        Raises:
            InputError: when no platform is configured, or a row there is no task.
            PlatformError: when there is no such taskset, or the platform cannot be asked.
        """
        from hud.api.client import BlockingPlatformClient
        from hud.api.place import required_place
        from hud.eval.remote import load_remote

        with BlockingPlatformClient(required_place()) as client:
            found = load_remote(client, name)
        return cls(found.name, found.tasks, taskset_id=found.taskset_id)

    def to_file(self, path: str | Path) -> Path:
        """Write compact rows to a `.json` or `.jsonl` file and return its path.

        Raises:
            InputError: for another suffix, or when the file cannot be written.
        """
        file = Path(path)
        rows = [task.to_row(file.parent) for task in self.tasks.values()]
        if file.suffix == ".jsonl":
            data = b"".join(json.encode(row) + b"\n" for row in rows)
        elif file.suffix == ".json":
            data = json.encode({"name": self.name, "tasks": rows}) + b"\n"
        else:
            raise InputError(f"{file} is neither .json nor .jsonl")
        try:
            file.write_bytes(data)
        except OSError as error:
            raise InputError(f"{file} cannot be written: {error.strerror}") from error
        return file

    async def run(
        self,
        agent: Agent | AgentFunction,
        *,
        runtime: Provider | HostedRuntime | None = None,
        group: int | None = None,
        max_concurrent: int | None = None,
        job: Job | None = None,
        rollout_timeout: float | None = None,
        retries: int = 0,
        options: Options | None = None,
        budget: Budget | None = None,
    ) -> Job:
        """Run every task `group` times and return the job with all runs.

        Failed rollouts do not raise: their runs say what broke. Everything is recorded.

        Args:
            agent: An `Agent`, or any `async def agent(run)`.
            runtime: Where to place rollouts; `HostedRuntime()` has a platform run all of them, and
                keep the record. May be left out when every task was minted by a
                live environment: they then run in this process.
            group: Repeats per task; the job's own, or 1, when left out.
            max_concurrent: Rollouts at once; 100 when left out.
            job: Add to this job instead of starting one.
            rollout_timeout: Seconds for one whole rollout.
            retries: Further attempts at runs that broke at the runtime, model or capability.
            options: Everything about scheduling at once; excludes the other two.
            budget: What the whole job may use, with what it has used before. When it is used up,
                nothing new starts, running rollouts end with outcome `cancelled`, and
                `job.ended_early` says so; what is graded stays graded.

        Raises:
            ValueError: when no runtime is given and none follows from the tasks, or the time
                limits contradict each other.
            StoreError: when the record cannot be kept.
        """
        if group is not None and group < 1:
            raise ValueError(f"group must be at least 1, not {group}")
        if max_concurrent is not None and max_concurrent < 1:
            raise ValueError(f"max_concurrent must be at least 1, not {max_concurrent}")
        if rollout_timeout is not None and not (0 < rollout_timeout < math.inf):
            raise ValueError(f"rollout_timeout must be positive seconds, not {rollout_timeout}")
        return await run_taskset(
            self.name,
            list(self.tasks.values()),
            agent,
            runtime=runtime,
            group=group,
            job=job,
            taskset_id=self.taskset_id,
            rollout_timeout=rollout_timeout,
            options=options or Options(max_concurrent=max_concurrent, retries=retries),
            budget=budget,
        )


def _read_json(file: Path) -> tuple[str, list[Task]]:
    data = _parse(_read(file), str(file))
    name = file.stem
    if isinstance(data, dict):
        document = cast("dict[str, Any]", data)
        if "tasks" not in document:
            return name, [_task(document, str(file), file.parent)]
        name, data = str(document.get("name") or name), document["tasks"]
    if not isinstance(data, list):
        raise InputError(f"{file} holds neither a list of tasks nor an object with one")
    rows = enumerate(cast("list[Any]", data), 1)
    return name, _distinct(file, ((f"{file} row {number}", row) for number, row in rows))


def _read_jsonl(file: Path) -> list[Task]:
    lines = enumerate(_read(file).splitlines(), 1)
    placed = ((f"{file} line {number}", line) for number, line in lines if line.strip())
    return _distinct(file, ((where, _parse(line, where)) for where, line in placed))


def _distinct(file: Path, rows: Iterable[tuple[str, Any]]) -> list[Task]:
    tasks: dict[str, Task] = {}
    for where, row in rows:
        task = _task(row, where, file.parent)
        if task.slug in tasks:
            raise InputError(
                f"{where}: two tasks have the slug {task.slug!r}",
                hint='give one of them another "slug"',
            )
        tasks[task.slug] = task
    return list(tasks.values())


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes().removeprefix(b"\xef\xbb\xbf")
    except OSError as error:
        raise InputError(f"{file} cannot be read: {error.strerror}") from error


def _parse(data: bytes, where: str) -> Any:
    try:
        return json.decode(data)
    except ValueError as error:
        raise InputError(f"{where} is not JSON: {error}") from error


def _task(row: Any, where: str, folder: Path) -> Task:
    if not isinstance(row, Mapping):
        raise InputError(f"{where} is no task but {bounded(row)}")
    try:
        plain = dict(cast("Mapping[str, Any]", row))
        return Task.model_validate(plain, context={BASE_PATH: folder.resolve()})
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(str(part) for part in first["loc"]) or "task"
        raise InputError(f"{where}: {field}: {first['msg']}") from error
