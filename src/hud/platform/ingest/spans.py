"""Spans as they are uploaded become rows: steps of a run, and debug spans beside them.

A span that makes no sense is left out with a reason; the others of its batch are kept. What a step
holds is kept as it came. What becomes of the rows is the store's matter.
"""

from __future__ import annotations

import json as stdlib_json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import msgspec

from hud._core import json
from hud._core.errors import bounded
from hud.platform.errors import ApiError
from hud.platform.ingest.lenient import count_of, decoded, moment_of, text_of
from hud.platform.ingest.used import used_in
from hud.store import FIRST_ARRIVAL, DebugSpanRow, StepRow
from hud.trace.file_steps import FILES_KEY
from hud.trace.jsonl import span_trace_id
from hud.trace.recorder import spell

FILETRACKING_KEY = "filetracking"
"""Where a step keeps a listing or a capture of files, which are no changes."""

_SPAN_ID = re.compile(r"[0-9a-fA-F]{1,32}")
_SOURCE = re.compile(r"[a-z_]{1,16}")
# The change of a file before the agent began, and after.
_PHASES = {"setup": "setup", "diff": "agent"}


class _Envelope(msgspec.Struct):
    telemetry: list[msgspec.Raw]


class _Attributes(
    msgspec.Struct,
    frozen=True,
    rename={"schema": "hud.schema", "payload": "hud.payload", "seq": "hud.seq"},
):
    schema: Any = None
    payload: msgspec.Raw = msgspec.Raw()
    seq: Any = None


class _Span(msgspec.Struct):
    span_id: str
    trace_id: str | None = None
    name: Any = None
    start_time: Any = None
    end_time: Any = None
    attributes: _Attributes | None = None


_envelopes = msgspec.json.Decoder(_Envelope)
_spans = msgspec.json.Decoder(_Span)
_values = msgspec.json.Decoder()


class Rejected(msgspec.Struct, frozen=True):
    """A span that was left out: its place in the upload, from 0, and why."""

    index: int
    reason: str


@dataclass(slots=True)
class Batch:
    """The spans of one upload.

    Attributes:
        started_at: The earliest beginning among them, in microseconds since the epoch.
    """

    rows: list[StepRow | DebugSpanRow] = field(default_factory=list[StepRow | DebugSpanRow])
    rejected: list[Rejected] = field(default_factory=list[Rejected])
    started_at: int | None = None


class _Unusable(Exception):
    """A span that cannot be kept, with the reason."""


def split(content: bytes) -> Sequence[bytes | msgspec.Raw]:
    """Return the spans of an upload, each as its JSON.

    Raises:
        ApiError: with status 400, when it is no upload of spans.
    """
    try:
        return _envelopes.decode(content).telemetry
    except (msgspec.DecodeError, ValueError, RecursionError):
        pass
    body = decoded(content)
    listed: Any = cast("dict[str, Any]", body).get("telemetry") if isinstance(body, dict) else None
    if not isinstance(listed, list):
        raise ApiError(
            400, 'an upload is {"telemetry": [spans]}, and this is not', kind="bad_input"
        )
    return [json.encode(item) for item in cast("list[Any]", listed)]


def read(spans: Sequence[bytes | msgspec.Raw], *, team: str, run_id: str) -> Batch:
    """Return the rows of a run's spans; `run_id` is in the spelling that is stored."""
    batch = Batch()
    for index, raw in enumerate(spans):
        try:
            row = _row(raw, team, run_id)
        except _Unusable as error:
            batch.rejected.append(Rejected(index, str(error)))
            continue
        batch.rows.append(row)
        began = row.started_at
        if began is not None and (batch.started_at is None or began < batch.started_at):
            batch.started_at = began
    return batch


def _row(raw: bytes | msgspec.Raw, team: str, run_id: str) -> StepRow | DebugSpanRow:
    try:
        span = _spans.decode(raw)
    except msgspec.ValidationError as error:
        raise _Unusable(bounded(str(error), 200)) from None
    except (ValueError, RecursionError):
        raise _Unusable("it is no valid JSON") from None
    if _SPAN_ID.fullmatch(span.span_id) is None:
        raise _Unusable(f"its span_id {bounded(span.span_id, 60)!r} is not 16 hex digits")
    if span.trace_id is not None and span.trace_id != run_id:
        named = span_trace_id(span.trace_id)
        if named != run_id:
            raise _Unusable(f"its trace_id {bounded(span.trace_id, 60)!r} is another run's")
    match (span.attributes or _Attributes()).schema:
        case "hud.step.v1" | "hud.robot.step.v1":
            return _step(span, _payload(span), team, run_id)
        case "hud.filetracking.v1":
            return _files(span, _payload(span), team, run_id)
        case _:
            return _debug_span(span, raw, team, run_id)


def _payload(span: _Span) -> tuple[dict[str, Any], bytes]:
    """Return the payload as a value and as JSON that every reader takes."""
    assert span.attributes is not None
    content = bytes(span.attributes.payload)
    try:
        value = _values.decode(content) if content else None
    except (ValueError, RecursionError):
        value, content = _repaired(content)
    if not isinstance(value, dict):
        raise _Unusable("its hud.payload is no object")
    return cast("dict[str, Any]", value), content


def _repaired(content: bytes) -> tuple[Any, bytes]:
    """Read JSON with numbers or characters that JSON does not have."""
    try:
        value = spell(stdlib_json.loads(content.decode("utf-8", "replace")))
        return value, json.encode(value)
    except (ValueError, RecursionError):
        raise _Unusable("its hud.payload cannot be read") from None


def _step(span: _Span, payload: tuple[dict[str, Any], bytes], team: str, run_id: str) -> StepRow:
    assert span.attributes is not None
    value, content = payload
    source = value.get("source")
    if not isinstance(source, str) or _SOURCE.fullmatch(source) is None:
        name = span.name if isinstance(span.name, str) else ""
        source = name.rpartition(".")[2]
        source = source if _SOURCE.fullmatch(source) else None
    return StepRow(
        team=team,
        run_id=run_id,
        seq=_number(span.attributes.seq) or _number(value.get("step_id")),
        payload=content,
        source=source,
        started_at=moment_of(span.start_time),
        ended_at=moment_of(span.end_time),
        span_id=span.span_id.lower(),
        used=used_in(value) if source in ("agent", "subagent") else None,
    )


def _number(value: Any) -> int:
    number = count_of(value) or 0
    return number if number < FIRST_ARRIVAL else 0


def _files(span: _Span, payload: tuple[dict[str, Any], bytes], team: str, run_id: str) -> StepRow:
    """Return tracked files in the shape of a step about files, as `hud.trace.file_steps` reads."""
    value, content = payload
    name = span.name if isinstance(span.name, str) else ""
    kind = name.rpartition(".")[2]
    if kind in _PHASES or (kind not in ("snapshot", "capture") and "patches" in value):
        phase = value.get("phase") or _PHASES.get(kind, "agent")
        extra = {FILES_KEY: {**value, "phase": phase if phase in ("setup", "agent") else "agent"}}
    else:
        held = {**value, "kind": text_of(kind, 40) or "unknown"}
        extra = {FILETRACKING_KEY: held}
    times = {
        name: time
        for name, time in (("started_at", span.start_time), ("ended_at", span.end_time))
        if moment_of(time) is not None
    }
    content = json.encode({"source": "system", **times, "extra": extra})
    return _step(span, ({"source": "system"}, content), team, run_id)


def _debug_span(span: _Span, raw: bytes | msgspec.Raw, team: str, run_id: str) -> DebugSpanRow:
    content = bytes(raw)
    try:
        _values.decode(content)
    except (ValueError, RecursionError):
        _, content = _repaired(content)
    return DebugSpanRow(
        team=team,
        run_id=run_id,
        span_id=span.span_id.lower(),
        name=text_of(span.name, 500) or "span",
        payload=content,
        started_at=moment_of(span.start_time),
        ended_at=moment_of(span.end_time),
    )
