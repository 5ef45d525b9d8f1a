"""`hud project`: what uploads belong to on a platform."""

from __future__ import annotations

from typing import Annotated

import typer

from hud.cli.boundary import AsJson, Verbosity, guarded

app = typer.Typer(
    help="Show, list, make and choose projects of the platform.",
    invoke_without_command=True,
    rich_markup_mode=None,
)

Directory = Annotated[
    str, typer.Option("--directory", "-C", help="The folder that a project is chosen for.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")]


@app.callback()
def root(
    context: typer.Context,
    directory: Directory = ".",
    as_json: AsJson = False,
    verbose: Verbosity = 0,
) -> None:
    """Show the project that this folder's uploads belong to, or do as a subcommand says."""
    if context.invoked_subcommand is None:
        show_command(directory=directory, as_json=as_json, verbose=verbose)
    elif as_json or directory != ".":
        raise typer.BadParameter(f"options go after {context.invoked_subcommand!r}")


@app.command("show")
@guarded
def show_command(
    directory: Directory = ".", as_json: AsJson = False, verbose: Verbosity = 0
) -> None:
    """Show the project that this folder's uploads belong to."""
    from hud.cli import projects

    projects.show_project(directory, as_json=as_json)


@app.command("list")
@guarded
def list_command(
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print ids only.")] = False,
    as_json: AsJson = False,
    verbose: Verbosity = 0,
) -> None:
    """List the projects of the platform."""
    from hud.cli import projects

    projects.list_projects(quiet=quiet, as_json=as_json)


@app.command("create")
@guarded
def create_command(
    name: Annotated[str, typer.Argument(help="What to call it.")],
    description: Annotated[str | None, typer.Option(help="What it is for.")] = None,
    directory: Directory = ".",
    no_use: Annotated[
        bool, typer.Option("--no-use", help="Do not choose it for this folder.")
    ] = False,
    dry_run: DryRun = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", hidden=True)] = False,
    as_json: AsJson = False,
    verbose: Verbosity = 0,
) -> None:
    """Make a project and choose it for this folder; its id goes to stdout."""
    from hud.cli import projects

    projects.create_project(
        name, description, directory, use=not no_use, dry_run=dry_run, as_json=as_json
    )


@app.command("use")
@guarded
def use_command(
    ref: Annotated[str, typer.Argument(metavar="PROJECT", help="Its name or id.")],
    directory: Directory = ".",
    dry_run: DryRun = False,
    as_json: AsJson = False,
    verbose: Verbosity = 0,
) -> None:
    """Choose the project that this folder's uploads belong to from now on."""
    from hud.cli import projects

    projects.use_project(ref, directory, dry_run=dry_run, as_json=as_json)
