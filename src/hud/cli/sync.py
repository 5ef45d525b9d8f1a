"""`hud sync`: bring a platform up to date with what is here."""

from __future__ import annotations

from typing import Annotated

import typer

from hud.cli.boundary import AsJson, Verbosity, guarded

app = typer.Typer(
    help="Bring a platform up to date with what is here.",
    invoke_without_command=True,
    rich_markup_mode=None,
)

Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before uploading.")]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Say what would be uploaded, and upload nothing.")
]


@app.callback()
def root(
    context: typer.Context,
    yes: Yes = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
    verbose: Verbosity = 0,
) -> None:
    """Bring the taskset that this folder is linked to up to date, or do as a subcommand says."""
    if context.invoked_subcommand is None:
        tasks_command(yes=yes, dry_run=dry_run, as_json=as_json, verbose=verbose)
    elif yes or dry_run or as_json:
        raise typer.BadParameter(f"options go after {context.invoked_subcommand!r}")


@app.command("tasks")
@guarded
def tasks_command(
    taskset: Annotated[
        str | None,
        typer.Argument(
            help="The taskset by name, or id. Default: the one this folder is linked to.",
            show_default=False,
        ),
    ] = None,
    source: Annotated[
        str, typer.Argument(help="A .py file or folder with tasks, or rows in .json or .jsonl.")
    ] = ".",
    taskset_id: Annotated[
        str | None, typer.Option("--id", help="The taskset by its id.", metavar="ID")
    ] = None,
    link: Annotated[
        bool, typer.Option("--link", help="Link this folder to that taskset, whatever it was.")
    ] = False,
    project: Annotated[
        str | None, typer.Option("--project", help="The project a new taskset belongs to.")
    ] = None,
    task: Annotated[
        str | None, typer.Option("--task", help="Only this task, by its slug.", metavar="SLUG")
    ] = None,
    exclude: Annotated[
        list[str] | None,
        typer.Option("--exclude", help="Not this task. Repeatable.", metavar="SLUG"),
    ] = None,
    yes: Yes = False,
    dry_run: DryRun = False,
    force: Annotated[
        bool, typer.Option("--force", help="Upload also what is the same there.")
    ] = False,
    export: Annotated[
        str | None,
        typer.Option(
            "--export",
            metavar="FORMAT",
            help="Upload nothing: print the taskset as it is there, as json, jsonl or csv.",
        ),
    ] = None,
    as_json: AsJson = False,
    verbose: Verbosity = 0,
) -> None:
    """Upload tasks that are new or changed. What is only there is reported, and never deleted."""
    from hud.cli.syncing import SyncRequest, export_tasks, sync_tasks

    request = SyncRequest(
        taskset=taskset,
        source=source,
        taskset_id=taskset_id,
        link=link,
        project=project,
        task=task,
        exclude=tuple(exclude or ()),
        yes=yes,
        dry_run=dry_run,
        force=force,
        as_json=as_json,
    )
    if export is not None:
        export_tasks(request, export)
    else:
        sync_tasks(request)
