"""`hud budgets`: what a team, a key, a job or a run may spend at the platform's gateway."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from hud.cli.boundary import AsJson, Verbosity, guarded

app = typer.Typer(
    help="List, set and remove what may be spent on models through the platform.",
    invoke_without_command=True,
    rich_markup_mode=None,
)

Scope = Annotated[
    Literal["team", "key", "job", "run"],
    typer.Argument(help="Whose calls are counted: team, key, job or run.", show_default=False),
]
Subject = Annotated[
    str,
    typer.Argument(metavar="ID", help="Of the key, job or run; a team has none."),
]


@app.callback()
def root(context: typer.Context, as_json: AsJson = False, verbose: Verbosity = 0) -> None:
    """List the budgets of the key's team with what was spent, or do as a subcommand says."""
    if context.invoked_subcommand is None:
        list_command(as_json=as_json, verbose=verbose)
    elif as_json:
        raise typer.BadParameter(f"options go after {context.invoked_subcommand!r}")


@app.command("list")
@guarded
def list_command(as_json: AsJson = False, verbose: Verbosity = 0) -> None:
    """List the budgets of the key's team with what was spent of each."""
    from hud.cli import spending

    spending.list_budgets(as_json=as_json)


@app.command("set")
@guarded
def set_command(
    scope: Scope,
    subject: Subject = "",
    max_cost: Annotated[
        float | None,
        typer.Option("--max-cost", min=0, metavar="USD", help="Money.", show_default=False),
    ] = None,
    max_tokens: Annotated[
        int | None, typer.Option(metavar="N", min=0, help="Tokens in and out.", show_default=False)
    ] = None,
    as_json: AsJson = False,
    verbose: Verbosity = 0,
) -> None:
    """Set a budget, or give one new limits: what it has spent still counts.

    A call that would begin when it is used up is refused. Needs a key with the scope admin.
    """
    from hud.cli import spending

    spending.set_budget(
        scope, subject, max_cost_usd=max_cost, max_tokens=max_tokens, as_json=as_json
    )


@app.command("remove")
@guarded
def remove_command(
    scope: Scope, subject: Subject = "", as_json: AsJson = False, verbose: Verbosity = 0
) -> None:
    """Remove a budget. Needs a key with the scope admin."""
    from hud.cli import spending

    spending.remove_budget(scope, subject, as_json=as_json)
