"""`hud login`: get a key for a platform by confirming it in a browser."""

from __future__ import annotations

from typing import Annotated

import typer

from hud.cli.boundary import AsJson, Verbosity, guarded


@guarded
def command(
    url: Annotated[
        str | None,
        typer.Option("--url", help="The platform's address; HUD_API_URL when left out."),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Open no browser.")] = False,
    as_json: AsJson = False,
    verbose: Verbosity = 0,
) -> None:
    """Sign in to a platform: confirm a code in the browser, and its key is kept for later commands.

    Key and address go into the .env file under HUD_HOME, as with hud set.
    """
    from hud.cli.signing_in import sign_in

    sign_in(url, quiet=quiet, as_json=as_json)
