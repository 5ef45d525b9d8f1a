"""The rules of the house that no other gate sees: sizes, names, docstrings, cheap imports."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src"
PACKAGE = SOURCE / "hud"
MODULES = sorted(PACKAGE.rglob("*.py"))
LINES_AT_MOST = 600
NAMES_THAT_SAY_NOTHING = {"utils", "helpers", "manager", "common"}
HEAVY = {"mcp", "rich", "sqlalchemy", "alembic", "openai", "httpx", "numpy", "typer"}
RE_EXPORTS = {"hud.types", "hud.settings", "hud.telemetry"}


def relative(path: Path) -> str:
    return path.relative_to(SOURCE).as_posix()


def loaded_by(statement: str) -> set[str]:
    """Return the top-level names in `sys.modules` after `statement` ran in a new interpreter."""
    program = f"{statement}\nimport json, sys\nprint(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    names: list[str] = json.loads(done.stdout.splitlines()[-1])
    return {name.partition(".")[0] for name in names}


def test_the_package_has_modules() -> None:
    assert MODULES, f"no module found under {PACKAGE}"


@pytest.mark.parametrize("module", MODULES, ids=relative)
def test_a_module_is_small_enough_to_hold_one_idea(module: Path) -> None:
    lines = len(module.read_text(encoding="utf-8").splitlines())
    assert lines <= LINES_AT_MOST, f"{relative(module)} has {lines} lines: find the second concept"


@pytest.mark.parametrize("module", MODULES, ids=relative)
def test_a_module_says_why_it_exists(module: Path) -> None:
    docstring = ast.get_docstring(ast.parse(module.read_text(encoding="utf-8")))
    assert docstring and docstring.strip(), f"{relative(module)} has no docstring"


@pytest.mark.parametrize("module", MODULES, ids=relative)
def test_a_module_is_named_after_what_it_holds(module: Path) -> None:
    words = {part.strip("_") for part in module.relative_to(SOURCE).with_suffix("").parts}
    assert not words & NAMES_THAT_SAY_NOTHING, f"{relative(module)} needs a name that says more"


@pytest.mark.parametrize("module", MODULES, ids=relative)
def test_nothing_inside_imports_the_modules_that_re_export_for_users(module: Path) -> None:
    wanted: set[str] = set()
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            wanted.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            wanted.update(_imported_from(node, module))
    assert not wanted & RE_EXPORTS, f"{relative(module)} goes through {wanted & RE_EXPORTS}"


def _imported_from(node: ast.ImportFrom, module: Path) -> set[str]:
    """Return the dotted names `node` may bring in, relative imports resolved."""
    base = node.module or ""
    if node.level:
        package = list(module.relative_to(SOURCE).parent.parts)
        package = package[: len(package) - (node.level - 1)]
        base = ".".join([*package, *([base] if base else [])])
    return {base, *(f"{base}.{alias.name}" for alias in node.names)}


def test_importing_the_package_loads_nothing_heavy() -> None:
    assert not loaded_by("import hud") & HEAVY


def test_step_types_do_not_load_heavy_clients() -> None:
    assert not loaded_by("import hud.trace.steps") & HEAVY
