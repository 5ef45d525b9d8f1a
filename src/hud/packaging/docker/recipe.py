"""The Dockerfile of a build: which one it is, and what is added so that the right `hud` is in it.

Every stage gets the wheel of the `hud` that builds and constraints that hold its names, so that no
`pip` in it can take one from an index; the last stage has to end with that very `hud`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from hud._core.errors import InputError
from hud._core.paths import shown_folder
from hud._version import __version__
from hud.packaging.wheel import constraint_lines

RECIPES = ("Dockerfile.hud", "Dockerfile")
ADDED = ".hud-build"
_HELD = "/opt/hud"
_AT_MOST = 1 << 20
_FROM = re.compile(r"^\s*FROM\s+(?:--\S+\s+)*(\S+)(?:\s+AS\s+(\S+))?\s*$", re.IGNORECASE)
_HEREDOC = re.compile(r"<<-?\s*([\"']?)([A-Za-z_]\w*)\1")
_INSTALL = f"python3 -m pip install --quiet --no-cache-dir --root-user-action=ignore {_HELD}/*.whl"
_BEGIN = f"""COPY {ADDED}/held/ {_HELD}/
ENV PIP_CONSTRAINT={_HELD}/constraints.txt UV_CONSTRAINT={_HELD}/constraints.txt
"""
_EARLY = (
    "RUN if python3 -m pip --version >/dev/null 2>&1; then "
    f"PIP_BREAK_SYSTEM_PACKAGES=1 {_INSTALL}; fi\n"
)
_END = (
    f'RUN if [ "$(hud version 2>/dev/null)" != "{__version__}" ]; then '
    f"PIP_BREAK_SYSTEM_PACKAGES=1 {_INSTALL}; fi; "
    f'test "$(hud version)" = "{__version__}"\n'
)


@dataclass(frozen=True, slots=True)
class Recipe:
    """A Dockerfile that was found: its name in the folder, and its text."""

    name: str
    text: str


def find_recipe(folder: Path) -> Recipe:
    """Return the Dockerfile of a folder: `Dockerfile.hud` before `Dockerfile`.

    Raises:
        InputError: when there is none, or it cannot be read.
    """
    for name in RECIPES:
        path = folder / name
        if path.is_file():
            try:
                with path.open(encoding="utf-8") as file:
                    text = file.read(_AT_MOST + 1)
            except (OSError, UnicodeDecodeError) as error:
                raise InputError(f"{path} cannot be read: {error}") from error
            if len(text) > _AT_MOST:
                raise InputError(f"{path} is larger than {_AT_MOST >> 20} MiB")
            return Recipe(name, text)
    raise InputError(
        f"there is no Dockerfile.hud and no Dockerfile in {shown_folder(folder)}",
        hint="hud init writes one; without a container engine: hud build --bundle",
    )


def with_own_hud(recipe: Recipe) -> str:
    """Return the recipe's text with the wheel of this `hud` in every stage.

    Raises:
        InputError: when it has no stage.
    """
    lines = _logical_lines(recipe.text)
    stages = [number for number, line in enumerate(lines) if _FROM.match(_joined(line))]
    if not stages:
        raise InputError(f"{recipe.name} has no FROM line")
    made: list[str] = []
    for number, line in enumerate(lines):
        made.append(line)
        if number in stages:
            match = _FROM.match(_joined(line))
            assert match is not None
            if match[1].lower() != "scratch":
                made.append(_BEGIN)
                if number == stages[-1]:
                    made.append(_EARLY)
    if not made[-1].endswith("\n"):
        made.append("\n")
    made.append(_END)
    return "".join(made)


def constraints() -> str:
    """Return what pip is told inside: both names are these wheels."""
    wheel = f"file://{_HELD}/hud_python-{__version__}-py3-none-any.whl"
    holder = f"file://{_HELD}/hud-{__version__}-py3-none-any.whl"
    return constraint_lines(wheel, holder)


def _logical_lines(text: str) -> list[str]:
    """Split into instructions: continued lines and here-documents stay with theirs."""
    made: list[str] = []
    held = ""
    until: list[str] = []
    for line in text.splitlines(keepends=True):
        held += line
        bare = line.strip()
        if until:
            if bare == until[0]:
                until.pop(0)
            if until:
                continue
        elif not bare.startswith("#"):
            until = [match[2] for match in _HEREDOC.finditer(line)]
            if until or bare.endswith("\\"):
                continue
        elif held != line:
            continue
        made.append(held)
        held = ""
    return [*made, held] if held else made


def _joined(line: str) -> str:
    return re.sub(r"\\\s*\n", " ", line).strip()
