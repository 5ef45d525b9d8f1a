"""Send the long trace to a Phoenix as spans, with its own interpreter: one trace, a span a step.

Attributes are those of OpenInference, which it shows: models' turns with their messages, tools with
their arguments and results, a screen as a picture in the message of the turn that sees it.
"""

from __future__ import annotations

import json
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_TOGETHER_BYTES = 4_000_000
_BEGAN_NS = 1_767_225_600_000_000_000
_STEP_NS = 10_000_000
_TRACE, _ROOT = (1).to_bytes(16, "big"), (1).to_bytes(8, "big")
_MESSAGE = "llm.{side}_messages.0.message"


def main() -> None:
    """Read the lines of steps that the work names and send them to its address."""
    work = json.loads(sys.argv[1])
    batch: list[Any] = []
    size = sent = 0
    with Path(work["lines"]).open() as lines:
        for span in _spans(lines, work["steps"]):
            batch.append(span)
            size += span.ByteSize()
            sent += 1
            if size > _TOGETHER_BYTES:
                _send(work["url"], batch)
                batch, size = [], 0
    _send(work["url"], batch)
    print(json.dumps({"spans": sent, "trace": _TRACE.hex()}))


def _spans(lines: Any, steps: int) -> Iterator[Any]:
    yield _span(1, b"", "long", 0, steps, {"openinference.span.kind": "AGENT"})
    screen: str | None = None
    for number, line in enumerate(lines, 1):
        step = json.loads(line)
        if step["source"] == "user":
            told = step["messages"][0]["content"]["text"]
            attributes = {"openinference.span.kind": "CHAIN", "input.value": told}
        elif step["source"] == "agent":
            output = _MESSAGE.format(side="output")
            attributes = {
                "openinference.span.kind": "LLM",
                "llm.model_name": "a/model",
                f"{output}.role": "assistant",
                f"{output}.content": step["content"],
                "output.value": step["content"],
            }
            if screen is not None:
                content = f"{_MESSAGE.format(side='input')}.contents.0.message_content"
                attributes[f"{_MESSAGE.format(side='input')}.role"] = "user"
                attributes[f"{content}.type"] = "image"
                attributes[f"{content}.image.image.url"] = f"data:image/png;base64,{screen}"
                screen = None
        else:
            block = step["result"]["content"][0]
            screen = block.get("data")
            attributes = {
                "openinference.span.kind": "TOOL",
                "tool.name": step["call"]["name"],
                "input.value": json.dumps(step["call"]["arguments"]),
                "output.value": block.get("text", "a screen"),
            }
        name = f"step {number}"
        yield _span(number + 1, _ROOT, name, number * _STEP_NS, 1, attributes)


def _span(
    number: int, parent: bytes, name: str, after_ns: int, steps: int, attributes: dict[str, str]
) -> Any:
    from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
    from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

    return Span(
        trace_id=_TRACE,
        span_id=number.to_bytes(8, "big"),
        parent_span_id=parent,
        name=name,
        start_time_unix_nano=_BEGAN_NS + after_ns,
        end_time_unix_nano=_BEGAN_NS + after_ns + steps * _STEP_NS,
        attributes=[
            KeyValue(key=key, value=AnyValue(string_value=value))
            for key, value in attributes.items()
        ],
        status=Status(code=Status.STATUS_CODE_OK),
    )


def _send(url: str, spans: list[Any]) -> None:
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
    from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans

    held = ResourceSpans(scope_spans=[ScopeSpans(spans=spans)])
    body = ExportTraceServiceRequest(resource_spans=[held]).SerializeToString()
    headers = {"Content-Type": "application/x-protobuf"}
    request = urllib.request.Request(f"{url}/v1/traces", body, headers)
    while True:
        try:
            urllib.request.urlopen(request, timeout=60).close()
            return
        except urllib.error.HTTPError as error:
            if error.code != 503:  # it has more than it can take; ask again
                raise


if __name__ == "__main__":
    main()
