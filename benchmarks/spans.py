"""Spans into the store: what writing one costs, without a server around it."""

from __future__ import annotations

import contextlib
from collections.abc import Generator
from typing import Any

from benchmarks.measure import Setting, median_run, program
from benchmarks.tables import Column, Table, at_most

ABOUT = (
    "Spans of four runs, each a step of half a kilobyte, given to the store in batches that are "
    "waited for until they are durable; the median of {rounds}. CPU time is this process's alone: "
    "all of SQLite, but not PostgreSQL's server, which runs beside it without care for its disk. "
    "Spans with a number keep it; the others are numbered as they arrive."
)
WITHIN_US = 40.0
BATCHES, QUICK_BATCHES = 200, 20


def measure(setting: Setting) -> Table:
    rounds = setting.repeats(5)
    table = Table(
        "spans",
        "Spans into the store",
        ABOUT.format(rounds=rounds),
        (
            Column("database"),
            Column("together", ",d"),
            Column("spans"),
            Column("spans/s", ",.0f"),
            Column("CPU µs", ".1f"),
            Column("target"),
            Column("verdict"),
        ),
    )
    batches = QUICK_BATCHES if setting.quick else BATCHES
    with databases() as named:
        for name, url in named.items():
            for together in (100, 400):
                for is_numbered in (True, False):
                    work = {"batches": batches, "together": together, "is_numbered": is_numbered}
                    _add(table, rounds, name, {**work, "database": url})
    return table


@contextlib.contextmanager
def databases() -> Generator[dict[str, str | None]]:
    """Yield where to measure: the embedded store, and a PostgreSQL where one is installed."""
    from tests.postgres import find_programs, running_postgres

    if find_programs() is None:
        yield {"SQLite": None}
        return
    with running_postgres() as server, server.database() as url:
        yield {"SQLite": None, "PostgreSQL": url}


def _add(table: Table, rounds: int, name: str, work: dict[str, Any]) -> None:
    cost = median_run(rounds, lambda: program("span_batches", work), key=lambda run: run.cpu_s)
    spans = cost.data["spans"]
    cpu_us = cost.data["cpu_s"] / spans * 1e6
    kind = "numbered" if work["is_numbered"] else "as they come"
    target = f"≤ {WITHIN_US:g} µs"
    per_s = spans / cost.data["wall_s"]
    table.add(name, work["together"], kind, per_s, cpu_us, target, at_most(cpu_us, WITHIN_US))
