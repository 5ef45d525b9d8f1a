"""Every sink keeps the contract of sinks."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from hud._core import json
from hud.store import open_store
from hud.store.sink import StoreSink
from hud.testing.check_sink import check_sink
from hud.trace.jsonl import JsonlSink
from hud.trace.sinks import Event, SpanRecorded, StepRecorded
from hud.trace.spans import span_trace_id
from tests.rollouts import recorded_in


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[Path]:
    with recorded_in(tmp_path, monkeypatch) as home:
        yield home


async def test_the_store_is_a_sink(home: Path) -> None:
    store = open_store(home)

    def read(trace_id: str) -> list[dict[str, Any]]:
        return [json.decode(step.payload) for step in store.read_steps(trace_id)]

    await check_sink(lambda: StoreSink(store), read)
    store.close()


async def test_span_files_are_a_sink(tmp_path: Path) -> None:
    def read(trace_id: str) -> list[dict[str, Any]]:
        lines = (tmp_path / "spans" / f"{span_trace_id(trace_id)}.jsonl").read_bytes().splitlines()
        spans = [json.decode(line)["attributes"] for line in lines if b'"hud.payload"' in line]
        return [span["hud.payload"] for span in spans]

    await check_sink(lambda: JsonlSink(tmp_path / "spans"), read)


class Forgetful:
    """Loses the last step of every run."""

    kept: list[StepRecorded]

    def __init__(self) -> None:
        self.kept = []

    def put(self, event: Event) -> None:
        if isinstance(event, StepRecorded):
            self.kept.append(event)
        elif not isinstance(event, SpanRecorded) and self.kept:
            self.kept.pop()

    async def committed(self) -> None: ...
    async def aclose(self) -> None: ...


async def test_a_sink_that_loses_steps_is_found_out() -> None:
    sink = Forgetful()

    def read(trace_id: str) -> list[dict[str, Any]]:
        return [json.decode(step.payload) for step in sink.kept if step.trace_id == trace_id]

    with pytest.raises(AssertionError, match="after committed: 199 steps are there, not the 200"):
        await check_sink(lambda: sink, read)
