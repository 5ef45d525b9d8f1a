"""Spans over HTTP: how many a second a platform takes in, and how long each answer takes."""

from __future__ import annotations

import shutil
import statistics
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.measure import Setting, program
from benchmarks.tables import Column, Table, at_least, at_most

ABOUT = (
    "Turns of a model of about 1 KB, uploaded as clients do: 100 spans a batch, {concurrent} "
    "batches under way, client and server on the same machine. Every answer comes after the spans "
    "are synced to disk. Each run lasts {seconds:g} s; medians of {rounds}. CPU is of the server, "
    "and of the client that makes and encodes the spans. The floor puts the same rows into a bare "
    "SQLite file as durably, without a network. PostgreSQL runs beside them, with its own "
    "processes on the same cores."
)
PER_S, WITHIN_S = 10_000.0, 0.25
CONCURRENT = 8


def measure(setting: Setting) -> Table:
    seconds, rounds = (2.0, 1) if setting.quick else (10.0, 3)
    table = Table(
        "ingest",
        "Spans taken in",
        ABOUT.format(concurrent=CONCURRENT, seconds=seconds, rounds=rounds),
        (
            Column("store"),
            Column("spans/s", ",.0f"),
            Column("p50 ms", ",.0f"),
            Column("p99 ms", ",.0f"),
            Column("server CPU µs", ",.0f"),
            Column("client CPU µs", ",.0f"),
            Column("target"),
            Column("verdict"),
        ),
    )
    work: dict[str, Any] = {"seconds": seconds, "concurrent": CONCURRENT}
    floor = _median(rounds, {**work, "is_bare": True})
    table.add(
        *("floor: bare SQLite", floor["per_s"], None, None, None, floor["client_cpu_s"] * 1e6),
        *(None, None),
    )
    _add(table, "SQLite", _median(rounds, work), is_judged=True)
    with _postgres() as database:
        if database is not None:
            _add(table, "PostgreSQL", _median(rounds, {**work, "database": database}))
    return table


def _median(rounds: int, work: dict[str, Any]) -> dict[str, float]:
    """Return each figure's median."""
    print(f"ingest: {'bare' if work.get('is_bare') else 'platform'}", file=sys.stderr)
    found = [program("uploads", work).data for _ in range(rounds)]
    return {name: statistics.median(one[name] for one in found) for name in found[0]}


def _add(table: Table, name: str, found: dict[str, float], *, is_judged: bool = False) -> None:
    target = verdict = None
    if is_judged:
        target = f"≥ {PER_S:,.0f}/s, p99 ≤ {WITHIN_S * 1000:g} ms"
        met = {at_least(found["per_s"], PER_S), at_most(found["p99_s"], WITHIN_S)}
        verdict = "ok" if met == {"ok"} else "MISS"
    table.add(
        *(name, found["per_s"], found["p50_s"] * 1000, found["p99_s"] * 1000),
        *(found["server_cpu_s"] * 1e6, found["client_cpu_s"] * 1e6, target, verdict),
    )


@contextmanager
def _postgres() -> Generator[str | None]:
    """Run a PostgreSQL server and yield the URL of a database; None where none is installed."""
    if shutil.which("initdb") is None and not Path("/usr/lib/postgresql").is_dir():
        yield None
        return
    from tests.postgres import running_postgres  # needs its driver

    with running_postgres(is_durable=True) as server, server.database() as url:
        yield url
