"""`hud models`: which models are known, who serves them, and whether there is a key for them."""

from __future__ import annotations

from typing import Annotated

import typer

from hud.cli.boundary import AsJson, Verbosity, guarded

app = typer.Typer(
    help="List the models that are known, with who serves them and what they cost.",
    invoke_without_command=True,
    rich_markup_mode=None,
)

Platform = Annotated[
    bool,
    typer.Option("--platform", help="What the platform at HUD_API_URL serves, instead."),
]


@app.callback()
def root(
    context: typer.Context,
    platform: Platform = False,
    as_json: AsJson = False,
    verbose: Verbosity = 0,
) -> None:
    """List the models that are known, with who serves them and what they cost."""
    if context.invoked_subcommand is None:
        list_command(platform=platform, as_json=as_json, verbose=verbose)
    elif platform or as_json:
        raise typer.BadParameter(f"options go after {context.invoked_subcommand!r}")


@app.command("list")
@guarded
def list_command(
    platform: Platform = False,
    as_json: AsJson = False,
    verbose: Verbosity = 0,
) -> None:
    """List models: who serves each, whether its key is set, what it holds and what it costs.

    Prices are US dollars per million tokens. Your own models and prices go into models.toml in the
    folder HUD_HOME names, or into the file HUD_MODELS_FILE names.
    """
    from hud.cli import catalog

    if platform:
        catalog.list_platform(as_json=as_json)
    else:
        catalog.list_models(as_json=as_json)


@app.command("show")
@guarded
def show_command(
    name: Annotated[str, typer.Argument(help="A model, an alias, or PROVIDER/NAME.")],
    as_json: AsJson = False,
    verbose: Verbosity = 0,
) -> None:
    """Show what is known of one model, and where it would be asked for."""
    from hud.cli import catalog

    catalog.show_model(name, as_json=as_json)
