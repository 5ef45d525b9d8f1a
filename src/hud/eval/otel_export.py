"""Runs as OpenTelemetry traces: recorded ones on request, live ones when the environment says so.

Nothing leaves the machine unless told: the live sink needs `HUD_OTEL=1` and an address, both in
the process's own environment, so that no `.env` file of a folder can turn it on. Prompts, answers
and what tools gave go along only with `HUD_OTEL_CONTENT=1`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Any

from hud._core.errors import InputError, bounded
from hud.eval.columns import moment
from hud.models.catalog import resolve_model
from hud.store import LOCAL_TEAM, JobRecord, RunRecord, StepRecord, Store
from hud.trace.clock import iso
from hud.trace.otel_sink import OtelSink
from hud.trace.otel_spans import Span, SpanMaker
from hud.trace.sinks import RunEnded, RunStarted, StepRecorded
from hud.trace.steps import STEP_SCHEMA

SWITCH = "HUD_OTEL"
CONTENT_SWITCH = "HUD_OTEL_CONTENT"
ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
EXTRA = "pip install 'hud-python[otel]'"

_ON = frozenset({"1", "true", "yes", "on"})
_BATCH_SPANS = 512
_BATCH_CHARACTERS = 2_000_000
# Where the conventions have a name of their own for a provider.
_PROVIDERS = {
    "google": "gcp.gemini",
    "gemini": "gcp.gemini",
    "xai": "x_ai",
    "mistral": "mistral_ai",
    "moonshot": "moonshot_ai",
}


@lru_cache(maxsize=1024)
def provider_of(model: str) -> str | None:
    """Return who serves a model, as the GenAI conventions name providers; None where unknown."""
    try:
        name = resolve_model(model).provider.name
    except InputError:
        return None
    return _PROVIDERS.get(name, name)


def span_maker(*, content: bool) -> SpanMaker:
    """Return what turns recorded events into spans."""
    return SpanMaker(content=content, provider_of=provider_of)


def spans_of_run(
    store: Store,
    run: RunRecord,
    job: JobRecord | None,
    maker: SpanMaker,
    *,
    team: str = LOCAL_TEAM,
) -> Iterator[Span]:
    """Yield the spans of a recorded run, its root first."""
    root = maker.run_span(_started(run, job), _ended(run))
    if root is not None:
        yield root
    for step in store.read_steps(run.id, resolve=maker.content, team=team):
        yield from maker.step_spans(_recorded(step, run))


def _started(run: RunRecord, job: JobRecord | None) -> RunStarted:
    return RunStarted(
        trace_id=run.id,
        job_id=run.job_id,
        task_slug=run.task_slug,
        task_id=run.task_id or run.task_slug,
        env=run.env or "",
        started_at=run.started_at,
        member=run.member,
        attempt=run.attempt,
        group_id=run.group_id,
        model=run.model or (job.model if job is not None else None),
        runtime=run.runtime,
        task_digest=run.task_digest,
        agent=job.agent if job is not None else None,
    )


def _ended(run: RunRecord) -> RunEnded | None:
    if run.outcome is None or run.ended_at is None or run.status in ("pending", "running"):
        return None
    return RunEnded(
        trace_id=run.id,
        job_id=run.job_id,
        status=run.status,
        outcome=run.outcome,
        ended_at=run.ended_at,
        reward=run.reward,
        stop_reason=run.stop_reason,
        error=run.error,
        prompt_tokens=run.prompt_tokens,
        completion_tokens=run.completion_tokens,
        cached_tokens=run.cached_tokens,
        llm_calls=run.llm_calls,
        cost_usd=run.cost_usd,
        turns=run.turns,
        unpriced_turns=run.unpriced_turns,
        known_cost_usd=run.known_cost_usd,
    )


def _recorded(step: StepRecord, run: RunRecord) -> StepRecorded:
    started_at = moment(step.started_at) or moment(run.started_at) or 0
    ended_at = moment(step.ended_at) or started_at
    return StepRecorded(
        trace_id=run.id,
        seq=step.seq,
        source=step.source or "",
        schema=STEP_SCHEMA,
        started_at=iso(started_at),
        ended_at=iso(ended_at),
        payload=step.payload,
    )


def span_batches(
    spans: Iterable[Span], size_limit: int = _BATCH_CHARACTERS
) -> Iterator[Sequence[Span]]:
    """Yield spans in batches that make requests of a reasonable size."""
    held: list[Span] = []
    size = 0
    for span in spans:
        held.append(span)
        size += sum(len(one) for one in span.attributes.values() if isinstance(one, str))
        if len(held) == _BATCH_SPANS or size >= size_limit:
            yield held
            held, size = [], 0
    if held:
        yield held


def otel_library() -> Any:
    """Return `hud.trace.otel`, which sends spans.

    Raises:
        InputError: when OpenTelemetry is not installed.
    """
    try:
        from hud.trace import otel
    except ModuleNotFoundError as error:
        raise InputError(
            f"sending OpenTelemetry needs the Python package {error.name}", hint=EXTRA
        ) from error
    return otel


def sink_from_environment() -> OtelSink | None:
    """Return the live sink when `HUD_OTEL` asks for one.

    Raises:
        InputError: when it asks and there is no address, another protocol, or no library.
    """
    if not _is_on(SWITCH):
        return None
    address = next((found for name in ENDPOINTS if (found := _variable(name))), None)
    if address is None:
        raise InputError(
            f"{SWITCH} is on, but nothing says where to send to",
            hint=f"set {ENDPOINTS[-1]}, for example to http://127.0.0.1:4318, or unset {SWITCH}",
        )
    protocol = next((found for name in PROTOCOLS if (found := _variable(name))), "http/protobuf")
    if protocol != "http/protobuf":
        raise InputError(
            f"OTLP over {bounded(protocol, 40)!r} is not spoken here, only http/protobuf",
            hint=f"unset {PROTOCOLS[-1]} and give the collector's HTTP port, mostly 4318",
        )
    library = otel_library()
    library.traces_address(address)  # a mistake in it is said now, not by a thread later
    connect: Callable[[], Any] = library.Collector
    return OtelSink(connect, span_maker(content=_is_on(CONTENT_SWITCH)))


def _variable(name: str) -> str:
    return os.environ.get(name, "").strip()


def _is_on(name: str) -> bool:
    return _variable(name).lower() in _ON
