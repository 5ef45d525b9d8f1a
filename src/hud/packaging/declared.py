"""Which environments a folder's code declares, by reading it: nothing of it is run."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from pathlib import Path

from hud._core.errors import InputError, bounded
from hud.environment.loader import resolve

_LIMIT_BYTES = 4 * 1024 * 1024


def declared_name(files: Iterable[Path], wanted: str | None, where: Path) -> str:
    """Return the name of the environment to deploy.

    Args:
        files: The Python files to look into.
        wanted: The name that was asked for, None for the only one.
        where: What messages call the place.

    Raises:
        InputError: when none is declared, or several are and none was asked for, or the file that
            may declare one is not Python.
    """
    paths = list(files)
    names = sorted({name for path in paths for name in _names_in(path)})
    if wanted is not None and (wanted in names or not names):
        return wanted
    if wanted is not None:
        raise InputError(
            f"{where} declares no environment {bounded(wanted)!r}",
            hint=f"it declares: {', '.join(names)}",
        )
    if not names:
        _refuse_unreadable(paths)
        raise InputError(
            f"{where} declares no environment",
            hint='declare one: env = Environment("my-env"), or give --name',
        )
    if len(names) > 1:
        raise InputError(
            f"{where} declares several environments: {bounded(', '.join(names), 300)}",
            hint="say which with --name, or name its file instead of the folder",
        )
    return names[0]


def _refuse_unreadable(paths: Iterable[Path]) -> None:
    """Say which file is not Python, where that may be why nothing is declared."""
    for path in paths:
        try:
            if path.stat().st_size <= _LIMIT_BYTES:
                ast.parse(path.read_bytes())
        except SyntaxError as error:
            raise InputError(
                f"{path.name} line {error.lineno or 1} is not Python: {bounded(error.msg, 200)}"
            ) from error
        except (OSError, ValueError, RecursionError, MemoryError):
            continue


def file_declaring(folder: Path, name: str) -> str | None:
    """Return the file of a folder to load for an environment; None for the usual one.

    That is another only where the usual one declares environments of other names alone.
    """
    try:
        usual: Path | None = resolve(folder).path
    except InputError:
        usual = None
    if usual is not None:
        declared = set(_names_in(usual))
        if name in declared or not declared:
            return None
    paths = (path for path in sorted(folder.rglob("*.py")) if not path.is_symlink())
    found = next((path for path in paths if name in _names_in(path)), None)
    return None if found is None else found.relative_to(folder).as_posix()


def _names_in(path: Path) -> Iterable[str]:
    try:
        if path.stat().st_size > _LIMIT_BYTES:
            return
        tree = ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and _called(node.func) == "Environment":
            given = [*node.args[:1], *(word.value for word in node.keywords if word.arg == "name")]
            for value in given:
                if isinstance(value, ast.Constant) and isinstance(value.value, str):
                    yield value.value


def _called(function: ast.expr) -> str | None:
    match function:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
        case _:
            return None
