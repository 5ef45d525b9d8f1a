"""`hud.telemetry`: spans of the user's own, and waiting for the record."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hud import Environment, Run, Taskset
from hud.eval.reporting.sink import end_reporters
from hud.store import open_store
from hud.telemetry import flush, queue_span


def _environment() -> Environment:
    env = Environment(name="telemetry")

    @env.template()
    async def ask():
        yield "?"
        yield 1.0

    return env


async def test_a_span_of_the_users_own_lands_in_the_span_file_of_its_trace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HUD_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HUD_TELEMETRY_LOCAL_DIR", str(tmp_path / "spans"))

    async def agent(run: Run) -> None:
        span: dict[str, Any] = {"name": "my.span", "trace_id": run.trace_id, "attributes": {}}
        queue_span(span)
        queue_span({"name": "nobody", "trace_id": "0" * 32})

    env = _environment()
    job = await Taskset([env.tasks["ask"]()]).run(agent)
    lines = (tmp_path / "spans" / f"{job.runs[0].trace_id}.jsonl").read_text()
    assert '"my.span"' in lines
    assert "nobody" not in lines


async def test_flush_says_that_everything_is_durable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HUD_HOME", str(tmp_path))
    end_reporters(0.0)  # of other tests, to platforms that are gone
    env = _environment()

    async def agent(run: Run) -> None: ...

    job = await Taskset([env.tasks["ask"]()]).run(agent)
    assert flush(timeout=30)
    assert open_store(tmp_path).find_job(job.id).status == "completed"


def test_a_span_outside_any_trace_is_dropped() -> None:
    queue_span({"name": "alone", "attributes": {"hud.task_run_id": "nobody"}})
