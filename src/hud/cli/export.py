"""`hud export`: runs and steps as a file, traces to an OpenTelemetry collector."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from hud.cli.boundary import AsJson, Verbosity, guarded

app = typer.Typer(
    help="Write recorded runs and steps to a file, or send them to a collector.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Jobs = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[JOB…]",
        help="Jobs, each by the first digits of its id; all when left out.",
        show_default=False,
    ),
]
To = Annotated[
    str,
    typer.Option("--to", help="FILE.parquet, FILE.jsonl or FILE.csv; - is stdout."),
]
Format = Annotated[
    Literal["parquet", "jsonl", "csv"] | None,
    typer.Option("--format", help="What to write, where the name does not say it."),
]
InTaskset = Annotated[str | None, typer.Option("--taskset", help="Only jobs of this taskset.")]
AllAttempts = Annotated[
    bool, typer.Option("--all-attempts", help="Also attempts that a later one replaced.")
]
IncludeInvalid = Annotated[
    bool, typer.Option("--include-invalid", help="Also runs marked as not to be counted.")
]


@app.command("runs", short_help="A row per run.")
@guarded
def runs(
    to: To,
    jobs: Jobs = None,
    form: Format = None,
    taskset: InTaskset = None,
    all_attempts: AllAttempts = False,
    include_invalid: IncludeInvalid = False,
    as_json: AsJson = False,
    verbose: Verbosity = 0,
) -> None:
    """Write a row per run: outcome, reward, tokens, cost, times."""
    from hud.cli import exporting

    selection = exporting.selection(jobs, taskset, all_attempts, include_invalid)
    exporting.write_runs(selection, to, form, as_json=as_json)


@app.command("steps", short_help="A row per step.")
@guarded
def steps(
    to: To,
    jobs: Jobs = None,
    form: Format = None,
    taskset: InTaskset = None,
    all_attempts: AllAttempts = False,
    include_invalid: IncludeInvalid = False,
    payload: Annotated[
        bool, typer.Option("--payload", help="Also the whole step as JSON, pictures included.")
    ] = False,
    as_json: AsJson = False,
    verbose: Verbosity = 0,
) -> None:
    """Write a row per step: turns of the model, tool calls, prompts, grades."""
    from hud.cli import exporting

    selection = exporting.selection(jobs, taskset, all_attempts, include_invalid)
    exporting.write_steps(selection, to, form, payload=payload, as_json=as_json)


@app.command("otel", short_help="Traces to an OpenTelemetry collector or a file.")
@guarded
def otel(
    to: Annotated[
        str,
        typer.Option("--to", help="A collector such as http://127.0.0.1:4318, or FILE.jsonl."),
    ],
    ids: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[RUN|JOB…]",
            help="Runs and jobs, each by the first digits of its id.",
            show_default=False,
        ),
    ] = None,
    taskset: InTaskset = None,
    content: Annotated[
        bool,
        typer.Option("--content", help="Also prompts, answers, and what tools got and gave."),
    ] = False,
    as_json: AsJson = False,
    verbose: Verbosity = 0,
) -> None:
    """Send runs as traces of the GenAI conventions, a trace each with the run's id."""
    from hud.cli import exporting

    exporting.send_traces(ids or [], taskset, to, content=content, as_json=as_json)
