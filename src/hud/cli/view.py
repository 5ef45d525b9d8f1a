"""`hud view`: look at what was recorded here, in the browser, with nothing else running."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hud.cli.boundary import AsJson, Verbosity, guarded


@guarded
def command(
    what: Annotated[
        str | None,
        typer.Argument(
            metavar="[JOB | RUN]",
            help="What to open: an id, or its first digits. Default: the list of jobs.",
            show_default=False,
        ),
    ] = None,
    port: Annotated[
        int, typer.Option("--port", "-p", metavar="PORT", min=0, max=65535, help="0: any free one.")
    ] = 0,
    no_open: Annotated[
        bool, typer.Option("--no-open", help="Only print the link; open no browser.")
    ] = False,
    bundle: Annotated[
        Path | None,
        typer.Option(
            "--bundle",
            metavar="DIR",
            help="Serve nothing: write the job to this folder, for any static host.",
            show_default=False,
        ),
    ] = None,
    as_json: AsJson = False,
    verbose: Verbosity = 0,
) -> None:
    """Open the recorded jobs and runs in a browser, until Ctrl-C.

    Prints a link that signs a browser in once. Needs no key, and nobody else can look. With
    --bundle it writes the same pages of one job to a folder and ends: whoever is sent that folder
    sees all that is in the job.
    """
    if bundle is not None:
        from hud.cli import bundling

        bundling.write(what, bundle, as_json=as_json)
        return
    from hud.cli import viewing

    viewing.view(what, port=port, opens=not no_open, as_json=as_json)
