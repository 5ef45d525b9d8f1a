"""Read every run of a store: as a data frame, or with plain SQL."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from benchmarks.programs import spec

COLUMNS = (
    "id, job_id, task_slug, task_id, env, member, attempt, group_id, model, runtime, task_digest, "
    "status, outcome, reward, stop_reason, error, invalid_reason, started_at, ended_at, "
    "prompt_tokens, completion_tokens, cached_tokens, llm_calls, turns, unpriced_turns, cost_usd"
)


@dataclass(frozen=True)
class Work:
    """Which store, and how to read it."""

    home: str
    way: Literal["sql", "load_runs"]


def main(work: Work) -> None:
    if work.way == "sql":
        with sqlite3.connect(Path(work.home) / "hud.db") as connection:
            rows = len(connection.execute(f"SELECT {COLUMNS} FROM runs").fetchall())
        connection.close()
    else:
        from hud.eval import load_runs

        rows = len(load_runs(home=work.home))
    spec.write({"rows": rows})


if __name__ == "__main__":
    main(spec.read(Work))
