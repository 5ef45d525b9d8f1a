"""`hud cancel`: end a job early, here or on the platform."""

from __future__ import annotations

from typing import Annotated

import typer

from hud.cli.boundary import AsJson, Verbosity, guarded


@guarded
def command(
    job: Annotated[
        str | None,
        typer.Argument(help="A job by its id, or its first digits.", show_default=False),
    ] = None,
    run: Annotated[
        str | None,
        typer.Option(
            "--trace-id", "-t", metavar="RUN", help="Only this run; its job must be reported."
        ),
    ] = None,
    all_jobs: Annotated[
        bool, typer.Option("--all", "-a", help="Every job of yours, here and on the platform.")
    ] = False,
    platform: Annotated[
        bool, typer.Option("--platform", help="On the platform, also where the job runs here.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask first.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be cancelled, and cancel nothing.")
    ] = False,
    as_json: AsJson = False,
    verbose: Verbosity = 0,
) -> None:
    """End a job early; what is graded is kept.

    A job that runs on this machine is told as by Ctrl-C: nothing new starts, and running rollouts
    get some seconds. Any other is cancelled on the platform.
    """
    from hud.cli.cancelling import cancel

    cancel(
        job,
        run,
        all_jobs=all_jobs,
        platform=platform,
        yes=yes,
        dry_run=dry_run,
        as_json=as_json,
    )
