"""The files `hud init` writes: an environment that works offline, small enough to be read whole."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from pathlib import Path

from hud._core.errors import InputError, StoreError, bounded

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")

_ENV = '''"""What the agent is asked to do, and how its answer is graded."""

from hud import Environment

env = Environment(name="{name}")


async def count(run, word: str, letter: str = "r") -> str:
    """The reference solution: `oracle` plays it, and it must score 1. Agents never see it."""
    return str(word.count(letter))


# A template yields exactly twice: the prompt, and, once the answer is in, the grade (0 to 1).
# Code before the first yield sets the scene, code after the second one tidies up.
@env.template(solution=count)
async def count_letter(word: str, letter: str = "r"):
    """Count a letter in a word."""
    answer = yield f"How many times does {{letter!r}} occur in {{word!r}}? Reply with the number."
    yield 1.0 if (answer or "").strip() == str(word.count(letter)) else 0.0
'''

_TASKS = '''"""The tasks: a template with its arguments filled in, as many times as you like."""

from env import count_letter

words = ["strawberry", "raspberry", "blueberry", "mirror", "banana"]

# hud check                          is every task solvable, and graded fairly?
# hud eval tasks.py oracle --all     play the reference solutions: 1.0
# hud eval tasks.py noop --all       do nothing: 0.0
# hud jobs                           what was run; hud trace ID shows one rollout
tasks = [count_letter(word=word) for word in words]
'''

_PYPROJECT = """[project]
name = "{package}"
version = "0.1.0"
requires-python = ">=3.11"
dependencies = ["hud-python"]

[tool.setuptools]
py-modules = ["env", "tasks"]
"""

_DOCKERFILE = """# hud build .    puts the hud that builds it into the image, never one of an index.
FROM python:{python}-slim
# Walls around the agent, where the container may make namespaces; else a second uid is used.
RUN if command -v apt-get >/dev/null; then apt-get update -qq \\
    && apt-get install -qq -y --no-install-recommends bubblewrap && rm -rf /var/lib/apt/lists/*; \\
    fi || echo "bubblewrap could not be installed: the agent gets a second uid instead"
WORKDIR /app
COPY . .
RUN python -m pip install --no-cache-dir .
CMD ["hud", "serve", "env.py", "--port", "8765"]
"""


@dataclass(frozen=True, slots=True)
class Project:
    """What would be written: file contents by path."""

    name: str
    folder: Path
    files: dict[Path, str]


def plan(name: str | None, base: Path) -> Project:
    """Return the project that `hud init [name]` in the folder `base` means.

    Raises:
        InputError: when no usable name follows.
    """
    folder = base / name if name else base
    name = name or base.resolve().name
    if not _NAME.fullmatch(name):
        raise InputError(
            f"{bounded(name)!r} cannot be the name of an environment",
            hint="letters, digits, '.', '_' and '-', a letter or digit first: hud init my-env",
        )
    package = re.sub(r"[._-]+", "-", name).strip("-").lower()
    files = {
        folder / "env.py": _ENV.format(name=name),
        folder / "tasks.py": _TASKS,
        folder / "pyproject.toml": _PYPROJECT.format(package=package),
        folder / "Dockerfile.hud": _DOCKERFILE.format(
            python=f"{sys.version_info.major}.{sys.version_info.minor}"
        ),
    }
    return Project(name, folder, files)


def write_files(project: Project, *, force: bool = False) -> None:
    """Write the project's files.

    Raises:
        InputError: when one of them exists and `force` is not given; nothing is written then.
        StoreError: when a file cannot be written.
    """
    held = [path for path in project.files if path.exists()]
    if held and not force:
        raise InputError(f"{held[0]} exists already", hint="replace it with --force")
    try:
        project.folder.mkdir(parents=True, exist_ok=True)
        for path, text in project.files.items():
            path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise StoreError(f"{project.folder} cannot be written: {error.strerror}") from error
