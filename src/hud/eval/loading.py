"""Load what a command line names: the tasks of a file, and every local file that decided them.

What is no file may be the name of a taskset on the platform that the settings name.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from hud._core.errors import InputError, bounded
from hud.api.place import PlatformPlace, configured_place
from hud.environment.loader import Source, execute, resolve
from hud.eval.remote import load_remote
from hud.eval.taskset import Taskset

ROW_FILES = (".json", ".jsonl")


@dataclass(frozen=True, slots=True)
class TaskSource:
    """Tasks and where they came from.

    Attributes:
        path: The file, absolute; for a taskset of a platform its name or id as it was given.
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
        PlatformError: when a platform that should have the tasks cannot be asked.
    """
    path = Path(source)
    if _may_be_remote(source):
        place = configured_place()
        if place is not None:
            return _load_remote(source, place, environment, is_served)
        if "/" not in source and is_served:
            raise InputError(
                f"source {bounded(source)} does not exist here, and no platform is configured "
                "that could have a taskset of that name",
                hint="hud login --url http://host:port; hud init makes a file",
            )
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


def _may_be_remote(source: str) -> bool:
    """Tell whether nothing here goes by that name."""
    path = Path(source)
    if path.suffix in (*ROW_FILES, ".py") or path.exists() or path.with_suffix(".py").exists():
        return False
    return not Path(source.rpartition(":")[0]).is_file()


def is_remote(source: str) -> bool:
    """Tell whether a source is looked for on the platform that the settings name."""
    return _may_be_remote(source) and configured_place() is not None


def _load_remote(
    name: str, place: PlatformPlace, environment: str | None, is_served: bool
) -> TaskSource:
    from hud.api.client import BlockingPlatformClient
    from hud.api.errors import NotOnPlatform

    try:
        with BlockingPlatformClient(place) as client:
            found = load_remote(client, name)
    except NotOnPlatform as error:
        raise InputError(
            f"there is no file {bounded(name)} here, and no taskset of that name on the platform "
            f"at {bounded(place.shown, 300)}",
            hint="hud sync tasks NAME puts one there; hud init makes a file",
        ) from error
    taskset = Taskset(found.name, found.tasks, taskset_id=found.taskset_id)
    return _with_environment(Path(name), taskset, (), environment, is_served, Path.cwd())


def _load_rows(path: Path, environment: str | None, is_served: bool) -> TaskSource:
    taskset = Taskset.from_file(path)
    path = path.resolve()
    return _with_environment(path, taskset, (path,), environment, is_served, path.parent)


def _with_environment(
    path: Path,
    taskset: Taskset,
    files: tuple[Path, ...],
    environment: str | None,
    is_served: bool,
    folder: Path,
) -> TaskSource:
    """Return rows with the source that is to play them: the one given, else one in `folder`."""
    if environment is None and not is_served:
        environment = next((str(file) for file in _beside(folder) if file.is_file()), None)
    if environment is None:
        return TaskSource(path, taskset, files, None)
    loaded = execute(resolve(environment))
    return TaskSource(path, taskset, (*files, *loaded.files), _spelled(loaded.source))


def is_defined_beside(folder: Path) -> bool:
    """Tell whether a folder defines the environment of rows that do not say theirs."""
    return any(file.is_file() for file in _beside(folder))


def _beside(folder: Path) -> tuple[Path, ...]:
    return folder / "env.py", folder / "tasks.py"


def _spelled(source: Source) -> str:
    return str(source.path) if source.attribute is None else f"{source.path}:{source.attribute}"
