"""The edge between a command and the shell: a failure is one sentence, an ending an exit code."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Annotated, Any, NoReturn, ParamSpec

import typer

from hud.cli import streams
from hud.cli.terminating import sigterm_interrupts

P = ParamSpec("P")

GRADED, FAILED, USAGE, UNGRADED, INTERRUPTED, NO_READER = 0, 1, 2, 3, 130, 141

EXIT_CODES = {
    GRADED: "done, and every run is graded",
    FAILED: "failed: a check did not hold, or a place, the store or a platform cannot be used",
    USAGE: "bad input: an option, a file, an id or a setting cannot be used",
    UNGRADED: "the job ended with some runs ungraded",
    INTERRUPTED: "interrupted, or the job's budget is used up; what was graded is kept",
    NO_READER: "whoever read the output went away",
}

Verbosity = Annotated[
    int,
    typer.Option(
        "--verbose",
        "-v",
        count=True,
        help="Say more on stderr; -vv adds debug messages and tracebacks.",
        show_default=False,
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]

_is_debugging = False


def guarded(command: Callable[P, int | None]) -> Callable[P, None]:
    """Wrap a command: its result becomes the exit code, and whatever it raises one sentence."""

    @functools.wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        set_verbosity(kwargs.get("verbose") or 0)
        raise typer.Exit(_outcome_of(lambda: command(*args, **kwargs)))

    return run


def set_verbosity(verbose: object) -> None:
    """Send log messages to stderr: warnings, from 1 on what happens, from 2 on everything."""
    global _is_debugging  # noqa: PLW0603 -- one process runs one command
    level = verbose if isinstance(verbose, int) else 0
    _is_debugging = level >= 2
    from hud.cli.log import configure

    configure(level)


def _outcome_of(work: Callable[[], int | None]) -> int:
    from hud._core.errors import HudError

    try:
        with sigterm_interrupts():
            return work() or 0
    except (typer.Exit, typer.Abort, typer.BadParameter):
        raise
    except BrokenPipeError:
        streams.discard_stdout()
        return NO_READER
    except KeyboardInterrupt as interrupt:
        said = f": {interrupt}" if str(interrupt) else ""
        streams.note(f"interrupted{said}")
        return INTERRUPTED
    except HudError as error:
        report(error)
        return error.exit_code
    except Exception as error:
        _report_unexpected(error)
        return FAILED


def report(error: Any) -> None:
    """Say on stderr what a `HudError` says, secrets removed and terminal escapes made visible."""
    from hud._core.redact import redact
    from hud.cli.render import one_line

    if _is_debugging:
        _traceback()
    streams.note(f"error: {one_line(redact(error.message))}")
    if error.hint:
        streams.note(f"hint: {one_line(redact(error.hint))}")


def _report_unexpected(error: Exception) -> None:
    from hud._core.errors import bounded
    from hud._core.redact import redact
    from hud.cli.render import one_line

    text = one_line(redact(bounded(str(error), 500)))
    name = type(error).__qualname__
    if _is_debugging:
        _traceback()
    streams.note(f"error: {name}: {text}" if text else f"error: {name}")
    if not _is_debugging:
        streams.note("hint: this is unexpected; run it again with -vv for the traceback")


def _traceback() -> None:
    import traceback

    from hud._core.redact import redact

    streams.note(redact(traceback.format_exc()).rstrip())


def usage_error(message: str, hint: str | None = None) -> NoReturn:
    """End the command because of how it was called.

    Raises:
        InputError: always.
    """
    from hud._core.errors import InputError

    raise InputError(message, hint=hint)
