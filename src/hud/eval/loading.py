"""Load what a command line names: the tasks of a file, and every local file that decided them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from hud._core.errors import InputError
from hud.environment.loader import Source, execute, resolve
from hud.eval.taskset import Taskset

ROW_FILES = (".json", ".jsonl")


@dataclass(frozen=True, slots=True)
class TaskSource:
    """Tasks and where they came from.

    Attributes:
        path: The file, absolute.
        taskset: Its tasks.
        files: The file and, for Python, every local module it imported; what a digest covers.
        environment: The Python file (`path.py:attribute`) that defines the environment, None when
            nothing says it.
    """

    path: Path
    taskset: Taskset
    files: tuple[Path, ...]
    environment: str | None


def load_tasks(
    source: str, *, environment: str | None = None, is_served: bool = False
) -> TaskSource:
    """Load tasks, executing a Python source once.

    A Python source (or folder) defines its environment itself. Rows of a `.json` or `.jsonl`
    file come from elsewhere: from `environment`, or, unless an environment serves them already,
    from an env.py or tasks.py beside the file.

    Raises:
        InputError: when a source cannot be used, or has no tasks.
    """
    path = Path(source)
    if path.suffix in ROW_FILES:
        return _load_rows(path, environment, is_served)
    if environment is not None:
        raise InputError(
            f"--source names where the rows of a .json file are played, and {source} is Python",
            hint="leave it out: a Python source defines its environment itself",
        )
    loaded = execute(resolve(source))
    tasks = loaded.tasks()
    if not tasks:
        raise InputError(
            f"{loaded.source.path.name} has no tasks at module level",
            hint="collect them in a list: tasks = [my_template(…)]",
        )
    found = loaded.source
    name = found.root.name if found.path.stem in {"tasks", "env"} else found.path.stem
    return TaskSource(found.path, Taskset(name, tasks), tuple(loaded.files), _spelled(found))


def _load_rows(path: Path, environment: str | None, is_served: bool) -> TaskSource:
    taskset = Taskset.from_file(path)
    path = path.resolve()
    if environment is None and not is_served:
        beside = (path.parent / name for name in ("env.py", "tasks.py"))
        environment = next((str(file) for file in beside if file.is_file()), None)
    if environment is None:
        return TaskSource(path, taskset, (path,), None)
    loaded = execute(resolve(environment))
    return TaskSource(path, taskset, (path, *loaded.files), _spelled(loaded.source))


def _spelled(source: Source) -> str:
    return str(source.path) if source.attribute is None else f"{source.path}:{source.attribute}"
