"""Which folders of this machine are workspaces now, so that whoever grades one knows its sandbox.

Written by what starts workspaces; read by graders, which know nothing of environments.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Generator, Iterable
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hud.sandbox.spec import SandboxSpec

if TYPE_CHECKING:
    from hud.sandbox.sandbox import Sandbox

_live: dict[int, LiveRoot] = {}
_current: ContextVar[tuple[int, ...] | None] = ContextVar("hud_workspaces", default=None)


@dataclass(frozen=True, slots=True)
class LiveRoot:
    """A workspace's folder, how its sandbox is made, and the one it has now."""

    root: Path
    spec: SandboxSpec
    sandbox: Sandbox


def remember(owner: object, root: Path, spec: SandboxSpec, sandbox: Sandbox) -> None:
    """Note a workspace until its owner is forgotten."""
    _live[id(owner)] = LiveRoot(Path(os.path.realpath(root)), spec, sandbox)


def forget(owner: object) -> None:
    """Note that a workspace is one no more; again is no error."""
    _live.pop(id(owner), None)


@contextlib.contextmanager
def graded_for(owners: Iterable[object]) -> Generator[None]:
    """Run a block on behalf of the environment that has these workspaces and no others."""
    token = _current.set(tuple(id(owner) for owner in owners))
    try:
        yield
    finally:
        _current.reset(token)


def current_root() -> LiveRoot | None:
    """Return the first workspace of the environment that this code grades for.

    Outside of a template it is this process's only one.
    """
    owners = _current.get()
    if owners is not None:
        return next((_live[owner] for owner in owners if owner in _live), None)
    return next(iter(_live.values())) if len(_live) == 1 else None


def root_of(path: str | os.PathLike[str]) -> LiveRoot | None:
    """Return the workspace that holds `path` on this machine, or None.

    A path below a workspace belongs to it, wherever the links lead that an agent put there.
    """
    return next((live for live in _live.values() if below(live, path) is not None), None)


def below(live: LiveRoot, path: str | os.PathLike[str]) -> str | None:
    """Return where `path` is in a workspace, "." for its folder, or None when it is outside.

    Links inside the workspace are not followed: they are its agent's.
    """
    named = Path(os.path.abspath(path))  # noqa: PTH100 -- `resolve` would follow links
    for folder in (named, *named.parents):
        if os.path.realpath(folder) == str(live.root):
            return os.path.relpath(named, folder)
    real = os.path.realpath(path)
    return os.path.relpath(real, live.root) if real.startswith(f"{live.root}/") else None
