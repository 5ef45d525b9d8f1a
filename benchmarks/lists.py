"""A first page out of a million runs: what the store takes for it."""

from __future__ import annotations

import sys

from benchmarks.measure import Setting, program
from benchmarks.spans import databases
from benchmarks.tables import Column, Table, at_most

ABOUT = (
    "A store of {runs:,} runs in 500 jobs of one team; a page of 100 runs or 20 jobs, newest first,"
    " the median of 15 in milliseconds, from the question to the records. Half of the jobs are "
    "reported by a client that never says they ended: the first listing counts those, later ones do"
    " not. PostgreSQL runs beside it without care for its disk."
)
WITHIN_MS = 100.0
RUNS, QUICK_RUNS = 1_000_000, 50_000


def measure(setting: Setting) -> Table:
    runs = QUICK_RUNS if setting.quick else RUNS
    found: dict[str, dict[str, float]] = {}
    with databases() as named:
        for name, url in named.items():
            print(f"lists: recording {runs:,} runs, {name}", file=sys.stderr)
            home = setting.folder / f"lists-{name}"
            work = {"home": str(home), "runs": runs, "database": url}
            found[name] = program("listed_runs", work).data
    columns = [Column(f"{name} ms", ".1f") for name in found]
    table = Table(
        "lists",
        f"A page out of {runs:,} runs",
        ABOUT.format(runs=runs),
        (Column("page"), *columns, Column("target"), Column("verdict")),
    )
    for page in next(iter(found.values())):
        taken = [times[page] for times in found.values()]
        verdict = at_most(max(taken), WITHIN_MS)
        table.add(page, *taken, f"≤ {WITHIN_MS:g} ms", verdict)
    return table
