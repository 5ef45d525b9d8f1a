"""`hud serve`: serve an environment until told to stop."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from hud.cli.boundary import Verbosity, guarded, usage_error
from hud.cli.streams import note, user_code_on_stderr


@guarded
def command(
    target: Annotated[
        str | None,
        typer.Argument(
            metavar="TARGET[:ATTRIBUTE]",
            help="A .py file, a module here or a folder. Default: env.py, else tasks.py.",
            show_default=False,
        ),
    ] = None,
    port: Annotated[
        int, typer.Option("--port", "-p", metavar="PORT", min=0, max=65535, help="0: any free one.")
    ] = 8765,
    host: Annotated[str, typer.Option(help="Interface to listen on.")] = "127.0.0.1",
    arg: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=VALUE",
            help="For the function that makes the environment. Repeatable.",
        ),
    ] = None,
    env: Annotated[
        str | None, typer.Option(help="Which environment, where the code declares several.")
    ] = None,
    verbose: Verbosity = 0,
) -> None:
    """Serve an environment over TCP until Ctrl-C or SIGTERM.

    Prints HUD_SERVE_PORT=<port> on stdout once it accepts connections.
    """
    import asyncio
    from pathlib import Path

    from hud.environment.loader import load_environment
    from hud.environment.server import serve

    args: dict[str, Any] = {}
    for item in arg or ():
        name, equals, value = item.partition("=")
        if not equals:
            usage_error(f"--arg {item!r} is no key=value")
        args[name] = value
    with user_code_on_stderr():
        where = target or ("env.py" if Path("env.py").is_file() else ".")
        environment = load_environment(where, name=env, args=args)
    note(f"serving {environment.name!r} on {host}, Ctrl-C stops it")
    asyncio.run(serve(environment, host, port))
