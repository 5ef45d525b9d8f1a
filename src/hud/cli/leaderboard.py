"""`hud leaderboard`: who does best on a taskset, and which places can be told apart."""

from __future__ import annotations

from typing import Annotated

import typer

from hud.cli.boundary import AsJson, Verbosity, guarded
from hud.cli.compare import IncludeChanged


@guarded
def command(
    taskset: Annotated[
        str, typer.Argument(metavar="TASKSET", help="Its name, as the jobs recorded it.")
    ],
    jobs: Annotated[bool, typer.Option("--jobs", help="One row per job.")] = False,
    include_changed: IncludeChanged = False,
    as_json: AsJson = False,
    verbose: Verbosity = 0,
) -> None:
    """Rank what ran a taskset: one row per agent and model, over all of its jobs."""
    from hud.cli import standings

    standings.show(
        taskset,
        by="job" if jobs else "agent-model",
        include_changed=include_changed,
        as_json=as_json,
    )
