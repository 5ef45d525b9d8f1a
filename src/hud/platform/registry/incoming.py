"""An upload of tasks, read and checked: each row becomes the record that an export gives back.

What was not set stays unset, and nothing is added, since clients tell by the exact row whether a
task changed. Whether its arguments fit the environment is not decided here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import msgspec

from hud._core import json
from hud._core.errors import bounded
from hud.environment.task import default_slug
from hud.platform.errors import ApiError
from hud.platform.registry.naming import LONGEST_NAME, LONGEST_SLUG, is_printable

DEEPEST = 64
LONGEST_RECORD_BYTES = 8 * 1024 * 1024
_MOST_PROBLEMS = 20
_PROBLEM_LENGTH = 300
# The record's own names first, then what else a client may call the same.
_NAMES = {"scenario": ("task_id", "scenario", "id"), "name": ("name", "slug")}
_OBJECTS = ("agent_config", "columns", "runtime_config", "verifier")
_OWN = frozenset({"env", "args", *_NAMES["scenario"], *_NAMES["name"]})
_canonical = msgspec.json.Encoder(order="sorted")


@dataclass(frozen=True, slots=True)
class IncomingTask:
    """One task of an upload.

    Attributes:
        record: Its row as JSON, in the form of an export.
        digest: SHA-256 over the row with its keys sorted: equal rows, equal digests.
    """

    slug: str
    env: str
    task_id: str
    args: dict[str, Any]
    verifier: dict[str, Any] | None
    record: str
    digest: str


@dataclass(frozen=True, slots=True)
class Upload:
    """A whole upload; one of `taskset_name` and `taskset_id` is given."""

    taskset_name: str | None
    taskset_id: str | None
    project_id: str | None
    tasks: tuple[IncomingTask, ...]


@dataclass(slots=True)
class Problems:
    """What is wrong with an upload, a line each; only the first lines are kept."""

    lines: list[str] = field(default_factory=list[str])
    count: int = 0

    def add(self, line: str) -> None:
        """Note one."""
        self.count += 1
        if self.count <= _MOST_PROBLEMS:
            self.lines.append(bounded(line, _PROBLEM_LENGTH))

    def refuse(self) -> None:
        """Refuse the upload when there are any.

        Raises:
            ApiError: with status 400 and a line for each of the first ones.
        """
        if not self.count:
            return
        lines = list(self.lines)
        if self.count > len(lines):
            lines.append(f"and {self.count - len(lines)} more like these")
        raise ApiError(400, "\n".join(lines), kind="bad_input")


def read_upload(body: bytes) -> Upload:
    """Read and check the body of an upload.

    Raises:
        ApiError: with status 400, when any of it cannot be taken; nothing is kept then.
    """
    try:
        found: Any = json.decode(body)
    except ValueError as error:
        raise ApiError(400, f"the body is not JSON: {error}", kind="bad_input") from None
    if not isinstance(found, dict):
        raise ApiError(400, "the body is no JSON object", kind="bad_input")
    document = cast("dict[str, Any]", found)
    problems = Problems()
    name, taskset_id, project_id = (
        _optional_text(document, key, problems)
        for key in ("taskset_name", "taskset_id", "project_id")
    )
    if not name and not taskset_id:
        problems.add("the upload names no taskset: give taskset_name or taskset_id")
    rows = document.get("tasks")
    tasks: dict[str, IncomingTask] = {}
    if isinstance(rows, list):
        for number, row in enumerate(cast("list[Any]", rows), 1):
            _take(number, row, tasks, problems)
    else:
        problems.add("the upload has no list of tasks")
    problems.refuse()
    return Upload(name, taskset_id, project_id, tuple(tasks.values()))


def _optional_text(document: Mapping[str, Any], key: str, problems: Problems) -> str | None:
    value = document.get(key)
    if value is None or isinstance(value, str):
        return value or None
    problems.add(f"{key} is no text but {bounded(value)}")
    return None


def _take(number: int, row: Any, tasks: dict[str, IncomingTask], problems: Problems) -> None:
    before = problems.count
    where = f"task {number}"
    if not isinstance(row, dict):
        problems.add(f"{where} is no object but {bounded(row)}")
        return
    given = cast("dict[str, Any]", row)
    if _depth(given) > DEEPEST:
        problems.add(f"{where} is nested more than {DEEPEST} levels deep")
        return
    args = _args(given.get("args"), where, problems)
    env = _env(given.get("env"), where, problems)
    task_id = _named(given, _NAMES["scenario"], where, LONGEST_SLUG, problems)
    slug = _named(given, _NAMES["name"], where, LONGEST_SLUG, problems, needed=False)
    if problems.count > before:
        return
    slug = slug or default_slug(task_id, args)
    where = f"task {slug!r}"
    _check_shapes(given, where, problems)
    record: dict[str, Any] = {"env": env, "scenario": task_id, "name": slug, "args": args}
    record |= {key: value for key, value in given.items() if key not in _OWN and value is not None}
    text = json.encode(record)
    if len(text) > LONGEST_RECORD_BYTES:
        problems.add(f"{where} is longer than {LONGEST_RECORD_BYTES // 1024**2} MiB")
    if slug in tasks:
        problems.add(f"two tasks have the slug {slug!r}: give one of them another")
    if problems.count == before:
        digest = hashlib.sha256(_canonical.encode(record)).hexdigest()
        verifier = record.get("verifier")
        tasks[slug] = IncomingTask(slug, env, task_id, args, verifier, text.decode(), digest)


def _args(value: Any, where: str, problems: Problems) -> dict[str, Any]:
    if isinstance(value, dict):
        return cast("dict[str, Any]", value)
    if value is not None:
        problems.add(f"{where}: args is no object but {bounded(value)}")
    return {}


def _env(value: Any, where: str, problems: Problems) -> str:
    name = cast("dict[str, Any]", value).get("name") if isinstance(value, dict) else value
    return _text(name, f"{where}: env", LONGEST_NAME, problems)


def _named(
    row: Mapping[str, Any],
    keys: tuple[str, ...],
    where: str,
    longest: int,
    problems: Problems,
    *,
    needed: bool = True,
) -> str:
    values = [row[key] for key in keys if row.get(key) is not None]
    if not values and not needed:
        return ""
    if any(value != values[0] for value in values):
        problems.add(f"{where}: {' and '.join(keys)} are the same thing, but differ here")
        return ""
    return _text(values[0] if values else None, f"{where}: {keys[0]}", longest, problems)


def _text(value: Any, where: str, longest: int, problems: Problems) -> str:
    if not isinstance(value, str) or not value:
        problems.add(f"{where} is missing" if value in (None, "") else f"{where} is no text")
        return ""
    if len(value) > longest or not is_printable(value):
        problems.add(f"{where} {bounded(value)!r} is too long, or cannot be shown")
        return ""
    return value


def _check_shapes(row: Mapping[str, Any], where: str, problems: Problems) -> None:
    for key in _OBJECTS:
        value = row.get(key)
        if value is not None and not isinstance(value, dict):
            problems.add(f"{where}: {key} is no object but {bounded(value)}")
    validation = row.get("validation")
    if validation is not None and not isinstance(validation, list):
        problems.add(f"{where}: validation is no list but {bounded(validation)}")


def _depth(value: Any) -> int:
    """Return how deep `value` is nested, without going far below what is allowed."""
    deepest, waiting = 0, [(value, 1)]
    while waiting:
        found, level = waiting.pop()
        if isinstance(found, dict):
            inner: Any = cast("dict[str, Any]", found).values()
        elif isinstance(found, list):
            inner = cast("list[Any]", found)
        else:
            continue
        deepest = max(deepest, level)
        if level > DEEPEST:
            break
        waiting += [(item, level + 1) for item in inner if isinstance(item, dict | list)]
    return deepest
