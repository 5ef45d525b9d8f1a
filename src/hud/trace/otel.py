"""Sends spans to an OpenTelemetry collector over OTLP, or writes them to a file as OTLP lines.

Needs the extra `otel`; import it only where spans are sent. Headers, certificates, compression
and timeouts are those of OpenTelemetry's own variables (`OTEL_EXPORTER_OTLP_…`). What spans say
is `otel_spans`.
"""

from __future__ import annotations

import base64
import logging
import os
from collections.abc import Sequence
from typing import Any, cast
from urllib.parse import urlsplit, urlunsplit

from google.protobuf.json_format import MessageToDict
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, TraceFlags
from opentelemetry.trace.status import Status, StatusCode

from hud._core import json
from hud._core.errors import InputError, bounded
from hud._version import __version__
from hud.trace.otel_spans import Span

TRACES_PATH = "/v1/traces"
BATCH_BYTES = 4 * 1024 * 1024
"""About how large one request gets."""

_KINDS = {"internal": SpanKind.INTERNAL, "client": SpanKind.CLIENT}
_SAMPLED = TraceFlags(TraceFlags.SAMPLED)
_HEX_IDS = ("traceId", "spanId", "parentSpanId")

logger = logging.getLogger(__name__)


def traces_address(text: str) -> str:
    """Return where a collector takes traces: `http://host:4318` gets the path of the standard.

    Raises:
        InputError: when it is no address of the web.
    """
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise InputError(
            f"{bounded(text, 200)!r} is no address of an OpenTelemetry collector",
            hint="give one such as http://127.0.0.1:4318",
        )
    path = parts.path.rstrip("/")
    if not path.endswith(TRACES_PATH):
        path += TRACES_PATH
    return urlunsplit(parts._replace(path=path))


class Collector:
    """A collector that takes spans over HTTP.

    Sending is blocking: it tries again within the exporter's timeout, 10 s unless
    `OTEL_EXPORTER_OTLP_TIMEOUT` says otherwise. Close it in the end; closing ends a send early.
    """

    def __init__(self, address: str | None = None) -> None:
        """Open the collector at `address`, or the one OpenTelemetry's variables name.

        Raises:
            InputError: when the address is none.
        """
        endpoint = None if address is None else traces_address(address)
        self._exporter = OTLPSpanExporter(endpoint=endpoint)
        self._resource = resource()
        self._is_closed = False

    def send(self, spans: Sequence[Span]) -> bool:
        """Send spans and return whether they were taken; the log says why not."""
        found = [_readable(span, self._resource) for span in spans]
        return self._exporter.export(found) is SpanExportResult.SUCCESS

    def close(self) -> None:
        """Let go of the connection; safe to call twice."""
        if not self._is_closed:
            self._is_closed = True
            self._exporter.shutdown()


def otlp_line(spans: Sequence[Span], about: Resource | None = None) -> bytes:
    """Return spans as one line of OTLP JSON, as collectors write and read files of them."""
    about = about or resource()
    message: Any = encode_spans([_readable(span, about) for span in spans])
    document = MessageToDict(message, use_integers_for_enums=True)
    return json.encode(_with_hex_ids(document))


def resource() -> Resource:
    """Return who sends: `hud`, unless OpenTelemetry's variables name another service."""
    own = {SERVICE_VERSION: __version__}
    named = os.environ.get("OTEL_SERVICE_NAME") or ""
    if not named and f"{SERVICE_NAME}=" not in os.environ.get("OTEL_RESOURCE_ATTRIBUTES", ""):
        own[SERVICE_NAME] = "hud"
    return Resource.create(own)


def _readable(span: Span, about: Resource) -> ReadableSpan:
    events = tuple(
        Event(event.name, attributes=dict(event.attributes), timestamp=event.at_ns)
        for event in span.events
    )
    status = Status() if span.error is None else Status(StatusCode.ERROR, span.error)
    return ReadableSpan(
        name=span.name,
        context=_context(span.trace_id, span.span_id),
        parent=None if span.parent_id is None else _context(span.trace_id, span.parent_id),
        resource=about,
        attributes=dict(span.attributes),
        events=events,
        kind=_KINDS[span.kind],
        status=status,
        start_time=span.start_ns,
        end_time=span.end_ns,
        instrumentation_scope=InstrumentationScope("hud", __version__),
    )


def _context(trace_id: str, span_id: str) -> SpanContext:
    return SpanContext(int(trace_id, 16), int(span_id, 16), is_remote=False, trace_flags=_SAMPLED)


def _with_hex_ids(value: Any) -> Any:
    """Spell ids in hex, as OTLP JSON wants them and protobuf's own JSON does not."""
    if isinstance(value, list):
        return [_with_hex_ids(item) for item in cast("list[Any]", value)]
    if isinstance(value, dict):
        fields = cast("dict[str, Any]", value)
        return {
            key: base64.b64decode(item).hex() if key in _HEX_IDS else _with_hex_ids(item)
            for key, item in fields.items()
        }
    return value
