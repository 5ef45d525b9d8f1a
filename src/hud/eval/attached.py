"""Single tasks by hand: start and grade one in an environment that serves, or all at once here."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any

from hud._core.errors import InputError, bounded
from hud.clients.client import HudClient
from hud.clients.connect import connect
from hud.environment.loader import Loaded, choose
from hud.environment.task import Task
from hud.eval.places import READY_TIMEOUT_S
from hud.runtimes.base import Provider, Runtime, provider_scope

DEFAULT_HOST, DEFAULT_PORT = "127.0.0.1", 8765
DEFAULT_URL = f"tcp://{DEFAULT_HOST}:{DEFAULT_PORT}"
_LISTENS_S = 1.0


@dataclass(frozen=True, slots=True)
class Started:
    """A task that waits for its answer: its prompt frame, and the session that holds it."""

    frame: dict[str, Any]
    session_id: str | None


async def listens(host: str = DEFAULT_HOST, port: int = DEFAULT_PORT) -> bool:
    """Tell whether anything accepts connections there."""
    try:
        async with asyncio.timeout(_LISTENS_S):
            _, writer = await asyncio.open_connection(host, port)
    except (OSError, TimeoutError):
        return False
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return True


async def list_served(url: str) -> list[dict[str, Any]]:
    """Return the manifest entries of a served environment.

    Raises:
        RuntimeFault: when nothing answers.
    """
    async with _attached(url) as client:
        return await client.list_tasks()


async def start_served(url: str, task_id: str, args: dict[str, Any]) -> Started:
    """Start a task in a served environment and leave it waiting there.

    Raises:
        HudProtocolError: when the environment refuses.
        RuntimeFault: when nothing answers.
    """
    async with _attached(url) as client:
        frame = await client.start_task(task_id, args)
        return Started(frame, client.manifest.session_id if client.manifest else None)


async def grade_served(url: str, answer: Any, session_id: str | None = None) -> dict[str, Any]:
    """Grade the task that waits in a served environment and return the grade frame.

    Args:
        session_id: Which one; needed when several wait.

    Raises:
        HudProtocolError: when none waits, several do, or grading raises.
        RuntimeFault: when nothing answers.
    """
    async with _attached(url) as client:
        if session_id is not None:
            await client.hello(session_id)
        return await client.grade({"answer": answer})


async def start_once(provider: Provider, task: Task) -> dict[str, Any]:
    """Start a task in a place of its own, which is gone afterwards, and return the prompt frame."""
    async with _placed(provider, task) as client:
        return await client.start_task(task.id, task.args)


async def grade_once(provider: Provider, task: Task, answer: Any) -> dict[str, Any]:
    """Start and grade a task in a place of its own and return the grade frame."""
    async with _placed(provider, task) as client:
        await client.start_task(task.id, task.args)
        return await client.grade({"answer": answer})


def single_template(loaded: Loaded, template_id: str, args: dict[str, Any]) -> Task:
    """Return a task of the one environment of a source that has a template of that id.

    Raises:
        InputError: when none has it, or several have.
    """
    homes = [env for env in loaded.environments() if template_id in env.tasks]
    if len(homes) > 1:
        names = ", ".join(env.name for env in homes)
        raise InputError(
            f"{len(homes)} environments have a task {bounded(template_id)!r}: {names}",
            hint="give the slug of a task, or path.py:attribute as the source",
        )
    env = homes[0] if homes else choose(loaded)
    return Task(env=env.name, id=env.find(template_id).id, args=args)


@contextlib.asynccontextmanager
async def _attached(url: str) -> AsyncGenerator[HudClient]:
    async with connect(Runtime(url), ready_timeout=READY_TIMEOUT_S) as client:
        yield client


@contextlib.asynccontextmanager
async def _placed(provider: Provider, task: Task) -> AsyncGenerator[HudClient]:
    async with (
        provider_scope(provider),
        provider(task) as place,
        connect(place) as client,
    ):
        try:
            yield client
        finally:
            if not client.lost.done():
                await client.bye()
