"""`hud trace ID`: one rollout, step by step."""

from __future__ import annotations

from typing import Annotated

import typer

from hud.cli.boundary import AsJson, Verbosity, guarded


@guarded
def command(
    what: Annotated[
        list[str], typer.Argument(metavar="[get] ID", help="The id of a run, or its first digits.")
    ],
    as_json: AsJson = False,
    verbose: Verbosity = 0,
) -> None:
    """Show what happened in one run: prompt, turns, tool calls, grade."""
    from hud.cli import browse

    browse.show_trace(browse.id_in(what, "trace") or "", as_json=as_json)
