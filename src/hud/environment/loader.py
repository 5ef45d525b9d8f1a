"""Find environments and tasks in a user's source file or directory.

A source is compiled once and can be executed any number of times; every execution gets its own
module, and its own copies of the modules beside it, so no global is shared between two of them.
"""

from __future__ import annotations

import importlib.util
import itertools
import sys
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any, cast

from hud._core.errors import InputError, bounded
from hud.environment.environment import Environment
from hud.environment.isolation import Space
from hud.environment.task import Task
from hud.environment.template import Template

ENTRY_FILES = ("tasks.py", "env.py")
_counter = itertools.count()
_lock = threading.RLock()
_compiled: dict[Path, tuple[tuple[int, int], CodeType]] = {}
_local_names: dict[Path, set[str]] = {}


@dataclass(frozen=True)
class Source:
    """A resolved source: the file to execute, the folder it imports from, and what was named."""

    path: Path
    attribute: str | None = None

    @cached_property
    def root(self) -> Path:
        return self.path.parent


@dataclass(frozen=True, slots=True)
class Loaded:
    """One execution of a source: its module and the local modules it imported."""

    source: Source
    module: ModuleType
    siblings: dict[str, ModuleType]
    space: Space | None = None

    @property
    def files(self) -> list[Path]:
        """Every local file this execution ran, sorted: what a digest of the source covers."""
        paths = {self.source.path}
        for module in self.siblings.values():
            if module.__file__:
                paths.add(Path(module.__file__).resolve())
        return sorted(paths)

    def values(self) -> Iterator[Any]:
        """Yield the module's public values, items of its lists and tuples included."""
        for name, value in list(vars(self.module).items()):
            if name.startswith("__"):
                continue
            if isinstance(value, list | tuple):
                yield from cast("Iterable[Any]", value)
            else:
                yield value

    def environments(self) -> list[Environment]:
        """Return the environments the source declares or imports, in order of appearance."""
        found: dict[int, Environment] = {}
        for value in self.values():
            match value:
                case Environment():
                    env = value
                case Template():
                    env = value.env
                case Task():
                    env = value.environment
                case _:
                    env = None
            if env is not None:
                found.setdefault(id(env), env)
        return list(found.values())

    def tasks(self) -> list[Task]:
        """Return the tasks at module level (in lists too), in order, each once."""
        found: dict[int, Task] = {}
        for value in self.values():
            if isinstance(value, Task):
                found.setdefault(id(value), value)
            elif type(value).__name__ == "Taskset" and isinstance(value, Iterable):
                for task in cast("Iterable[Any]", value):
                    if isinstance(task, Task):
                        found.setdefault(id(task), task)
        return list(found.values())


def resolve(target: str | Path) -> Source:
    """Turn `path`, `path:attribute` or a directory into a source.

    In a directory `tasks.py` is looked for first, then `env.py`. A bare module name means the
    file of that name here.

    Raises:
        InputError: when there is no such file.
    """
    text = str(target)
    attribute: str | None = None
    path = Path(text)
    if not path.exists() and ":" in text:
        head, _, tail = text.rpartition(":")
        if tail.isidentifier():
            path, attribute = Path(head), tail
    if not path.exists() and not path.suffix:
        path = path.with_suffix(".py")
    if path.is_dir():
        names = (path / name for name in ENTRY_FILES)
        entry = next((file for file in names if file.is_file()), None)
        if entry is None:
            raise InputError(
                f"{'this folder' if text == '.' else text} has no tasks.py or env.py",
                hint="name the file itself, or create one with: hud init",
            )
        path = entry
    if not path.is_file():
        raise InputError(f"source {text} does not exist", hint="create one with: hud init")
    if path.suffix != ".py":
        raise InputError(f"source {text} is not a Python file")
    return Source(path.resolve(), attribute)


def execute(source: Source, *, isolated: bool = True) -> Loaded:
    """Execute a source afresh and return what it made.

    Args:
        isolated: Give it its own copies of the modules beside it. Otherwise it is imported as a
            program imports a module, for processes that execute one source only.

    Raises:
        InputError: when the file cannot be read, does not compile, or raises.
    """
    code = _compile(source.path)
    stem = source.path.stem
    if not isolated and stem not in sys.modules and stem not in sys.stdlib_module_names:
        return _execute_plainly(source, code)
    name = f"hud_source_{stem}_{next(_counter)}"
    space = Space(name, source.root, stem)
    module = _new_module(name, source.path, [str(source.root)])
    with _lock:
        hidden = _hide_local(source.root)
        sys.path.insert(0, str(source.root))
        space.open(module)
        lends_name = stem not in sys.modules and stem not in sys.stdlib_module_names
        if lends_name:
            sys.modules[stem] = module
        before = len(sys.modules)
        try:
            _run(code, module, source.path)
        except BaseException:
            space.close()
            raise
        finally:
            sys.path.remove(str(source.root))
            dynamic = _take_new(source.root, before)
            if lends_name:
                sys.modules.pop(stem, None)
            sys.modules.update(hidden)
    return Loaded(source, module, {**dynamic, **space.siblings()}, space)


def _execute_plainly(source: Source, code: CodeType) -> Loaded:
    module = _new_module(source.path.stem, source.path)
    root = str(source.root)
    if root not in sys.path:
        sys.path.insert(0, root)
    before = set(sys.modules)
    sys.modules[module.__name__] = module
    try:
        _run(code, module, source.path)
    except BaseException:
        sys.modules.pop(module.__name__, None)
        raise
    new = [name for name in list(sys.modules) if name not in before and sys.modules[name] != module]
    local = {name: sys.modules[name] for name in new if _is_local(name, source.root)}
    return Loaded(source, module, local)


def _new_module(name: str, path: Path, folder: list[str] | None = None) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path, submodule_search_locations=folder)
    if spec is None:
        raise InputError(f"source {path} cannot be imported")
    return importlib.util.module_from_spec(spec)


def _run(code: CodeType, module: ModuleType, path: Path) -> None:
    try:
        exec(code, vars(module))
    except (KeyboardInterrupt, MemoryError):
        raise
    except BaseException as error:
        raise _import_failed(path, error) from error


def unload(loaded: Loaded) -> None:
    """Forget an execution's modules; call it once its environment is no longer used."""
    if loaded.space is not None:
        loaded.space.close()
    else:
        sys.modules.pop(loaded.module.__name__, None)


def choose(
    loaded: Loaded, name: str | None = None, args: dict[str, Any] | None = None
) -> Environment:
    """Pick the environment meant by a source's attribute, or by name.

    Raises:
        InputError: when there is none, several, or none of that name.
    """
    source = loaded.source
    if source.attribute is not None:
        return _from_attribute(loaded, source.attribute, args)
    found = loaded.environments()
    if name is not None:
        named = [env for env in found if env.name == name]
        if len(named) > 1:
            raise InputError(f"{source.path.name} has {len(named)} environments named {name!r}")
        if not named:
            known = ", ".join(env.name for env in found) or "none"
            raise InputError(
                f"{source.path.name} has no environment {bounded(name)!r}",
                hint=f"its environments: {known}",
            )
        return named[0]
    if not found:
        raise InputError(
            f"{source.path.name} declares no Environment",
            hint='declare one at module level: env = Environment(name="…")',
        )
    if len(found) > 1:
        names = ", ".join(env.name for env in found)
        raise InputError(
            f"{source.path.name} declares {len(found)} environments: {names}",
            hint="choose one by its name, or by path.py:attribute",
        )
    return found[0]


def load_environment(
    target: str | Path, *, name: str | None = None, args: dict[str, Any] | None = None
) -> Environment:
    """Execute a source as this process's own, and return its environment.

    Args:
        target: A file, a directory, or `path.py:attribute`.
        name: Which environment, when the source has several.
        args: Keyword arguments when the attribute is a function that makes an environment.

    Raises:
        InputError: when the source or the environment in it cannot be used.
    """
    return choose(execute(resolve(target), isolated=False), name, args)


def _from_attribute(loaded: Loaded, attribute: str, args: dict[str, Any] | None) -> Environment:
    where = f"{loaded.source.path.name}:{attribute}"
    value = getattr(loaded.module, attribute, None)
    if value is None:
        raise InputError(f"{where} does not exist")
    match value:
        case Environment():
            return value
        case Template():
            return value.env
        case Task() if value.environment is not None:
            return value.environment
        case _ if callable(value):
            return _made_by(value, where, args or {})
        case _:
            raise InputError(f"{where} is no Environment but {bounded(value)}")


def _made_by(make: Callable[..., Any], where: str, args: dict[str, Any]) -> Environment:
    try:
        value = make(**args)
    except (Exception, SystemExit) as error:
        text = bounded(str(error), 400)
        raise InputError(f"{where} raised {type(error).__qualname__}: {text}") from error
    if not isinstance(value, Environment):
        raise InputError(f"{where} gave no Environment but {bounded(value)}")
    return value


def _compile(path: Path) -> CodeType:
    try:
        stat = path.stat()
        stamp = (stat.st_mtime_ns, stat.st_size)
        held = _compiled.get(path)
        if held is not None and held[0] == stamp:
            return held[1]
        code = compile(path.read_bytes(), str(path), "exec", dont_inherit=True)
    except OSError as error:
        raise InputError(f"source {path} cannot be read: {error.strerror}") from error
    except (SyntaxError, ValueError) as error:
        line = f" line {error.lineno}" if isinstance(error, SyntaxError) and error.lineno else ""
        text = error.msg if isinstance(error, SyntaxError) else str(error)
        raise InputError(f"{path.name}{line}: {text}") from error
    _compiled[path] = (stamp, code)
    return code


def _import_failed(path: Path, error: BaseException) -> InputError:
    line = ""
    for frame in traceback.extract_tb(error.__traceback__):
        if frame.filename == str(path):
            line = f" line {frame.lineno}"
    text = bounded(str(error), 400)
    return InputError(f"{path.name}{line} raised {type(error).__qualname__}: {text}")


def _hide_local(root: Path) -> dict[str, ModuleType]:
    """Remove from `sys.modules`, and return, the modules that live under `root`."""
    names = _local_names.get(root)
    if names is None:
        names = _local_names[root] = {name for name in sys.modules if _is_local(name, root)}
    return {name: sys.modules.pop(name) for name in list(names) if name in sys.modules}


def _take_new(root: Path, before: int) -> dict[str, ModuleType]:
    """Remove from `sys.modules`, and return, the local modules beyond the first `before`.

    The mapping keeps the order of imports, so what is new stands at its end.
    """
    new = list(islice(reversed(sys.modules), max(0, len(sys.modules) - before)))
    local = [name for name in new if _is_local(name, root)]
    _local_names[root].update(local)
    return {name: sys.modules.pop(name) for name in local}


def _is_local(name: str, root: Path) -> bool:
    if name in {"__main__", "hud"} or name.startswith(("hud_source_", "hud.")):
        return False
    file = getattr(sys.modules[name], "__file__", None)
    return (
        isinstance(file, str)
        and file.startswith(f"{root}/")
        and "/site-packages/" not in file
        and not file.startswith(f"{sys.prefix}/")
    )
