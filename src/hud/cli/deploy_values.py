"""What `hud deploy` is given to send along: variables, build arguments, secrets, asks."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, cast

from dotenv import dotenv_values

from hud._core import json
from hud._core.errors import InputError, bounded
from hud._core.redact import register_secret
from hud.environment.compose import BASE_PATH
from hud.environment.runtime_config import RuntimeConfig

_LIMIT_BYTES = 1024 * 1024


def pairs(flag: str, given: Iterable[str]) -> dict[str, str]:
    """Return KEY=VALUE options as a mapping.

    Raises:
        InputError: for one without a name or an equals sign; its value is not shown.
    """
    found: dict[str, str] = {}
    for each in given:
        name, equals, value = each.partition("=")
        if not equals or not name.strip():
            raise InputError(
                f"{flag} {bounded(name, 80)!r} says no value", hint=f"write {flag} KEY=VALUE"
            )
        found[name.strip()] = value
    return found


def variables_in(path: Path) -> dict[str, str]:
    """Return the variables of a dotenv file, nothing in it replaced.

    Raises:
        InputError: when it cannot be read.
    """
    _readable(path, "--env-file")
    values = dotenv_values(path, interpolate=False, encoding="utf-8")
    return {name: value for name, value in values.items() if value is not None}


def secrets(given: Iterable[str], folder: Path) -> dict[str, str]:
    """Return build secrets by id, from variables (`env=`) and files (`src=`) of this machine.

    Raises:
        InputError: for one that names neither, or nothing that is there.
    """
    found: dict[str, str] = {}
    for each in given:
        parts = {
            name: value
            for name, _, value in (part.strip().partition("=") for part in each.split(","))
        }
        name = parts.get("id", "")
        if not name:
            raise InputError(
                f"--secret {bounded(each, 80)!r} has no id", hint="write --secret id=ID,env=NAME"
            )
        if variable := parts.get("env"):
            value = os.environ.get(variable)
            if value is None:
                raise InputError(f"--secret {name}: the variable {variable} is not set")
        elif source := parts.get("src"):
            value = _readable(folder / Path(source).expanduser(), f"--secret {name}")
        else:
            raise InputError(
                f"--secret {name} says neither env= nor src=", hint="write id=ID,src=FILE"
            )
        register_secret(value.strip())
        found[name] = value
    return found


def runtime_config(path: Path | None) -> dict[str, Any] | None:
    """Return the asks in a JSON file, only those that are set; None for no file.

    Raises:
        InputError: when the file cannot be read, or asks for nothing that is known.
    """
    if path is None:
        return None
    try:
        data: Any = json.decode(_readable(path, "--runtime-config"))
        if not isinstance(data, dict):
            raise InputError(f"--runtime-config: {path} holds no JSON object")
        context = {BASE_PATH: path.parent.resolve()}
        asked = RuntimeConfig.model_validate(cast("Mapping[str, Any]", data), context=context)
    except ValueError as error:
        said = bounded(" ".join(str(error).split()), 300)
        raise InputError(f"--runtime-config: {path}: {said}") from error
    found = asked.to_row()
    if not found:
        raise InputError(f"--runtime-config: {path} asks for nothing")
    return found


def _readable(path: Path, what: str) -> str:
    try:
        if path.stat().st_size > _LIMIT_BYTES:
            raise InputError(f"{what}: {path} is longer than {_LIMIT_BYTES:,} bytes")
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"{what}: {path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{what}: {path} is no text") from error
