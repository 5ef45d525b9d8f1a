"""What of a folder belongs to a build: every file, less what is ignored and what is never packed.

`.gitignore` files count first, then `.dockerignore`, whose `!` lines take back what either
ignores. The fixed excludes count last and cannot be taken back: they keep secrets at home.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pathspec import GitIgnoreSpec

from hud._core.errors import InputError, bounded

Kind = Literal["file", "folder", "link"]

# Of no use elsewhere, or made by tools.
_TOOLS = (
    ".git",
    "__pycache__",
    "*.pyc",
    ".venv",
    "venv",
    "node_modules",
    ".mypy_cache",
    ".pytest_cache",
    ".ruff_cache",
    ".tox",
    ".nox",
    ".cache",
    ".hypothesis",
    "*.egg-info",
    "/dist",
    "/build",
    ".DS_Store",
    "Thumbs.db",
    "/hud.lock",
)
# What holds secrets by its name; nothing brings these back.
SECRETS = (
    ".env*",
    "*.env",
    ".netrc",
    ".pypirc",
    ".npmrc",
    ".git-credentials",
    ".ssh",
    ".aws",
    ".gnupg",
    ".hud",
    "id_rsa",
    "id_dsa",
    "id_ecdsa",
    "id_ed25519",
)
_IGNORE_BYTES = 1 << 20
_FIXED = GitIgnoreSpec.from_lines((*_TOOLS, *SECRETS))


@dataclass(frozen=True, slots=True)
class Limits:
    """How large a context may be."""

    files: int = 100_000
    total_bytes: int = 2 << 30
    depth: int = 64


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing of a context.

    Attributes:
        name: Its path from the folder, with forward slashes.
        is_executable: Whether a file may be executed by its owner.
        target: Where a link leads, as it stands in the link.
    """

    name: str
    kind: Kind
    size: int = 0
    is_executable: bool = False
    target: str = ""


@dataclass(frozen=True, slots=True)
class Context:
    """The entries of a folder that are packed, sorted by name; folders come before what is in them.

    Attributes:
        root: The folder, resolved.
    """

    root: Path
    entries: tuple[Entry, ...]

    @property
    def size(self) -> int:
        """Bytes of all files together."""
        return sum(entry.size for entry in self.entries)

    def names(self) -> list[str]:
        """Return the names of the files."""
        return [entry.name for entry in self.entries if entry.kind == "file"]


def read_context(folder: str | Path, limits: Limits | None = None) -> Context:
    """Return what belongs to a build of `folder`. Blocks; run it in a thread.

    Raises:
        InputError: when there is no such folder, it is too large, or holds something that can
            not be packed: a link that leads out of it, a device, a socket.
    """
    root = Path(folder)
    if not root.is_dir():
        raise InputError(f"{bounded(str(folder), 300)} is no folder", hint="name the source's own")
    root = root.resolve()
    walk = _Walk(root, limits or Limits())
    return Context(root, tuple(sorted(walk.below(""), key=lambda entry: entry.name.split("/"))))


class _Walk:
    """One pass over a folder, with the ignore files met on the way."""

    def __init__(self, root: Path, limits: Limits) -> None:
        self._root = root
        self._limits = limits
        self._files = 0
        self._bytes = 0
        self._docker = _docker_lines(root)
        self._docker_takes_back = any(line.startswith("!") for line in self._docker)
        self._lines: list[str] = []
        self._spec = GitIgnoreSpec.from_lines(())

    def below(self, name: str, depth: int = 0) -> Iterator[Entry]:
        """Yield the entries of one folder and of those in it."""
        if depth > self._limits.depth:
            raise InputError(
                f"{bounded(name, 300)} is nested deeper than {self._limits.depth} folders"
            )
        own = _git_lines(self._root / name, name)
        if own or not depth:
            self._lines += own
            self._spec = GitIgnoreSpec.from_lines([*self._lines, *self._docker])
        try:
            with os.scandir(self._root / name) as found:
                children = sorted(found, key=lambda child: child.name)
        except OSError as error:
            raise _unreadable(name, error) from error
        for child in children:
            yield from self._one(child, f"{name}/{child.name}" if name else child.name, depth)

    def _one(self, child: os.DirEntry[str], name: str, depth: int) -> Iterator[Entry]:
        is_folder = child.is_dir(follow_symlinks=False)
        seen_as = f"{name}/" if is_folder else name
        if _FIXED.match_file(seen_as):
            return
        is_ignored = self._spec.match_file(seen_as)
        if is_ignored and not (is_folder and self._docker_takes_back):
            return
        try:
            name.encode()
        except UnicodeEncodeError:
            raise InputError(f"the name of {bounded(ascii(name), 300)} is not UTF-8") from None
        if not is_folder:
            yield self._counted(child, name)
            return
        below = list(self.below(name, depth + 1))
        if below or not is_ignored:
            yield Entry(name, "folder")
        yield from below

    def _counted(self, child: os.DirEntry[str], name: str) -> Entry:
        try:
            entry = _entry(self._root, child, name)
        except OSError as error:
            raise _unreadable(name, error) from error
        self._files += 1
        self._bytes += entry.size
        if self._files > self._limits.files or self._bytes > self._limits.total_bytes:
            raise InputError(
                f"{self._root} holds more than {self._limits.files} files or "
                f"{self._limits.total_bytes >> 20} MB",
                hint="list what a build does not need in .dockerignore",
            )
        return entry


def _entry(root: Path, child: os.DirEntry[str], name: str) -> Entry:
    found = child.stat(follow_symlinks=False)
    if stat.S_ISREG(found.st_mode):
        return Entry(name, "file", found.st_size, bool(found.st_mode & stat.S_IXUSR))
    if not stat.S_ISLNK(found.st_mode):
        raise InputError(
            f"{bounded(name, 300)} is no file, folder or link, so it cannot be packed",
            hint="remove it, or list it in .dockerignore",
        )
    target = os.readlink(root / name)  # noqa: PTH115 -- as it stands there
    real = os.path.realpath(root / name)
    if os.path.isabs(target) or not (real == str(root) or real.startswith(f"{root}/")):  # noqa: PTH117
        raise InputError(
            f"the link {bounded(name, 300)} leads out of the folder, to {bounded(target, 300)}",
            hint="copy what it leads to into the folder, or list it in .dockerignore",
        )
    return Entry(name, "link", target=target)


def _unreadable(name: str, error: OSError) -> InputError:
    return InputError(f"{bounded(name, 300) or 'the folder'} cannot be read: {error.strerror}")


def _git_lines(folder: Path, name: str) -> list[str]:
    """Return the patterns of a folder's `.gitignore`, as they read from the top."""
    lines = _lines(folder / ".gitignore")
    return lines if not name else [_moved(line, name) for line in lines if line.strip()]


def _moved(line: str, folder: str) -> str:
    if line.startswith("#"):
        return line
    sign, pattern = ("!", line[1:]) if line.startswith("!") else ("", line)
    where = "".join(f"\\{letter}" if letter in "*?[]!#\\" else letter for letter in folder)
    if "/" in pattern.rstrip().rstrip("/"):
        return f"{sign}/{where}/{pattern.lstrip('/')}"
    return f"{sign}/{where}/**/{pattern}"


def _docker_lines(root: Path) -> list[str]:
    """Return the patterns of `.dockerignore` as a `.gitignore` would say them: from the top."""
    found: list[str] = []
    for line in _lines(root / ".dockerignore"):
        pattern = line.strip()
        if not pattern or pattern.startswith("#"):
            continue
        sign, pattern = ("!", pattern[1:].strip()) if pattern.startswith("!") else ("", pattern)
        pattern = os.path.normpath(pattern.lstrip("/") or ".")
        if pattern != ".":
            found.append(f"{sign}/{pattern}")
    return found


def _lines(path: Path) -> list[str]:
    try:
        if path.is_symlink() or not path.is_file():
            return []
        with path.open("rb") as file:
            return file.read(_IGNORE_BYTES).decode("utf-8", "replace").splitlines()
    except OSError:
        return []
