"""The lock file of a build: what was built from what, and what it offers and needs.

Written beside the source as `hud.lock` and into every bundle; the platform reads its manifest.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import msgspec
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hud._core import json
from hud._core.errors import InputError, bounded

FILE = "hud.lock"
_AT_MOST = 16 << 20


class _Row(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class LockedTask(_Row):
    """One template: its id and the JSON schema of its arguments."""

    id: str
    description: str = ""
    args: dict[str, Any] = Field(default_factory=dict[str, Any])


class LockedCapability(_Row):
    """One capability, with its protocol and version, as in `ssh/2`."""

    name: str
    protocol: str


class Variables(_Row):
    """Names of the environment variables that the source reads."""

    required: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()


class Lock(_Row):
    """What one build is.

    Attributes:
        name: The environment's.
        kind: `bundle` or `docker`.
        digest: The bundle's address, or the image's digest.
        source_hash: SHA-256 of the packed source, however it is compressed.
        source: File of the source that declares the environment, from its folder.
        environments: Every environment the source declares.
        hud: Version of the `hud` in it.
        hud_hash: SHA-256 of that one's wheel.
        python: As in `3.11`.
        packages: What is installed beside `hud`, as `name==version`.
    """

    version: Literal[1] = 1
    name: str
    kind: Literal["bundle", "docker"] = "bundle"
    digest: str | None = None
    source_hash: str
    source: str = "tasks.py"
    environments: tuple[str, ...] = ()
    hud: str
    hud_hash: str = ""
    python: str
    packages: tuple[str, ...] = ()
    tasks: tuple[LockedTask, ...] = ()
    capabilities: tuple[LockedCapability, ...] = ()
    variables: Variables = Variables()

    def manifest(self) -> dict[str, Any]:
        """Return what the platform keeps of it: tasks with schemas, and capabilities."""
        return {
            "tasks": [task.model_dump() for task in self.tasks],
            "capabilities": [capability.model_dump() for capability in self.capabilities],
        }

    def summary(self) -> dict[str, Any]:
        """Return the shape that clients show after a deploy."""
        return {
            "tasks": [
                {"slug": task.id, "id": task.id, "task": task.id, "args": {}} for task in self.tasks
            ],
            "environment": {
                "variables": {
                    "required": list(self.variables.required),
                    "optional": list(self.variables.optional),
                }
            },
            "capabilities": [{"name": capability.name} for capability in self.capabilities],
        }


def write_lock(lock: Lock, path: str | Path) -> Path:
    """Write a lock to a file, or into a folder as `hud.lock`; return the file."""
    target = Path(path)
    if target.is_dir():
        target = target / FILE
    try:
        target.write_bytes(msgspec.json.format(json.encode(lock.model_dump(mode="json"))) + b"\n")
    except OSError as error:
        raise InputError(f"{target} cannot be written: {error.strerror}") from error
    return target


def read_lock(path: str | Path) -> Lock:
    """Read a lock from a file, or from a folder that holds `hud.lock`.

    Raises:
        InputError: when there is none, or it is no lock.
    """
    target = Path(path)
    if target.is_dir():
        target = target / FILE
    try:
        with target.open("rb") as file:
            text = file.read(_AT_MOST + 1)
        if len(text) > _AT_MOST:
            raise InputError(f"{target} is larger than a lock can be")
        return Lock.model_validate(json.decode(text))
    except FileNotFoundError:
        raise InputError(f"{target} does not exist", hint="make one with: hud build") from None
    except OSError as error:
        raise InputError(f"{target} cannot be read: {error.strerror}") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InputError(f"{target} is no lock: {where}: {bounded(first['msg'])}") from error
    except ValueError as error:
        raise InputError(f"{target} is no lock: {bounded(str(error))}") from error
