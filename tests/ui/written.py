"""Runs written into a store as a recorder would, for what no real agent does on purpose."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Generator, Iterable
from pathlib import Path
from typing import Any, cast

from hud._core import json
from hud._core.ids import new_id
from hud._core.outcome import Outcome
from hud._core.paths import make_home
from hud.store import JobEnd, JobRow, RunEnd, RunStart, StepRow, Store, open_store


def micros() -> int:
    return time.time_ns() // 1_000


class Writer:
    """One job of one run each."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def run(
        self,
        slug: str,
        payloads: Iterable[Any],
        *,
        ends: bool = True,
        error: str | None = None,
        evaluation: dict[str, Any] | None = None,
    ) -> str:
        """Write a run with these steps and return its id; bytes are stored as they are."""
        job_id, run_id, now = new_id(), new_id(), micros()
        self.store.put(JobRow(id=job_id, created_at=now, name=slug, agent="claude"))
        self.store.put(RunStart(id=run_id, job_id=job_id, task_slug=slug, started_at=now))
        for number, payload in enumerate(payloads, 1):
            self.step(run_id, number, payload, now + number * 10_000)
        if ends:
            outcome = Outcome.GRADED if error is None else Outcome.ENVIRONMENT
            self.store.put(
                RunEnd(
                    id=run_id,
                    job_id=job_id,
                    status="completed" if error is None else "error",
                    outcome=outcome,
                    reward=1.0 if error is None else None,
                    error=error,
                    ended_at=micros(),
                    evaluation=evaluation,
                )
            )
            self.store.put(JobEnd(id=job_id, status="completed", ended_at=micros()))
        self.store.flush(60)
        return run_id

    def step(self, run_id: str, number: int, payload: Any, at: int) -> None:
        """Write one step."""
        source = cast("dict[str, Any]", payload).get("source") if isinstance(payload, dict) else 0
        encoded = payload if isinstance(payload, bytes) else json.encode(payload)
        self.store.put(
            StepRow(
                run_id=run_id,
                seq=number,
                payload=encoded,
                source=source if isinstance(source, str) else None,
                started_at=at,
                ended_at=at + 5_000,
            )
        )

    def flush(self) -> None:
        self.store.flush(60)


@contextlib.contextmanager
def writing(home: Path) -> Generator[Writer]:
    """Yield a writer into the store of a home."""
    with contextlib.closing(open_store(make_home(home))) as store:
        yield Writer(store)
