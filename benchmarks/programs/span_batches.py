"""Give spans of a few runs to a store, some hundred at a time, each batch waited for."""

from __future__ import annotations

import asyncio
import json
import os
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.programs import spec
from hud._core.ids import new_id
from hud.store import StepRow, Store, open_store

RUNS = 4
STEP = {
    "source": "agent",
    "content": "I will run the tests first. " * 6,
    "tool_calls": [{"id": "call_1", "name": "bash", "arguments": '{"command": "ls -la"}'}],
    "usage": {"prompt_tokens": 1_200, "completion_tokens": 50},
}


@dataclass(frozen=True)
class Work:
    """How many batches of how many spans, into the embedded store or a database by its URL."""

    batches: int
    together: int
    is_numbered: bool
    database: str | None = None


def main(work: Work) -> None:
    payload = json.dumps(STEP).encode()
    ids = [new_id() for _ in range(RUNS)]
    rows = [
        StepRow(
            run_id=ids[number % RUNS],
            seq=number // RUNS + 1 if work.is_numbered else 0,
            payload=payload,
            source="agent",
            started_at=number,
            ended_at=number,
            span_id=os.urandom(8).hex(),
        )
        for number in range(work.batches * work.together)
    ]
    with tempfile.TemporaryDirectory() as home:
        store = open_store(Path(home), database=work.database)
        began, cpu = time.perf_counter(), time.process_time()
        asyncio.run(_give(store, rows, work.together))
        wall_s, cpu_s = time.perf_counter() - began, time.process_time() - cpu
        store.close()
    spec.write({"spans": len(rows), "wall_s": wall_s, "cpu_s": cpu_s})


async def _give(store: Store, rows: list[StepRow], together: int) -> None:
    for start in range(0, len(rows), together):
        for row in rows[start : start + together]:
            store.put(row)
        await store.committed()


if __name__ == "__main__":
    main(spec.read(Work))
