"""The `hud` command: which commands there are. Each is a module beside this one.

Command modules import next to nothing until they are called, so that `--help` and completion
answer at once.
"""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from hud._version import __version__
from hud.cli import (
    budgets,
    build,
    cancel,
    check,
    compare,
    deploy,
    eval,
    export,
    init,
    jobs,
    keys,
    leaderboard,
    login,
    models,
    platform,
    project,
    providers,
    push,
    serve,
    set,
    streams,
    sync,
    task,
    trace,
    upkeep,
    usage,
    version,
    view,
)
from hud.cli.boundary import EXIT_CODES, INTERRUPTED

_EPILOG = "\b\nExit codes:\n" + "\n".join(f"{code:>3}  {text}" for code, text in EXIT_CODES.items())

app = typer.Typer(
    name="hud",
    help="Define environments, run any agent on their tasks, and see what it did.",
    epilog=_EPILOG,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["--help", "-h"], "max_content_width": 100},
)
app.command("init", short_help="Write a small working environment to start from.")(init.command)
app.command("check", short_help="Check that tasks are solvable and graded fairly.")(check.command)
app.command("eval", short_help="Run an agent over tasks and report what came of it.")(eval.command)
app.command("build", short_help="Build an environment into an image or a bundle.")(build.command)
app.command("jobs", short_help="List recorded jobs, or show one.")(jobs.command)
app.command("view", short_help="Look at what was recorded, in the browser.")(view.command)
app.command("trace", short_help="Show one run, step by step.")(trace.command)
app.command("compare", short_help="Tell whether one job, model or agent is better than another.")(
    compare.command
)
app.command("leaderboard", short_help="Rank what ran a taskset.")(leaderboard.command)
app.add_typer(export.app, name="export", short_help="Write runs and steps to files, or send them.")
app.add_typer(models.app, name="models", short_help="List the models that are known, or show one.")
app.command("serve", short_help="Serve an environment until told to stop.")(serve.command)
app.add_typer(task.app, name="task", short_help="List, start and grade single tasks.")
for _name, _command in upkeep.COMMANDS.items():
    platform.app.command(_name)(_command)
app.add_typer(platform.app, name="platform", short_help="Run the platform.")
app.add_typer(keys.app, name="keys", short_help="Make, list and revoke API keys.")
app.add_typer(providers.app, name="providers", short_help="Say who serves models here.")
app.command("usage", short_help="Show what models took through the platform.")(usage.command)
app.add_typer(budgets.app, name="budgets", short_help="Limit what models may cost there.")
app.command("cancel", short_help="End a job early, here or on the platform.")(cancel.command)
app.add_typer(sync.app, name="sync", short_help="Bring a platform up to date with what is here.")
app.command("deploy", short_help="Have an environment built and kept by a platform.")(
    deploy.command
)
app.command("push", short_help="Send recorded jobs to a platform.")(push.command)
app.command("login", short_help="Get a key for a platform.")(login.command)
app.add_typer(project.app, name="project", short_help="Show and choose the platform's projects.")
app.command("set", short_help="Keep settings such as provider keys.")(set.command)
app.command("version", short_help="Print the version.")(version.command)


def _print_version(asked: bool) -> None:
    if asked:
        streams.write(__version__)
        raise typer.Exit


@app.callback()
def root(
    show_version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    """Define environments, run any agent on their tasks, and see what it did."""


def main() -> None:
    """Run the command line and exit."""
    try:
        app(prog_name="hud")
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
