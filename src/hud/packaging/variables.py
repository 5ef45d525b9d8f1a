"""Which environment variables a source reads, found by reading it: nothing is run.

`os.environ["X"]` needs X; `os.environ.get("X")` and `os.getenv("X")` can do without. A name that
is computed is not found.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from hud.packaging.context import Context
from hud.packaging.lock import Variables

_AT_MOST = 2 << 20
# What is set wherever a process runs.
_ALWAYS = frozenset(("HOME", "PATH", "USER", "LOGNAME", "SHELL", "LANG", "TERM", "TMPDIR", "PWD"))


def variables_of(context: Context) -> Variables:
    """Return the variables that the Python files of a context name."""
    required: set[str] = set()
    optional: set[str] = set()
    for entry in context.entries:
        if entry.kind != "file" or not entry.name.endswith(".py") or entry.size > _AT_MOST:
            continue
        try:
            tree = ast.parse((context.root / entry.name).read_bytes())
        except (OSError, SyntaxError, ValueError, RecursionError):
            continue
        for name, is_required in _read_in(tree):
            (required if is_required else optional).add(name)
    # What one place can do without, another may need.
    required -= _ALWAYS
    return Variables(
        required=tuple(sorted(required)), optional=tuple(sorted(optional - required - _ALWAYS))
    )


def _read_in(tree: ast.AST) -> Iterator[tuple[str, bool]]:
    for node in ast.walk(tree):
        match node:
            case ast.Subscript(value=holder, slice=ast.Constant(str(name)), ctx=ast.Load()):
                if _is_environ(holder):
                    yield name, True
            case ast.Call(
                func=ast.Attribute(value=holder, attr="get" | "pop" | "setdefault"),
                args=[ast.Constant(str(name)), *_],
            ):
                if _is_environ(holder):
                    yield name, False
            case ast.Call(
                func=ast.Attribute(attr="getenv") | ast.Name(id="getenv"),
                args=[ast.Constant(str(name)), *_],
            ):
                yield name, False
            case _:
                pass


def _is_environ(node: ast.AST) -> bool:
    match node:
        case ast.Attribute(attr="environ") | ast.Name(id="environ"):
            return True
        case _:
            return False
