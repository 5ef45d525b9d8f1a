"""The JSONL sink: one span per line in `<folder>/<trace id>.jsonl`.

The format existing HUD tools read (a span per step, OpenTelemetry-shaped). Appended and flushed
as it happens, so a file is readable up to its last whole line after a crash.
"""

from __future__ import annotations

from pathlib import Path

from hud._core import json
from hud._core.errors import StoreError
from hud._core.redact import redact_json
from hud.trace.sinks import Event, SpanRecorded, StepRecorded
from hud.trace.spans import span_trace_id, step_span


class JsonlSink:
    """Append spans to a file per trace in `folder`, which is made when missing."""

    def __init__(self, folder: str | Path) -> None:
        self._folder = Path(folder).expanduser()
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(
                f"span folder {self._folder} cannot be made: {error.strerror}",
                hint="point HUD_TELEMETRY_LOCAL_DIR at a writable folder, or unset it",
            ) from error

    def put(self, event: Event) -> None:
        match event:
            case StepRecorded():
                self._append(event.trace_id, step_span(event))
            case SpanRecorded():
                self._append(event.trace_id, redact_json(json.encode(event.span)))
            case _:
                pass

    def _append(self, trace_id: str, line: bytes) -> None:
        path = self._folder / f"{span_trace_id(trace_id)}.jsonl"
        try:
            with path.open("ab") as file:
                file.write(line + b"\n")
        except OSError as error:
            raise StoreError(f"span file {path} cannot be written: {error.strerror}") from error

    async def committed(self) -> None:
        """Lines are handed to the operating system as they come; nothing is pending."""

    async def aclose(self) -> None:
        """Nothing is held open."""
