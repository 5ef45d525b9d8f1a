"""`hud usage`: what model calls through the platform's gateway took."""

from __future__ import annotations

from typing import Annotated

import typer

from hud.cli.boundary import AsJson, Verbosity, guarded


@guarded
def command(
    by: Annotated[
        list[str] | None,
        typer.Option(
            "--by",
            metavar="GROUP",
            help="model (default), provider, key, job, trace or status. Repeatable, up to 3.",
            show_default=False,
        ),
    ] = None,
    key: Annotated[
        str | None, typer.Option(help="Only of this key, by its id.", show_default=False)
    ] = None,
    job: Annotated[str | None, typer.Option(help="Only of this job.", show_default=False)] = None,
    trace: Annotated[str | None, typer.Option(help="Only of this run.", show_default=False)] = None,
    model: Annotated[
        str | None, typer.Option(help="Only of this model.", show_default=False)
    ] = None,
    provider: Annotated[
        str | None, typer.Option(help="Only of this provider.", show_default=False)
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(help="From then on, as 2026-01-31 or with a time.", show_default=False),
    ] = None,
    until: Annotated[str | None, typer.Option(help="Before then.", show_default=False)] = None,
    limit: Annotated[
        int, typer.Option(metavar="N", min=1, max=1000, help="Groups, the costliest first.")
    ] = 100,
    as_json: AsJson = False,
    verbose: Verbosity = 0,
) -> None:
    """Show calls, tokens and money that models took through the platform's gateway."""
    from hud.cli import spending

    filters = {
        "key": key,
        "job": job,
        "trace": trace,
        "model": model,
        "provider": provider,
        "since": since,
        "until": until,
    }
    spending.show_usage(list(by or ["model"]), filters, limit=limit, as_json=as_json)
