"""`hud push`: send recorded jobs to a platform."""

from __future__ import annotations

from typing import Annotated

import typer

from hud.cli.boundary import AsJson, Verbosity, guarded


@guarded
def command(
    jobs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[JOB…]",
            help="Jobs by id, or its first digits. Default: what did not arrive yet.",
            show_default=False,
        ),
    ] = None,
    all_jobs: Annotated[bool, typer.Option("--all", help="Every job recorded here.")] = False,
    unsent: Annotated[
        bool,
        typer.Option(
            "--unsent", help="The jobs that were to be reported and did not arrive whole."
        ),
    ] = False,
    to: Annotated[
        str | None,
        typer.Option(
            "--to", metavar="URL", help="Another platform than HUD_API_URL; HUD_API_KEY is its key."
        ),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Send also what has arrived already.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be sent, and send nothing.")
    ] = False,
    as_json: AsJson = False,
    verbose: Verbosity = 0,
) -> int:
    """Send recorded jobs, with everything their runs did, to the platform.

    Repeating it is harmless: what has arrived is not sent again, and nothing is there twice.
    """
    from hud.cli.pushing import push

    return push(
        jobs or [],
        all_jobs=all_jobs,
        unsent=unsent,
        to=to,
        force=force,
        dry_run=dry_run,
        as_json=as_json,
    )
