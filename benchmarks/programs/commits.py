"""The floor under recording: a rollout's rows through bare SQLite, as durable as ours.

Write-ahead log, a sync at every commit, and one commit for as many rollouts as are in flight:
what the best possible grouping would give.
"""

from __future__ import annotations

import os
import sqlite3
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks import proc
from benchmarks.programs import spec

STEP = b'{"source":"task","task_call":{"phase":"setup","name":"count_letter"}}' * 3


@dataclass(frozen=True)
class Work:
    """What to write."""

    rollouts: int
    concurrent: int


def main(work: Work) -> None:
    connection = sqlite3.connect(Path("floor.db"), isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute(
        "CREATE TABLE runs (id TEXT PRIMARY KEY, task TEXT, outcome TEXT, reward REAL)"
    )
    connection.execute(
        "CREATE TABLE steps (run TEXT, seq INTEGER, payload BLOB, PRIMARY KEY (run, seq)) "
        "WITHOUT ROWID"
    )
    cpu_s, began = proc.cpu_s(os.getpid()), time.perf_counter()
    for first in range(0, work.rollouts, work.concurrent):
        ids = [f"{n:032x}" for n in range(first, min(first + work.concurrent, work.rollouts))]
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany(
            "INSERT INTO runs (id, task) VALUES (?, 'count_letter')", [(name,) for name in ids]
        )
        connection.executemany(
            "INSERT INTO steps VALUES (?, ?, ?)",
            [(name, seq, STEP) for name in ids for seq in (1, 2, 3)],
        )
        connection.executemany(
            "UPDATE runs SET outcome = 'graded', reward = ? WHERE id = ?",
            [(1.0, name) for name in ids],
        )
        connection.execute("COMMIT")
    spec.write({"wall_s": time.perf_counter() - began, "cpu_s": proc.cpu_s(os.getpid()) - cpu_s})


if __name__ == "__main__":
    main(spec.read(Work))
