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
    platform: Annotated[
        bool, typer.Option("--platform", help="As the platform at HUD_API_URL has it.")
    ] = False,
    as_json: AsJson = False,
    verbose: Verbosity = 0,
) -> None:
    """Show what happened in one run: prompt, turns, tool calls, grade.

    A run that is not recorded here is looked for on the platform, where one is configured.
    """
    from hud.cli import browse, elsewhere

    run_id = browse.id_in(what, "trace") or ""
    if platform:
        elsewhere.show_trace(run_id, as_json=as_json)
    else:
        elsewhere.here_or_there(
            lambda: browse.show_trace(run_id, as_json=as_json),
            lambda: elsewhere.show_trace(run_id, as_json=as_json),
        )
