"""Progress of a running job on stderr: a live display on a terminal, plain lines elsewhere.

Counts come from `hud.eval.tally`; nothing here decides anything.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hud.agents.run import Run
from hud.cli import streams
from hud.cli.log import LogLine
from hud.cli.render import number, one_line, seconds
from hud.cli.tables import cut
from hud.eval.tally import Tally

if TYPE_CHECKING:
    from rich.console import Group

_LINES_PER_S = 4.0
_EVERY_LINE_UP_TO = 50
_REFRESH_PER_S = 4
_KEPT_ROWS = 6


@dataclass(slots=True)
class _Row:
    run: Run
    since: float


class LineLog:
    """One plain line per finished rollout, at most a few per second for a large job."""

    def __init__(self, tally: Tally, *, all_lines: bool = False) -> None:
        self.tally = tally
        self._all = all_lines or tally.total <= _EVERY_LINE_UP_TO
        self._next = 0.0

    def started(self, run: Run) -> None:
        del run

    def ended(self, run: Run, *, will_retry: bool) -> None:
        self.tally.ended(run, will_retry=will_retry)
        now = time.monotonic()
        if self._all or now >= self._next or self.tally.done == self.tally.total:
            self._next = now + 1 / _LINES_PER_S
            streams.note(f"[{self.tally.done}/{self.tally.total}] {_ended_line(run, will_retry)}")

    def say(self, text: str) -> None:
        """Write one line between the others."""
        streams.note(text)


class LiveDisplay:
    """What runs right now, one line each, under it the counts, redrawn a few times a second.

    Drawing happens in a thread of its own, so a blocked event loop does not freeze the clock.
    """

    def __init__(self, tally: Tally) -> None:
        self.tally = tally
        self._running: dict[str, _Row] = {}
        self._began = time.monotonic()
        self._before = tally.done
        self._last: list[str] = []
        self._console: Any = None

    def started(self, run: Run) -> None:
        self._running[run.trace_id or ""] = _Row(run, time.monotonic())

    def ended(self, run: Run, *, will_retry: bool) -> None:
        self._running.pop(run.trace_id or "", None)
        self.tally.ended(run, will_retry=will_retry)
        if not run.is_graded:
            self._last = [*self._last[-2:], _ended_line(run, will_retry)]

    def say(self, text: str) -> None:
        """Write one line above the display."""
        if self._console is not None:
            from rich.text import Text

            self._console.print(Text(text))
        else:
            streams.note(text)

    @contextmanager
    def shown(self) -> Generator[None]:
        """Draw while the block runs; what was drawn is gone afterwards."""
        from rich.console import Console
        from rich.live import Live

        console = Console(stderr=True, highlight=False, markup=False, emoji=False)
        self._console = console
        live = Live(
            console=console,
            get_renderable=self._picture,
            refresh_per_second=_REFRESH_PER_S,
            transient=True,
            vertical_overflow="crop",
        )
        try:
            with live, _logging_above(console):
                yield
        finally:
            self._console = None

    def _picture(self) -> Group:
        from rich.console import Group
        from rich.text import Text

        size = self._console.size
        now = time.monotonic()
        running = list(self._running.values())
        room = max(1, size.height - _KEPT_ROWS - len(self._last))
        shown = running[: room if len(running) <= room else room - 1]
        lines = [Text(cut(_running_line(row, now), size.width)) for row in shown]
        if len(running) > len(lines):
            lines.append(Text(f"  +{len(running) - len(lines):,} more running", style="dim"))
        lines.extend(Text(cut(f"✗ {text}", size.width), style="red") for text in self._last)
        lines.append(Text(cut(self._counts(), size.width), style="bold"))
        lines.append(Text(cut(self._figures(now, size.width), size.width)))
        return Group(*lines)

    def _counts(self) -> str:
        tally = self.tally
        parts = [f"{tally.done:,}/{tally.total:,} done", f"{tally.graded:,} graded"]
        if tally.ungraded:
            causes = ", ".join(f"{name} {times:,}" for name, times in tally.ungraded.most_common())
            parts.append(f"{tally.ungraded.total():,} ungraded ({causes})")
        if tally.retried:
            parts.append(f"{tally.retried:,} retried")
        parts.append(f"{len(self._running):,} running")
        return " · ".join(parts)

    def _figures(self, now: float, width: int) -> str:
        tally = self.tally
        elapsed = now - self._began
        fresh = tally.done - self._before
        left = (tally.total - tally.done) * elapsed / fresh if fresh else None
        share = tally.done / tally.total if tally.total else 1.0
        bar_width = min(30, max(10, width // 4))
        filled = round(share * bar_width)
        bar = "█" * filled + "░" * (bar_width - filled)
        return (
            f"{bar} {100 * share:3.0f} %  mean {mean_text(tally.mean, tally.margin)}  "
            f"elapsed {seconds(elapsed)}  left {seconds(left)}"
        )


Progress = LineLog | LiveDisplay


def make_progress(tally: Tally, *, verbose: int = 0, is_plain: bool = False) -> Progress:
    """Return the display that suits stderr; `TERM=dumb` counts as no terminal.

    Args:
        verbose: From 1 on, plain lines are complete however many there are.
        is_plain: Draw nothing, because somebody else talks on the terminal.
    """
    no_terminal = streams.width_of(sys.stderr) is None or os.environ.get("TERM") == "dumb"
    if is_plain or no_terminal:
        return LineLog(tally, all_lines=verbose > 0)
    return LiveDisplay(tally)


@contextmanager
def showing(progress: Progress) -> Generator[None]:
    """Show progress while the block runs."""
    if isinstance(progress, LiveDisplay):
        with progress.shown():
            yield
    else:
        yield


def mean_text(mean: float | None, margin: float | None) -> str:
    """Return `0.667 ± 0.120`, or what of it there is."""
    if mean is None:
        return number(None)
    return f"{mean:.3f} ± {number(margin)}"


def phase_of(run: Run) -> str:
    """Return what a rollout is doing, as far as can be seen from outside."""
    if run.place is None:
        return "placing"
    if run.prompt is None:
        return "starting"
    if run.trace.stop_reason is not None:
        return "grading"
    turns = sum(step.source == "agent" for step in run.trace.steps)
    return f"agent, turn {turns + 1}" if turns else "agent"


def _running_line(row: _Row, now: float) -> str:
    run = row.run
    attempt = f" attempt {run.attempt}" if run.attempt > 1 else ""
    name = one_line(run.slug or run.task_id)
    return f"  {name} #{run.member + 1}{attempt}  {phase_of(run)}  {seconds(now - row.since)}"


def _ended_line(run: Run, will_retry: bool) -> str:
    name = f"{one_line(run.slug or run.task_id)} #{run.member + 1}"
    took = ""
    if run.started_at is not None and run.ended_at is not None:
        took = f"  {seconds((run.ended_at - run.started_at) / 1e6)}"
    if run.is_graded:
        return f"{name}  reward {run.reward:.3f}{took}"
    cause = run.outcome.value if run.outcome else "cancelled"
    again = ", trying again" if will_retry else ""
    reason = one_line(run.trace.error or "no reason given")
    return f"{name}  ungraded ({cause}{again}){took}  {reason}"


@contextmanager
def _logging_above(console: Any) -> Generator[None]:
    """Send log messages above the display instead of through it."""
    from rich.text import Text

    class Above(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            console.print(Text(self.format(record)))

    root = logging.getLogger()
    above = Above()
    above.setFormatter(LogLine())
    held = list(root.handlers)
    root.handlers[:] = [above]
    try:
        yield
    finally:
        root.handlers[:] = held
