"""What `hud leaderboard` shows."""

from __future__ import annotations

from hud.cli import streams
from hud.cli.compared import used_cells
from hud.cli.counting import counting
from hud.cli.recorded import required_store
from hud.cli.render import NOT_AVAILABLE, count, number, one_line
from hud.cli.tables import table
from hud.eval.contender import By
from hud.eval.leaderboard import Leaderboard, Standing, leaderboard
from hud.eval.statistics import Summary


def show(taskset: str, *, by: By, include_changed: bool, as_json: bool) -> None:
    """Show the leaderboard of a taskset."""
    store = required_store(taskset, "taskset")
    with counting("reading runs") as told:
        board = leaderboard(store, taskset, by=by, include_changed=include_changed, told=told)
    if as_json:
        streams.write_json(board.as_data())
        return
    streams.write(one_line(f"{board.taskset}: {count(len(board.tasks), 'task')}"))
    for warning in board.warnings:
        streams.write(f"warning: {one_line(warning)}")
    streams.write("\n" + _table(board))
    flagged = [one for one in board.standings if one.flags]
    if flagged:
        streams.write("")
    for one in flagged:
        streams.write(one_line(f"{one.name}: {'; '.join(one.flags)}"))


def _table(board: Leaderboard) -> str:
    ks = [one.k for one in board.standings[0].summary.pass_at_k] if board.standings else []
    header = [
        *("PLACE", "WHO", "MEAN", "95 % INTERVAL"),
        *(f"PASS@{k}" for k in ks),
        *(f"BEST@{k}" for k in ks if k > 1),
        *("GRADED", "COST/RUN", "TOKENS/RUN", "TIME/RUN"),
    ]
    rows = [_row(one) for one in board.standings]
    right = range(2, len(header))
    return table(header, rows, right=right, width=streams.stdout_width(), shrink=1)


def _row(one: Standing) -> tuple[str, ...]:
    summary = one.summary
    return (
        _places(one.places),
        one.name,
        number(summary.mean),
        _interval(summary),
        *(number(found.value) for found in summary.pass_at_k),
        *(number(found.value) for found in summary.best_at_k if found.k > 1),
        f"{summary.graded:,}/{summary.runs:,}",
        *used_cells(one.used),
    )


def _places(places: tuple[int, int] | None) -> str:
    if places is None:
        return "–"
    first, last = places
    return str(first) if first == last else f"{first}–{last}"


def _interval(summary: Summary) -> str:
    if summary.interval is None:
        return NOT_AVAILABLE
    return f"{summary.interval[0]:.3f}–{summary.interval[1]:.3f}"
