"""What `hud task` does, in a served environment or with a source file here."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from hud._core import json
from hud._core.errors import InputError, StoreError, bounded
from hud.cli import streams
from hud.cli.render import one_line, safe
from hud.cli.tables import table
from hud.environment.loader import choose, execute, resolve
from hud.environment.task import Task
from hud.eval.attached import (
    DEFAULT_URL,
    grade_once,
    grade_served,
    list_served,
    listens,
    single_template,
    start_once,
    start_served,
)
from hud.eval.loading import ROW_FILES, load_tasks
from hud.eval.places import LOCAL, place_at
from hud.eval.taskset import Taskset
from hud.trace.content import TextContent, as_message


@dataclass(frozen=True, slots=True)
class Where:
    """The environment meant: an address, a source, or whichever of the defaults is there."""

    source: str | None
    url: str | None

    def served(self) -> str | None:
        """Return the address of a served environment, None when a source is meant."""
        if self.url is not None:
            return self.url
        if self.source is None and asyncio.run(listens()):
            streams.note(f"using the environment served at {DEFAULT_URL}")
            return DEFAULT_URL
        return None


def list_tasks(where: Where, *, as_json: bool) -> None:
    """Show the tasks of a source, or the templates of a served environment."""
    streams.guard_stdout()
    url = where.served()
    if url is not None:
        entries = asyncio.run(list_served(url))
        rows = [
            (str(e.get("id")), str(e.get("description") or ""), _parameters(e)) for e in entries
        ]
        header = ("TEMPLATE", "DESCRIPTION", "ARGUMENTS")
    else:
        entries, header, rows = _listed(where.source or ".")
    if as_json:
        streams.write_json({"tasks": entries})
    else:
        streams.write(table(header, rows, width=streams.stdout_width(), shrink=len(header) - 1))


def _listed(source: str) -> tuple[list[dict[str, Any]], tuple[str, ...], list[tuple[str, ...]]]:
    if Path(source).suffix in ROW_FILES:
        tasks = list(Taskset.from_file(source))
    else:
        loaded = execute(resolve(source))
        tasks = loaded.tasks()
        if not tasks:
            entries = choose(loaded).manifest()
            rows = [(e["id"], e.get("description") or "", _parameters(e)) for e in entries]
            return entries, ("TEMPLATE", "DESCRIPTION", "ARGUMENTS"), rows
    entries = [{"slug": t.slug, "env": t.env, "id": t.id, "args": t.args} for t in tasks]
    listed = [(t.slug, t.env, t.id, json.encode(t.args).decode()) for t in tasks]
    return entries, ("TASK", "ENVIRONMENT", "TEMPLATE", "ARGUMENTS"), listed


def start(where: Where, name: str, args: str | None, *, out: str | None, as_json: bool) -> None:
    """Start a task and show its prompt."""
    streams.guard_stdout()
    given = _arguments(args)
    url = where.served()
    session: str | None = None
    if url is not None:
        task_id, task_args = _served_task(where, name, given)
        started = asyncio.run(start_served(url, task_id, task_args))
        frame, session = started.frame, started.session_id
    else:
        task, source = _local_task(where, name, given)
        frame = asyncio.run(start_once(place_at(LOCAL, source), task))
    _keep(out, frame)
    if as_json:
        streams.write_json({**frame, "session_id": session})
    else:
        streams.write(prompt_text(frame.get("prompt")))
    if session is not None:
        streams.note(f"waiting for its grade in session {session}")
    else:
        streams.note(
            "no environment serves here, so the task is not kept waiting: `hud serve` does"
        )


def grade(
    where: Where,
    name: str,
    args: str | None,
    answer: str | None,
    *,
    session: str | None,
    out: str | None,
    as_json: bool,
) -> None:
    """Grade an answer and show the reward."""
    streams.guard_stdout()
    given = _arguments(args)
    url = where.served()
    if url is not None:
        frame = asyncio.run(grade_served(url, answer, session))
    else:
        task, source = _local_task(where, name, given)
        frame = asyncio.run(grade_once(place_at(LOCAL, source), task, answer))
    _keep(out, frame)
    if as_json:
        streams.write_json(frame)
    else:
        streams.write(one_line(str(frame.get("score"))))
        if frame.get("content"):
            streams.note(safe(str(frame["content"])))


def answer_of(answer: str | None, file: str | None) -> str | None:
    """Return the answer given as text or in a file (`-`: standard input); None for none.

    Raises:
        InputError: when both are given, or the file cannot be read.
    """
    if file is None:
        return answer
    if answer is not None:
        raise InputError("--answer and --answer-file exclude each other")
    try:
        return sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"the answer file {bounded(file)} cannot be read: {error}") from error


def prompt_text(prompt: Any) -> str:
    """Return a prompt as text, safe for a terminal; other content as its kind."""
    if isinstance(prompt, str):
        return safe(prompt)
    messages = cast("list[Any]", prompt) if isinstance(prompt, list) else [prompt]
    texts: list[str] = []
    for message in messages:
        try:
            content = as_message(message).content
        except ValueError:
            texts.append(safe(json.encode(message).decode()))
            continue
        texts.append(
            safe(content.text) if isinstance(content, TextContent) else f"[{content.type}]"
        )
    return "\n\n".join(texts)


def _parameters(entry: dict[str, Any]) -> str:
    schema = cast("dict[str, Any]", entry.get("args") or {})
    required = cast("list[str]", schema.get("required") or [])
    properties = cast("dict[str, Any]", schema.get("properties") or {})
    return ", ".join(name if name in required else f"[{name}]" for name in properties)


def _arguments(text: str | None) -> dict[str, Any]:
    if text is None:
        return {}
    try:
        value = json.decode(text)
    except ValueError as error:
        raise InputError(f"--args is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise InputError(f"--args must be a JSON object, not {bounded(text)}")
    return cast("dict[str, Any]", value)


def _served_task(where: Where, name: str, args: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return template id and arguments; a --source given beside the address is looked in first."""
    if where.source is not None:
        task, _ = _local_task(where, name, args)
        return task.id, task.args
    return name, args


def _local_task(where: Where, name: str, args: dict[str, Any]) -> tuple[Task, str | Path]:
    """Return the task of that slug, or a new one of the template of that id, and its source.

    Raises:
        InputError: when there is neither.
    """
    tasks, home = _tasks_of(where.source or ".")
    found = tasks.get(name)
    if found is not None:
        return found.model_copy(update={"args": {**found.args, **args}}), home
    return single_template(execute(resolve(home)), name, args), home


def _tasks_of(source: str) -> tuple[dict[str, Task], str | Path]:
    """Return the tasks of a source by slug, and where their environment is defined."""
    if Path(source).suffix not in ROW_FILES:
        tasks = execute(resolve(source)).tasks()
        return {task.slug: task for task in tasks}, source
    loaded = load_tasks(source)
    if loaded.environment is None:
        raise InputError(
            f"{source} holds rows only, and no env.py or tasks.py is beside it",
            hint="serve the environment with `hud serve` and give its address as --url",
        )
    return loaded.taskset.tasks, loaded.environment


def _keep(out: str | None, frame: dict[str, Any]) -> None:
    if out is None:
        return
    try:
        Path(out).write_bytes(json.encode(frame) + b"\n")
    except OSError as error:
        raise StoreError(f"{bounded(out)} cannot be written: {error.strerror}") from error
