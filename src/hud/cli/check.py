"""`hud check`: are the tasks of a source solvable, and graded fairly?"""

from __future__ import annotations

from typing import Annotated

import typer

from hud.cli.boundary import AsJson, Verbosity, guarded


@guarded
def command(
    source: Annotated[
        str, typer.Argument(help="A .py file or folder with tasks.", show_default="this folder")
    ] = ".",
    floor: Annotated[float, typer.Option(help="The most that doing nothing may score.")] = 0.0,
    task_ids: Annotated[
        str | None, typer.Option("--task-ids", help="Check these tasks: slugs or template ids.")
    ] = None,
    runtime: Annotated[
        str, typer.Option(help="Where rollouts run: local or subprocess.")
    ] = "subprocess",
    max_concurrent: Annotated[int, typer.Option(metavar="N", min=1, help="Rollouts at once.")] = 30,
    as_json: AsJson = False,
    verbose: Verbosity = 0,
) -> int:
    """Check every task: its reference solution scores 1, doing nothing scores no more than the
    floor, and starting it twice gives the same prompt and the same grades.
    """
    from hud.cli import checking

    return checking.check(
        source,
        floor=floor,
        task_ids=task_ids,
        runtime=runtime,
        max_concurrent=max_concurrent,
        as_json=as_json,
        verbose=verbose,
    )
