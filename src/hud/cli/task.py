"""`hud task`: look at, start and grade single tasks. What it does is `tasking`."""

from __future__ import annotations

from typing import Annotated

import typer

from hud.cli.boundary import AsJson, Verbosity, guarded

app = typer.Typer(
    help="List, start and grade single tasks, of a served environment or of a source file.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Source = Annotated[
    str | None,
    typer.Option(
        "--source", "-s", help="A .py file or folder. Default: this folder.", show_default=False
    ),
]
Url = Annotated[
    str | None,
    typer.Option(
        "--url",
        "-u",
        help="A served environment: tcp://host:port or unix:///path. Default: port 8765 of this "
        "machine when something listens there and no --source is given.",
        show_default=False,
    ),
]
Args = Annotated[
    str | None, typer.Option("--args", "-a", help="Arguments of the template as a JSON object.")
]
Out = Annotated[str | None, typer.Option("--out", "-o", help="Write the whole frame to this file.")]


@app.command("list")
@guarded
def list_command(
    file: Annotated[
        str | None,
        typer.Argument(metavar="[SOURCE]", help="The same as --source.", show_default=False),
    ] = None,
    source: Source = None,
    url: Url = None,
    as_json: AsJson = False,
    verbose: Verbosity = 0,
) -> None:
    """List tasks: of a source with their slugs, of a served environment its templates."""
    from hud.cli import tasking

    tasking.list_tasks(tasking.Where(source or file, url), as_json=as_json)


@app.command("start")
@guarded
def start_command(
    task: Annotated[str, typer.Argument(help="A template id, or a slug of the source.")],
    source: Source = None,
    url: Url = None,
    args: Args = None,
    out: Out = None,
    as_json: AsJson = False,
    verbose: Verbosity = 0,
) -> None:
    """Start a task and print its prompt. A served environment keeps it waiting for its grade."""
    from hud.cli import tasking

    tasking.start(tasking.Where(source, url), task, args, out=out, as_json=as_json)


@app.command("grade")
@guarded
def grade_command(
    task: Annotated[str, typer.Argument(help="A template id, or a slug of the source.")],
    answer: Annotated[str | None, typer.Option(help="The answer to grade.")] = None,
    answer_file: Annotated[
        str | None, typer.Option(help="A file that holds the answer, - for standard input.")
    ] = None,
    session: Annotated[
        str | None, typer.Option(help="Which waiting task, when a served environment has several.")
    ] = None,
    source: Source = None,
    url: Url = None,
    args: Args = None,
    out: Out = None,
    as_json: AsJson = False,
    verbose: Verbosity = 0,
) -> None:
    """Grade an answer and print the reward.

    With a served environment the task that `hud task start` left waiting is graded; without one
    the task is started and graded in one go.
    """
    from hud.cli import tasking

    where = tasking.Where(source, url)
    given = tasking.answer_of(answer, answer_file)
    tasking.grade(where, task, args, given, session=session, out=out, as_json=as_json)
