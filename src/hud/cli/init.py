"""`hud init`: its arguments. The files it writes are `scaffold`."""

from __future__ import annotations

from typing import Annotated

import typer

from hud.cli.boundary import AsJson, Verbosity, guarded
from hud.cli.streams import note, write, write_json


@guarded
def command(
    name: Annotated[
        str | None,
        typer.Argument(
            help="Name of the environment; a folder of that name is made. "
            "Default: the name of the folder, and the files go right there.",
            show_default=False,
        ),
    ] = None,
    directory: Annotated[str, typer.Option("--dir", "-d", help="The folder to work in.")] = ".",
    force: Annotated[bool, typer.Option("--force", "-f", help="Replace files that exist.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be written, and write nothing.")
    ] = False,
    as_json: AsJson = False,
    verbose: Verbosity = 0,
) -> None:
    """Write a small working environment with tasks and a reference solution."""
    from pathlib import Path

    from hud.cli.scaffold import plan, write_files

    project = plan(name, Path(directory))
    if not dry_run:
        write_files(project, force=force)
    if as_json:
        files = [str(path) for path in project.files]
        write_json(
            {
                "name": project.name,
                "folder": str(project.folder),
                "files": files,
                "dry_run": dry_run,
            }
        )
        return
    for path in project.files:
        write(str(path))
    if dry_run:
        note("nothing was written (--dry-run)")
        return
    note("next:")
    if project.folder.resolve() != Path.cwd():
        note(f"  cd {project.folder}")
    note("  hud check                      the reference solutions score 1, doing nothing scores 0")
    note("  hud eval tasks.py oracle --all")
