"""The recorder of one run: numbers steps, stamps them, redacts them and fans out to sinks."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, cast

from hud._core import json
from hud._core.errors import StoreError, bounded
from hud._core.redact import redact, redact_json
from hud.trace.sinks import Event, Sink, SpanRecorded, StepRecorded
from hud.trace.steps import Step, Trace, stamp

logger = logging.getLogger(__name__)


class Recorder:
    """Record one run's steps, in the order they come, to every sink.

    What a sink receives is encoded and redacted once, here; the steps kept in memory stay as they
    are.

    Attributes:
        failure: The first error of a sink, or None.
    """

    def __init__(
        self,
        trace: Trace,
        sinks: Sequence[Sink] = (),
        on_step: Callable[[Step], None] | None = None,
    ) -> None:
        """Make the recorder of `trace`; `on_step` is told of every step, must be quick, and must
        not raise.
        """
        if trace.trace_id is None:
            raise ValueError("Recorder: the trace has no trace_id")
        self.trace = trace
        self.trace_id = trace.trace_id
        self._sinks = tuple(sinks)
        self._on_step = on_step
        self.failure: StoreError | None = None

    def record(self, step: Step) -> None:
        """Append a step to the trace and send it on."""
        steps = self.trace.steps
        stamp(step, len(steps) + 1)
        steps.append(step)
        if self._on_step is not None:
            self._on_step(step)
        if not self._sinks:
            return
        self.put(
            StepRecorded(
                trace_id=self.trace_id,
                seq=len(steps),
                source=step.source,
                schema=step.schema_tag,
                started_at=step.started_at or "",
                ended_at=step.ended_at or "",
                payload=redact_json(_encode(step)),
                error=None if step.error is None else redact(step.error),
            )
        )

    def span(self, span: dict[str, Any]) -> None:
        """Send a debug span on."""
        if self._sinks:
            self.put(SpanRecorded(trace_id=self.trace_id, span=span))

    def put(self, event: Event) -> None:
        """Send any event to every sink.

        Raises:
            StoreError: when a sink cannot take it; `failure` keeps it, however the code that
                recorded something goes on.
        """
        try:
            for sink in self._sinks:
                sink.put(event)
        except StoreError as error:
            self.failure = self.failure or error
            raise

    async def committed(self) -> None:
        """Return once everything recorded so far is durable at every sink.

        Raises:
            StoreError: when a sink could not keep it.
        """
        for sink in self._sinks:
            await sink.committed()


def _encode(step: Step) -> bytes:
    try:
        return step.model_dump_json(exclude_none=True, warnings=False).encode()
    except Exception as error:
        # A step may hold what JSON cannot (a lone surrogate, a foreign object in `raw`): the
        # record then keeps everything that can be spelled, and says what could not.
        logger.debug("step of %s needs the slow encoding: %s", type(step).__name__, error)
        return _encode_leniently(step)


def _encode_leniently(step: Step) -> bytes:
    try:
        return json.encode(spell(step.model_dump(mode="python", exclude_none=True, warnings=False)))
    except Exception as error:
        logger.warning("a %s cannot be recorded whole: %s", type(step).__name__, type(error))
        rest = {"step_id": step.step_id, "source": step.source, "error": step.error}
        note = f"the rest of this step cannot be recorded: {type(error).__qualname__}"
        return json.encode({**rest, "extra": {"unrecorded": note}})


def spell(value: Any, depth: int = 200) -> Any:
    """Return a copy of `value` that JSON can spell, with a text in the place of what it cannot."""
    if value is None or isinstance(value, str | bool | float):
        return value
    if isinstance(value, int):
        return value if abs(value) < 1 << 63 else str(value)
    if depth == 0:
        return "…"
    if isinstance(value, Mapping):
        items = cast("Mapping[Any, Any]", value).items()
        return {str(key): spell(item, depth - 1) for key, item in items}
    if isinstance(value, list | tuple | set | frozenset):
        return [spell(item, depth - 1) for item in cast("Iterable[Any]", value)]
    try:
        return json.to_plain(value)
    except Exception:
        return described(value)


def described(value: object) -> str:
    """Return a bounded text for any object, also for one whose `repr` raises."""
    try:
        return bounded(value, 1_000)
    except Exception:
        return f"<{type(value).__qualname__}>"
