"""Reads a Compose file into the one normalized form that travels with rows and that runtimes run.

Nothing of this machine gets into it: variables come from the `.env` beside the file, never from
the environment of whoever reads it, and every other file it names lies inside the project's folder.
The format is the Compose Specification's (github.com/compose-spec/compose-spec).
"""

from __future__ import annotations

import io
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from dotenv import dotenv_values
from dotenv.variables import parse_variables

from hud._core import json
from hud._core.errors import InputError, bounded

NAMES = ("compose.yaml", "compose.yml", "docker-compose.yaml", "docker-compose.yml")
_AT_MOST = 1 << 20
_NODES = 50_000  # what aliases of YAML may make of a small file
_DEPTH = 100  # an alias within what it stands for has no end
_PORTS = 65_535
_VARIABLE = re.compile(
    r"\$(?:(?P<escaped>\$)|(?P<plain>[A-Za-z_]\w*)"
    r"|\{(?P<name>[A-Za-z_]\w*)(?:(?P<how>:?[-?+])(?P<other>[^{}]*))?\}|(?P<wrong>))"
)
_ELSEWHERE = ("include", "extends")


def find_compose_file(folder: Path) -> Path | None:
    """Return the Compose file of a folder, None when it has none."""
    return next((folder / name for name in NAMES if (folder / name).is_file()), None)


def read_document(path: Path, root: Path) -> dict[str, Any]:
    """Return the normalized document of a Compose file.

    Strings are without variables; environments are maps, commands lists of words; mounts, ports,
    networks and dependencies have their long form; sources of mounts stay as written.

    Args:
        path: The file, in YAML or JSON.
        root: The project's folder, which nothing it names may lead out of.

    Raises:
        InputError: when the file, or one it names, cannot be read or means nothing.
    """
    reader = _Reader(path, root)
    data = reader.interpolated(_parse(reader.text(path), path))
    if not isinstance(data, dict):
        raise InputError(f"{path} holds no Compose document")
    document = cast("dict[str, Any]", data)
    for name in _ELSEWHERE:
        if name in document:
            raise _elsewhere(path, name)
    services = _map(document.get("services"), f"{path}: services")
    if not services:
        raise InputError(f"{path} has no services")
    made = {name: value for name, value in document.items() if name != "version"}
    made["services"] = {
        name: reader.service(_map(service, f"{path}: services.{name}"), f"services.{name}")
        for name, service in services.items()
    }
    for name in ("networks", "volumes", "secrets", "configs"):
        if name in document:
            made[name] = _rows(document[name], f"{path}: {name}")
    return made


class _Reader:
    def __init__(self, path: Path, root: Path) -> None:
        self._path, self._root = path, root.resolve()
        beside = path.parent / ".env"
        self._variables = _variables_in(self.text(beside)) if beside.is_file() else {}
        self._nodes = 0

    def text(self, path: Path) -> str:
        """Return what a file of the project holds."""
        try:
            if not path.resolve(strict=True).is_relative_to(self._root):
                raise InputError(f"{self._path} names {bounded(str(path))}, outside its project")
            if not path.is_file():
                raise InputError(f"{path} cannot be read: it is no file")
            with path.open(encoding="utf-8") as file:
                text = file.read(_AT_MOST + 1)
        except (OSError, UnicodeDecodeError) as error:
            said = error.strerror if isinstance(error, OSError) else "it is no UTF-8 text"
            raise InputError(f"{path} cannot be read: {said}") from error
        if len(text) > _AT_MOST:
            raise InputError(f"{path} is larger than {_AT_MOST >> 20} MiB")
        return text

    def interpolated(self, value: Any, depth: int = 0) -> Any:
        """Return plain data with its variables filled in."""
        self._nodes += 1
        if self._nodes > _NODES:
            raise InputError(f"{self._path} holds more than {_NODES} values")
        if depth > _DEPTH:
            raise InputError(f"{self._path} is nested deeper than {_DEPTH} levels")
        if isinstance(value, dict):
            rows = cast("dict[Any, Any]", value)
            return {str(name): self.interpolated(row, depth + 1) for name, row in rows.items()}
        if isinstance(value, list):
            return [self.interpolated(row, depth + 1) for row in cast("list[Any]", value)]
        if isinstance(value, str):
            return _VARIABLE.sub(self._filled, value)
        if value is None or isinstance(value, bool | int | float):
            return value
        return str(value)  # a date, as YAML reads it

    def _filled(self, match: re.Match[str]) -> str:
        if match["escaped"]:
            return "$"
        if match["wrong"] is not None:
            raise InputError(
                f"{self._path}: {bounded(match.string)!r} has a $ that names no variable",
                hint="write $$ for the sign itself",
            )
        name, how = match["plain"] or match["name"], match["how"] or ""
        value = self._variables.get(name)
        is_there = bool(value) if how.startswith(":") else value is not None
        if how.endswith("+"):
            return match["other"] if is_there else ""
        if is_there:
            return value or ""
        if how.endswith("-"):
            return match["other"]
        said = f": {match['other']}" if how and match["other"] else ""
        raise InputError(
            f"{self._path} needs the variable {name}{said}",
            hint=f"write it into .env beside the file, or give it a default: ${{{name}:-value}}",
        )

    def service(self, service: dict[str, Any], where: str) -> dict[str, Any]:
        """Return one service, normalized."""
        if "extends" in service:
            raise _elsewhere(self._path, f"{where}.extends")
        where = f"{self._path}: {where}"
        made = {name: value for name, value in service.items() if name != "env_file"}
        environment: dict[str, str] = {}
        for file in _env_files(service.get("env_file"), where):
            text = self.text(self._path.parent / file)
            found = dotenv_values(stream=io.StringIO(text), interpolate=False)
            environment.update({name: value or "" for name, value in found.items()})
        environment.update(self._environment(service.get("environment"), where))
        if environment:
            made["environment"] = environment
        for name in ("command", "entrypoint"):
            if name in service:
                made[name] = _words(service[name], f"{where}.{name}")
        for name in ("labels", "extra_hosts", "sysctls"):
            if name in service:
                separator = "=" if name != "extra_hosts" else "=:"
                made[name] = _pairs(service[name], f"{where}.{name}", separator)
        if "ports" in service:
            made["ports"] = _ports(service["ports"], f"{where}.ports")
        if "expose" in service:
            made["expose"] = [str(port) for port in _list(service["expose"], f"{where}.expose")]
        for name, row in (("networks", {}), ("depends_on", {"condition": "service_started"})):
            if name in service:
                made[name] = _named(service[name], row, f"{where}.{name}")
        if "volumes" in service:
            rows = _list(service["volumes"], f"{where}.volumes")
            made["volumes"] = [_mount(row, f"{where}.volumes") for row in rows]
        for name in ("secrets", "configs"):
            if name in service:
                rows = _list(service[name], f"{where}.{name}")
                made[name] = [{"source": row} if isinstance(row, str) else row for row in rows]
        check = service.get("healthcheck")
        if isinstance(check, dict) and isinstance(cast("dict[str, Any]", check).get("test"), str):
            made["healthcheck"] = {**check, "test": ["CMD-SHELL", check["test"]]}
        return made

    def _environment(self, value: Any, where: str) -> dict[str, str]:
        found: dict[str, str] = {}
        for name, text in _pairs(value, f"{where}.environment", "=", bare=True).items():
            given = self._variables.get(name) if text is None else text
            if given is not None:
                found[name] = given
        return found


def _parse(text: str, path: Path) -> Any:
    if path.suffix == ".json":
        try:
            return json.decode(text)
        except ValueError as error:
            raise InputError(f"{path} is not JSON: {error}") from error
    try:
        import yaml
    except ImportError as error:
        raise InputError(
            "reading a Compose file in YAML needs PyYAML",
            hint="pip install 'hud-python[compose]', or write the file in JSON",
        ) from error
    merged = 0

    class Loader(yaml.SafeLoader):
        """Counts what merges copy, before they do."""

        def flatten_mapping(self, node: yaml.MappingNode) -> None:
            nonlocal merged
            super().flatten_mapping(node)
            merged += len(node.value)
            if merged > _NODES:
                raise InputError(f"{path} holds more than {_NODES} values")

    try:
        return yaml.load(text, Loader)
    # A scalar that is not what its tag or its form says is an error of any kind in there.
    except (yaml.YAMLError, RecursionError, ValueError, AttributeError) as error:
        raise InputError(f"{path} is not YAML: {bounded(' '.join(str(error).split()))}") from error


def _variables_in(text: str) -> dict[str, str]:
    """Return the variables of a file, which may name those above them and none of this process."""
    found: dict[str, str] = {}
    for name, value in dotenv_values(stream=io.StringIO(text), interpolate=False).items():
        found[name] = "".join(atom.resolve(found) for atom in parse_variables(value or ""))
    return found


def _elsewhere(path: Path, what: str) -> InputError:
    return InputError(
        f"{path}: {what} is not supported: a project is one file",
        hint="write out what it brings in; docker compose config prints the whole",
    )


def _env_files(value: Any, where: str) -> list[str]:
    files: list[str] = []
    for row in [value] if isinstance(value, str) else _list(value, f"{where}.env_file"):
        path: Any = cast("dict[str, Any]", row).get("path") if isinstance(row, dict) else row
        if not isinstance(path, str):
            raise InputError(f"{where}.env_file: {bounded(path)} names no file")
        files.append(path)
    return files


def _map(value: Any, where: str) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise InputError(f"{where} is no map")
    return cast("dict[str, Any]", value)


def _list(value: Any, where: str) -> list[Any]:
    if value is None:
        return []
    if not isinstance(value, list):
        raise InputError(f"{where} is no list")
    return cast("list[Any]", value)


def _text(value: Any, where: str) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if not isinstance(value, str | int | float):
        raise InputError(f"{where}: {bounded(value)} is no text")
    return str(value)


def _words(value: Any, where: str) -> list[str] | None:
    if value is None:
        return None
    if isinstance(value, str):
        try:
            return shlex.split(value)
        except ValueError as error:
            raise InputError(f"{where}: {bounded(value)!r}: {error}") from error
    return [_text(word, where) for word in _list(value, where)]


def _pairs(value: Any, where: str, separators: str, *, bare: bool = False) -> dict[str, Any]:
    """Return a map of texts from a map or a list of `name=value`; without a value it is None."""
    if isinstance(value, dict):
        rows = cast("Mapping[str, Any]", value)
        return {
            name: None if row is None and bare else _text("" if row is None else row, where)
            for name, row in rows.items()
        }
    found: dict[str, Any] = {}
    for row in _list(value, where):
        parts = re.split(f"[{separators}]", _text(row, where), maxsplit=1)
        found[parts[0]] = parts[1] if len(parts) == 2 else None if bare else ""
    return found


def _named(value: Any, row: dict[str, str], where: str) -> dict[str, Any]:
    if isinstance(value, list):
        return {_text(name, where): {**row} for name in cast("list[Any]", value)}
    return _rows(value, where)


def _rows(value: Any, where: str) -> dict[str, Any]:
    return {name: {} if row is None else row for name, row in _map(value, where).items()}


def _ports(value: Any, where: str) -> list[dict[str, Any]]:
    made: list[dict[str, Any]] = []
    for row in _list(value, where):
        if isinstance(row, dict):
            port = cast("dict[str, Any]", row)
            made.append({"protocol": "tcp", **port})
            continue
        text, _, protocol = _text(row, where).partition("/")
        published, _, target = text.rpartition(":")
        first, _, last = target.partition("-")
        if not first.isdigit() or (last and not last.isdigit()):
            raise InputError(f"{where}: {bounded(row)!r} is no port")
        if len(made) > _PORTS:
            raise InputError(f"{where}: more than {_PORTS} ports")
        for number in range(int(first), min(int(last or first), _PORTS) + 1):
            port = {"target": number, "protocol": protocol or "tcp"}
            if published and not last:
                port["published"] = published.rpartition(":")[2]
            made.append(port)
    return made


def _mount(row: Any, where: str) -> dict[str, Any]:
    if isinstance(row, dict):
        return cast("dict[str, Any]", row)
    parts = _text(row, where).split(":")
    if len(parts) == 1:
        return {"type": "volume", "target": parts[0]}
    source, target, *options = parts
    flags = options[0].split(",") if options else []
    kind = "bind" if source.startswith(("/", ".", "~")) else "volume"
    made: dict[str, Any] = {"type": kind, "source": source, "target": target}
    if "ro" in flags:
        made["read_only"] = True
    return made
