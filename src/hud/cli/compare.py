"""`hud compare`: is one better than the other, on the same tasks, and how sure is that?"""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from hud.cli.boundary import AsJson, Verbosity, guarded

IncludeChanged = Annotated[
    bool,
    typer.Option("--include-changed", help="Count runs of other versions of a task, too."),
]


@guarded
def command(
    sides: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="A B [C…]",
            help="Jobs, each by the first digits of its id. With --taskset: models or agents.",
            show_default=False,
        ),
    ] = None,
    taskset: Annotated[
        str | None,
        typer.Option("--taskset", help="Compare what ran this taskset, all of its jobs together."),
    ] = None,
    by: Annotated[
        Literal["agent-model", "agent", "model", "job"],
        typer.Option("--by", help="With --taskset: what makes one side."),
    ] = "agent-model",
    include_changed: IncludeChanged = False,
    limit: Annotated[
        int, typer.Option("--limit", "-n", metavar="N", min=0, help="Tasks to show; 0 shows all.")
    ] = 20,
    as_json: AsJson = False,
    verbose: Verbosity = 0,
) -> None:
    """Compare jobs, models or agents on the tasks they share, paired by task."""
    from hud.cli import compared

    compared.show(
        sides or [],
        taskset=taskset,
        by=by,
        include_changed=include_changed,
        limit=limit,
        as_json=as_json,
    )
