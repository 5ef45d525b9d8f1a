"""Which project and taskset of which platform a folder belongs to: its `.hud/config.json`.

Other tools keep settings of their own in the same file; they stay as they are.
"""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from hud._core import json
from hud._core.errors import InputError, bounded
from hud.api.place import PlatformPlace
from hud.api.replies import Me

FILE = Path(".hud") / "config.json"
_LIMIT_BYTES = 1024 * 1024
_NAMES = {
    "origin": "platformOrigin",
    "team_id": "teamId",
    "taskset_id": "tasksetId",
    "taskset_name": "tasksetName",
    "project_id": "projectId",
    "project_name": "projectName",
    "registry_id": "registryId",
    "registry_name": "registryName",
    "sync_env": "syncEnv",
}


@dataclass(frozen=True, slots=True)
class Link:
    """What a folder is linked to; None where nothing is said.

    Attributes:
        registry_id: The environment that it is deployed as.
        sync_env: "true" when the variables of its `.env` go along with it, "false" when not.
    """

    origin: str | None = None
    team_id: str | None = None
    taskset_id: str | None = None
    taskset_name: str | None = None
    project_id: str | None = None
    project_name: str | None = None
    registry_id: str | None = None
    registry_name: str | None = None
    sync_env: str | None = None

    def check(self, place: PlatformPlace, me: Me, folder: Path) -> None:
        """Refuse a platform or team that is another than the folder's.

        Raises:
            InputError: when it is another.
        """
        if self.origin is not None and self.origin != place.api_url:
            what, there = "platform", f"{self.origin}, and HUD_API_URL is {place.shown}"
        elif self.team_id is not None and self.team_id != me.team_id:
            what, there = "team", f"{self.team_id}, and HUD_API_KEY is of {me.team_id}"
        else:
            return
        raise InputError(
            f"{folder / FILE} links this folder to another {what}: {bounded(there, 400)}",
            hint="use the setting it was linked with, or link it anew with --link",
        )


def read_link(folder: Path) -> Link:
    """Return what a folder is linked to.

    Raises:
        InputError: when the file cannot be read.
    """
    held = _read(folder / FILE)
    found = {name: held.get(key) for name, key in _NAMES.items()}
    return Link(**{name: _text(value) for name, value in found.items() if value not in (None, "")})


def write_link(folder: Path, **changes: str | bool | None) -> Path:
    """Change what a folder is linked to, by the names of `Link`, and return the file.

    Raises:
        InputError: when the file cannot be read or written.
    """
    path = folder / FILE
    held = _read(path)
    for name, value in changes.items():
        held[_NAMES[name]] = value
    held = {key: value for key, value in held.items() if value is not None}
    try:
        path.parent.mkdir(exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".config-")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(json.encode(held) + b"\n")
            Path(temporary).replace(path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror}") from error
    return path


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _read(path: Path) -> dict[str, Any]:
    try:
        if not path.exists():
            return {}
        if path.stat().st_size > _LIMIT_BYTES:
            raise InputError(f"{path} is longer than {_LIMIT_BYTES:,} bytes")
        data = json.decode(path.read_bytes())
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise InputError(f"{path} is not JSON: {error}") from error
    if not isinstance(data, dict):
        raise InputError(f"{path} holds no JSON object")
    return cast("dict[str, Any]", data)
