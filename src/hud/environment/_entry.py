"""Command line of `python -m hud.environment.server`: load a source and serve its environment."""

from __future__ import annotations

import argparse
import asyncio
import os
import socket
import sys
from collections.abc import Sequence
from typing import Any

from hud._core.errors import HudError
from hud.environment.loader import load_environment
from hud.environment.server import DEFAULT_PORT, serve

_LEAVE_S = 1.0


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until told to stop; return the exit code (2 for a source that cannot be used)."""
    parser = argparse.ArgumentParser(prog="python -m hud.environment.server")
    parser.add_argument("path", help="source file or directory, optionally with :attribute")
    parser.add_argument("--env", default=None, help="name, when the source has several")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=DEFAULT_PORT, help="0 for any free port")
    parser.add_argument("--fd", type=int, default=None, help="inherited listening socket")
    options = parser.parse_args(argv)
    sock = None if options.fd is None else socket.socket(fileno=options.fd)
    try:
        env = load_environment(options.path, name=options.env)
        with asyncio.Runner() as runner:
            runner.run(
                serve(env, options.host, options.port, sock=sock, announce=options.fd is None)
            )
            left = asyncio.all_tasks(runner.get_loop())
            if left and runner.run(_outlive(left)):
                _leave_now()
    except HudError as error:
        hint = f" ({error.hint})" if error.hint else ""
        sys.stderr.write(f"error: {error.message}{hint}\n")
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    return 0


async def _outlive(tasks: set[asyncio.Task[Any]]) -> bool:
    """Cancel what the environment left running; tell whether any of it goes on regardless."""
    for task in tasks:
        task.cancel()
    _, pending = await asyncio.wait(tasks, timeout=_LEAVE_S)
    return bool(pending)


def _leave_now() -> None:
    """Exit although code of the environment ignores its cancellation: waiting would never end."""
    sys.stderr.write("warning: some code of the environment did not stop and is left behind\n")
    sys.stderr.flush()
    sys.stdout.flush()
    os._exit(0)
