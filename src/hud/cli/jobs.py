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
        int, typer.Option("--limit", "-n", metavar="N", min=0, help="Rows to show; 0 shows all.")
    ] = 20,
    platform: Annotated[
        bool, typer.Option("--platform", help="What the platform at HUD_API_URL has, instead.")
    ] = False,
    as_json: AsJson = False,
    verbose: Verbosity = 0,
) -> None:
    """List recorded jobs, newest first, or the runs of one.

    A job that is not recorded here is looked for on the platform, where one is configured.
    """
    from hud.cli import browse, elsewhere

    job_id = browse.id_in(what or [], "jobs", may_list=True)
    if job_id is None:
        show = elsewhere.list_jobs if platform else browse.list_jobs
        show(limit, as_json=as_json)
    elif platform:
        elsewhere.show_job(job_id, limit, as_json=as_json)
    else:
        elsewhere.here_or_there(
            lambda: browse.show_job(job_id, limit, as_json=as_json),
            lambda: elsewhere.show_job(job_id, limit, as_json=as_json),
        )
