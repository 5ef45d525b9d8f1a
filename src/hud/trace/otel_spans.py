"""What a run did as spans of OpenTelemetry's GenAI conventions, as plain data.

A run is one trace whose id is the run's: a root span for the run (`invoke_agent`), under it one
per model turn (`chat`), tool call (`execute_tool`), subagent and other step. Ids follow from the
run, so exporting twice gives the same spans. Names are those of the conventions at
https://github.com/open-telemetry/semantic-conventions-genai; what they have no name for is
`hud.*`. Needs no OpenTelemetry library; sending is `otel`.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from hud._core import json
from hud._core.errors import bounded
from hud.trace.clock import micros
from hud.trace.jsonl import span_trace_id
from hud.trace.otel_content import (
    as_list,
    as_object,
    call_arguments,
    call_result,
    input_messages,
    output_messages,
)
from hud.trace.sinks import RunEnded, RunStarted, StepRecorded

Attribute = str | int | float | bool | tuple[str, ...]
ProviderOf = Callable[[str], str | None]

_ERROR_LIMIT = 1_000
_NAME_LIMIT = 200
_INT64 = 1 << 63
_MAX_DEPTH = 8


@dataclass(frozen=True, slots=True)
class SpanEvent:
    """Something that happened at one moment of a span."""

    name: str
    at_ns: int
    attributes: Mapping[str, Attribute]


@dataclass(frozen=True, slots=True)
class Span:
    """One span. Ids are lower-case hex, times nanoseconds since the epoch.

    Attributes:
        error: What went wrong, in a sentence; None for what went well.
    """

    trace_id: str
    span_id: str
    parent_id: str | None
    name: str
    kind: Literal["internal", "client"]
    start_ns: int
    end_ns: int
    attributes: Mapping[str, Attribute]
    error: str | None = None
    events: tuple[SpanEvent, ...] = ()


def _unknown_provider(model: str) -> str | None:
    del model
    return None


@dataclass(frozen=True, slots=True)
class SpanMaker:
    """Turns the events of a recorder into spans.

    Attributes:
        content: Whether prompts, answers, and what tools got and gave are sent along.
        provider_of: Who serves a model, as the conventions name providers; None where unknown.
    """

    content: bool = False
    provider_of: ProviderOf = field(default=_unknown_provider)

    def run_span(self, started: RunStarted | None, ended: RunEnded | None) -> Span | None:
        """Return the root span; of a run that never ended, one without an outcome."""
        known = ended or started
        if known is None:
            return None
        attributes: dict[str, Attribute | None] = {"gen_ai.operation.name": "invoke_agent"}
        if started is not None:
            attributes |= _about_start(started)
            if started.model is not None:
                attributes["gen_ai.provider.name"] = self.provider_of(started.model)
        if ended is not None:
            attributes |= _about_end(ended)
        agent = started.agent if started is not None else None
        begin_us = started.started_at if started is not None else known_end(ended)
        end_us = max(begin_us, ended.ended_at if ended is not None else begin_us)
        trace_id = span_trace_id(known.trace_id)
        is_failed = ended is not None and not ended.outcome.is_graded
        return Span(
            trace_id,
            root_id(trace_id),
            None,
            bounded(f"invoke_agent {agent}" if agent else "invoke_agent", _NAME_LIMIT),
            "internal",
            begin_us * 1_000,
            end_us * 1_000,
            _present(attributes),
            _sentence(ended.error or ended.outcome.value) if is_failed and ended else None,
            _evaluation(ended),
        )

    def step_spans(self, step: StepRecorded) -> Iterator[Span]:
        """Yield the span of a step, and of the steps of the subagent in it."""
        trace_id = span_trace_id(step.trace_id)
        payload = _decoded(step.payload)
        source = step.source or _text(payload.get("source")) or "system"
        times_ns = _times(step.started_at, step.ended_at)
        yield from self._spans(trace_id, root_id(trace_id), (step.seq,), source, payload, times_ns)

    def _spans(
        self,
        trace_id: str,
        parent_id: str,
        path: tuple[int, ...],
        source: str,
        payload: Mapping[str, Any],
        times_ns: tuple[int, int],
    ) -> Iterator[Span]:
        name, kind, own = self._described(source, payload)
        span_id = _id_of(trace_id, ".".join(map(str, path)))
        attributes = {
            **own,
            "gen_ai.conversation.id": trace_id,
            "hud.step.seq": path[-1],
            "hud.step.source": source,
        }
        error = _error_of(payload)
        if error is not None:
            attributes["error.type"] = "tool_error" if source == "tool" else "_OTHER"
        yield Span(
            trace_id,
            span_id,
            parent_id,
            bounded(name, _NAME_LIMIT),
            kind,
            *times_ns,
            _present(attributes),
            error,
        )
        if source == "subagent" and len(path) < _MAX_DEPTH:
            inner = as_object(payload.get("subagent"))
            for number, step in enumerate(map(as_object, as_list(inner.get("steps"))), start=1):
                found = _times(step.get("started_at"), step.get("ended_at"), times_ns)
                kind_of_step = _text(step.get("source")) or "system"
                yield from self._spans(
                    trace_id, span_id, (*path, number), kind_of_step, step, found
                )

    def _described(
        self, source: str, payload: Mapping[str, Any]
    ) -> tuple[str, Literal["internal", "client"], Mapping[str, Attribute | None]]:
        """Return a step's span name, kind and attributes."""
        match source:
            case "agent":
                model = _text(payload.get("model"))
                attributes = _about_turn(payload)
                if model is not None:
                    attributes["gen_ai.request.model"] = model
                    attributes["gen_ai.provider.name"] = self.provider_of(model)
                if self.content:
                    attributes["gen_ai.output.messages"] = output_messages(payload)
                return f"chat {model}" if model else "chat", "client", attributes
            case "tool":
                call = as_object(payload.get("call"))
                tool = _text(call.get("name")) or "unknown"
                attributes = {
                    "gen_ai.operation.name": "execute_tool",
                    "gen_ai.tool.name": tool,
                    "gen_ai.tool.call.id": _text(call.get("id")),
                    "gen_ai.tool.type": "function",
                }
                if self.content:
                    attributes["gen_ai.tool.call.arguments"] = call_arguments(payload)
                    attributes["gen_ai.tool.call.result"] = call_result(payload)
                return f"execute_tool {tool}", "internal", attributes
            case "subagent":
                return "invoke_agent", "internal", {"gen_ai.operation.name": "invoke_agent"}
            case "task":
                call = as_object(payload.get("task_call"))
                phase = _text(call.get("phase")) or "call"
                name = _text(call.get("name"))
                return f"task {phase}", "internal", {"hud.task.phase": phase, "hud.task.id": name}
            case _:
                wanted = self.content and source == "user"
                prompt = input_messages(payload) if wanted else None
                return f"step {source}", "internal", {"gen_ai.input.messages": prompt}


def root_id(trace_id: str) -> str:
    """Return the id of the root span of a trace."""
    return _id_of(trace_id, "run")


def known_end(ended: RunEnded | None) -> int:
    """Return when a run ended, 0 when it did not."""
    return ended.ended_at if ended is not None else 0


def _id_of(trace_id: str, place: str) -> str:
    return hashlib.sha256(f"{trace_id}/{place}".encode()).hexdigest()[:16]


def _about_start(started: RunStarted) -> dict[str, Attribute | None]:
    return {
        "gen_ai.agent.name": started.agent,
        "gen_ai.request.model": started.model,
        "gen_ai.conversation.id": span_trace_id(started.trace_id),
        "hud.run.id": started.trace_id,
        "hud.job.id": started.job_id,
        "hud.task.slug": started.task_slug,
        "hud.task.id": started.task_id,
        "hud.task.digest": started.task_digest,
        "hud.env": started.env,
        "hud.member": started.member,
        "hud.attempt": started.attempt,
        "hud.group.id": started.group_id,
        "hud.runtime": started.runtime,
    }


def _about_end(ended: RunEnded) -> dict[str, Attribute | None]:
    is_graded = ended.outcome.is_graded
    return {
        "hud.run.id": ended.trace_id,
        "hud.job.id": ended.job_id,
        "hud.outcome": ended.outcome.value,
        "hud.stop_reason": ended.stop_reason,
        "hud.reward": _finite(ended.reward) if is_graded else None,
        "error.type": None if is_graded else ended.outcome.value,
        "gen_ai.usage.input_tokens": _int(ended.prompt_tokens) if ended.llm_calls else None,
        "gen_ai.usage.output_tokens": _int(ended.completion_tokens) if ended.llm_calls else None,
        "gen_ai.usage.cache_read.input_tokens": _int(ended.cached_tokens) or None,
        "hud.turns": ended.turns,
        "hud.usage.cost_usd": None if ended.unpriced_turns else _finite(ended.known_cost_usd),
    }


def _about_turn(payload: Mapping[str, Any]) -> dict[str, Attribute | None]:
    usage = as_object(payload.get("usage"))
    reason = _text(payload.get("finish_reason"))
    return {
        "gen_ai.operation.name": "chat",
        "gen_ai.response.finish_reasons": None if reason is None else (reason,),
        "gen_ai.usage.input_tokens": _int(usage.get("prompt_tokens")),
        "gen_ai.usage.output_tokens": _int(usage.get("completion_tokens")),
        "gen_ai.usage.cache_read.input_tokens": _int(usage.get("cached_tokens")),
        "gen_ai.usage.cache_creation.input_tokens": _int(usage.get("cache_write_tokens")),
        "hud.usage.cost_usd": _finite(usage.get("cost_usd")),
    }


def _evaluation(ended: RunEnded | None) -> tuple[SpanEvent, ...]:
    """Return the grade as the conventions' evaluation event; nothing for an ungraded run."""
    score = _finite(ended.reward) if ended is not None and ended.outcome.is_graded else None
    if ended is None or score is None:
        return ()
    attributes: dict[str, Attribute] = {
        "gen_ai.evaluation.name": "reward",
        "gen_ai.evaluation.score.value": score,
    }
    return (SpanEvent("gen_ai.evaluation.result", ended.ended_at * 1_000, attributes),)


def _error_of(payload: Mapping[str, Any]) -> str | None:
    error = payload.get("error")
    if isinstance(error, str):
        return _sentence(error)
    is_failed = as_object(payload.get("result")).get("isError") is True
    return "the tool answered with an error" if is_failed else None


def _sentence(text: str) -> str:
    return bounded(text, _ERROR_LIMIT)


def _decoded(payload: bytes) -> Mapping[str, Any]:
    try:
        return as_object(json.decode(payload))
    except ValueError:
        return {}


def _times(
    began: object, ended: object, otherwise: tuple[int, int] | None = None
) -> tuple[int, int]:
    """Return the times of a step in nanoseconds, the end not before the beginning."""
    start = _nanos(began)
    if start is None:
        return otherwise or (0, 0)
    end = _nanos(ended)
    return start, max(start, start if end is None else end)


def _nanos(text: object) -> int | None:
    if not isinstance(text, str):
        return None
    try:
        found = micros(text) * 1_000
    except (ValueError, OverflowError):
        return None
    return found if 0 <= found < 2 * _INT64 else None


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _int(value: object) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    return value if abs(value) < _INT64 else None


def _finite(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        found = float(value)
    except OverflowError:
        return None
    return found if math.isfinite(found) else None


def _present(attributes: Mapping[str, Attribute | None]) -> dict[str, Attribute]:
    return {name: value for name, value in attributes.items() if value is not None}
