"""How far a reading or writing has come, on stderr when that is a terminal; nothing elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager

from hud.cli import streams


@contextmanager
def counting(what: str, total: int | None = None) -> Generator[Callable[[int], None]]:
    """Show a bar while the block runs; it is gone afterwards.

    Yields what is to be called with how many more are done.
    """
    if streams.width_of(sys.stderr) is None:
        yield lambda more: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console(stderr=True, highlight=False, markup=False, emoji=False)
    of = "" if total is None else f" of {total:,}"
    shown = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn(f"{{task.completed:,.0f}}{of}", markup=False),
        TimeElapsedColumn(),
        console=console,
        transient=True,
    )
    with shown:
        task = shown.add_task(what, total=total)
        yield lambda more: shown.advance(task, more)
