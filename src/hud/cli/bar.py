"""A progress bar on stderr for work that is counted, where stderr is a terminal."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Generator

from hud.cli import streams


@contextlib.contextmanager
def bar(label: str, total: int) -> Generator[Callable[[int], None]]:
    """Yield what is called with how much more is done; nothing is drawn where nobody looks."""
    if streams.width_of(sys.stderr) is None or os.environ.get("TERM") == "dumb" or total < 2:
        yield lambda done: None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    with Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True, highlight=False, markup=False, emoji=False),
        transient=True,
    ) as progress:
        task = progress.add_task(label, total=total)
        yield lambda done: progress.advance(task, done)
