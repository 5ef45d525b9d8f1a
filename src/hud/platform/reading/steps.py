"""The steps of a run in pages that are bounded in bytes, and everything of a run as lines."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from hud._core import json
from hud.platform.reading.shapes import RunDetail
from hud.platform.times import iso
from hud.store import DebugSpanRecord, RunRecord, StepRecord, Store

PAGE_BYTES = 8 * 1024 * 1024
"""A page of steps ends with the one that reaches this; it holds at least one."""
_READ_TOGETHER = 32
_SPANS_TOGETHER = 100


def read_page(
    store: Store, run: RunRecord, *, after: int, limit: int, resolve: bool
) -> tuple[list[StepRecord], bool]:
    """Return the steps after the number `after`, and whether there may be more."""
    found: list[StepRecord] = []
    size = 0
    while len(found) < limit and size < PAGE_BYTES:
        wanted = min(limit - len(found), _READ_TOGETHER)
        page: list[StepRecord] = []
        for step in store.read_steps(
            run.id, after=after, limit=wanted, resolve=resolve, team=run.team
        ):
            page.append(step)
            size += len(step.payload)
            if size >= PAGE_BYTES:
                break
        found += page
        if size < PAGE_BYTES and len(page) < wanted:
            return found, False
        after = page[-1].seq
    return found, True


def every_step(
    store: Store, run: RunRecord, *, after: int = 0, resolve: bool = True
) -> Iterator[StepRecord]:
    """Yield the steps of a run, a few in memory at a time."""
    while True:
        count = 0
        for step in store.read_steps(
            run.id, after=after, limit=_READ_TOGETHER, resolve=resolve, team=run.team
        ):
            yield step
            after, count = step.seq, count + 1
        if count < _READ_TOGETHER:
            return


def step_data(step: StepRecord) -> dict[str, Any]:
    """Return a step as the API spells it, its payload as it is stored."""
    return {
        "seq": step.seq,
        "source": step.source,
        "span_id": step.span_id,
        "started_at": iso(step.started_at),
        "ended_at": iso(step.ended_at),
        "payload": msgspec.Raw(step.payload),
    }


def span_data(span: DebugSpanRecord) -> dict[str, Any]:
    """Return a debug span as the API spells it."""
    return {
        "span_id": span.span_id,
        "name": span.name,
        "started_at": iso(span.started_at),
        "ended_at": iso(span.ended_at),
        "span": msgspec.Raw(span.payload),
    }


def lines_of(store: Store, run: RunRecord) -> Iterator[bytes]:
    """Yield everything that is kept of a run, a JSON object a line; `kind` says what each is."""
    detail = RunDetail.of(run).model_dump(mode="json")
    yield json.encode({"kind": "run", **detail}) + b"\n"
    for step in every_step(store, run):
        yield json.encode({"kind": "step", **step_data(step)}) + b"\n"
    name = ""
    while spans := store.read_debug_spans(run.id, after=name, limit=_SPANS_TOGETHER, team=run.team):
        for span in spans:
            yield json.encode({"kind": "span", **span_data(span)}) + b"\n"
        name = spans[-1].span_id
