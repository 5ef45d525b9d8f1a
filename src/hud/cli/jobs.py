"""`hud jobs`: what was run. `hud jobs` lists jobs, `hud jobs ID` shows one."""

from __future__ import annotations

from typing import Annotated

import typer

from hud.cli.boundary import AsJson, Verbosity, guarded


@guarded
def command(
    what: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[list | [get] ID]",
            help="Nothing or `list`: all jobs. An id, or its first digits: that job's runs.",
            show_default=False,
        ),
    ] = None,
    limit: Annotated[
        int, typer.Option("--limit", "-n", min=0, help="Rows to show; 0 shows all.")
    ] = 20,
    as_json: AsJson = False,
    verbose: Verbosity = 0,
) -> None:
    """List recorded jobs, newest first, or the runs of one."""
    from hud.cli import browse

    job_id = browse.id_in(what or [], "jobs", may_list=True)
    if job_id is None:
        browse.list_jobs(limit, as_json=as_json)
    else:
        browse.show_job(job_id, limit, as_json=as_json)
