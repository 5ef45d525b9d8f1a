"""Import a source once for every rollout to come, and rehearse so that children import nothing."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import socket
import sys
import tempfile
import time
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

from hud._core import json
from hud.environment.environment import Environment
from hud.environment.loader import Loaded, Source, choose, execute
from hud.environment.server import bind
from hud.runtimes.warm.wire import Load

_WARM_TEMPLATES_S = 1.0
_PATH_BYTES = 103  # what the path of a Unix socket may have everywhere
SHORT_ROOM = 43
OWNED_ROOM = 66
"""Bytes after the folder: for a name of hud's own, and for one that says whose it is."""
_SCRIPT: tuple[dict[str, Any], ...] = (
    {"method": "hello", "params": {}},
    {"method": "tasks.list", "params": {}},
    {"method": "tasks.start", "params": {"id": "rehearsal", "args": {"number": "1"}}},
    {"method": "tasks.grade", "params": {"answer": "done"}},
    {"method": "tasks.start", "params": {"id": "rehearsal"}},
    {"method": "tasks.grade", "params": {"answer": "done"}},
    {"method": "bye", "params": {}},
)


class WarmSource:
    """A source's environments, imported in this process."""

    def __init__(self, loaded: Loaded, only: Environment | None) -> None:
        self._loaded = loaded
        self._only = only

    @classmethod
    def load(cls, order: Load) -> WarmSource:
        """Execute the source and keep its modules importable for the rest of this process.

        Raises:
            InputError: when the source or the environment in it cannot be used.
        """
        sys.argv = [order.path]
        sys.path.extend(entry for entry in order.search if entry not in sys.path)
        loaded = execute(Source(Path(order.path), order.attribute))
        sys.path.insert(0, str(loaded.source.root))
        sys.modules.update(loaded.siblings)
        if order.attribute is not None or order.env is not None:
            return cls(loaded, choose(loaded, order.env))
        found = loaded.environments()
        return cls(loaded, choose(loaded) if len(found) < 2 else None)

    def environment(self, name: str) -> Environment:
        """Return the environment of a row: the only one, or among several the one it names.

        Raises:
            InputError: when the source has several and none of that name.
        """
        return self._only if self._only is not None else choose(self._loaded, name)

    def rehearse(self) -> None:
        """Run what every child will run once, on an environment of our own, without its hooks.

        Children then find every module imported and every cache filled: what each of them would
        do for itself is done once.
        """
        _prepare_templates(self._environments())
        loop = asyncio.new_event_loop()
        try:
            with tempfile.TemporaryDirectory(prefix="hud-", dir=short_folder()) as folder:
                loop.run_until_complete(_rehearsal(f"{folder}/rehearsal"))
        finally:
            loop.close()

    def _environments(self) -> list[Environment]:
        return [self._only] if self._only is not None else self._loaded.environments()


def short_folder(room: int = SHORT_ROOM) -> str:
    """Return the folder for temporary files, or `/tmp` where a Unix socket's path has no room.

    Args:
        room: Bytes that the path has after the folder.
    """
    folder = tempfile.gettempdir()
    return folder if len(os.fsencode(folder)) <= _PATH_BYTES - room else "/tmp"


def freeze() -> None:
    """Keep what exists out of the children's garbage collections, so its pages stay shared."""
    gc.collect()
    gc.disable()
    gc.freeze()


def _prepare_templates(environments: list[Environment]) -> None:
    """Build the argument validators of the templates, within a second; the rest build lazily."""
    deadline = time.monotonic() + _WARM_TEMPLATES_S
    for env in environments:
        for template in env.templates.values():
            if time.monotonic() > deadline:
                return
            with contextlib.suppress(Exception):
                template.manifest_entry()


async def _rehearsal(path: str) -> None:
    env = Environment("rehearsal")

    async def rehearsal(number: int = 0) -> AsyncGenerator[Any, Any]:
        if number:
            yield {"prompt": f"say {number}"}
            yield {"score": 1.0, "info": {}}
        else:
            yield "say 0"
            yield 1.0

    env.template()(rehearsal)
    loop = asyncio.get_running_loop()
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(path)
    listener.listen()
    async with bind(env, sock=listener):
        client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        client.setblocking(False)
        with client:
            await loop.sock_connect(client, path)
            for number, call in enumerate(_SCRIPT):
                frame = json.encode({"jsonrpc": "2.0", "id": number, **call})
                await loop.sock_sendall(client, frame + b"\n")
                await loop.sock_recv(client, 1 << 20)
