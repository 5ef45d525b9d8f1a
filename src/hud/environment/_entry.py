"""Command line of `python -m hud.environment.server`: load a source and serve its environment."""

from __future__ import annotations

import argparse
import asyncio
import socket
import sys
from collections.abc import Sequence

from hud._core.errors import HudError
from hud.environment.loader import load_environment
from hud.environment.server import DEFAULT_PORT, serve


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
        asyncio.run(serve(env, options.host, options.port, sock=sock, announce=options.fd is None))
    except HudError as error:
        hint = f" ({error.hint})" if error.hint else ""
        sys.stderr.write(f"error: {error.message}{hint}\n")
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    return 0
