"""Sending a platform what it has not got yet of a job or a run, read from the local store.

A report is at least once: what was sent and not acknowledged is sent again, with the same ids.
When, in which order and how often is the caller's part.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec

from hud._core.errors import NotFound, bounded
from hud._core.outcome import Outcome
from hud.api import calls
from hud.api.client import PlatformClient
from hud.api.errors import NotOnPlatform, PlatformRefused
from hud.api.replies import Heard
from hud.eval.reporting.sent import Sent, SentLog
from hud.store import JobRecord, RunRecord, StepRecord, Store
from hud.trace.clock import iso
from hud.trace.robot_steps import ROBOT_STEP_SCHEMA
from hud.trace.sinks import StepRecorded
from hud.trace.spans import step_span
from hud.trace.steps import STEP_SCHEMA

logger = logging.getLogger(__name__)

BATCH_SPANS = 100
BATCH_BYTES = 4 * 1024 * 1024
_ROBOT_SOURCES = ("observation", "inference", "video_segment")

OnHeard = Callable[[str, Heard], None]
"""Told what the platform answers to a report, with the job it was about."""


class _Face(msgspec.Struct):
    """The little of a step that its span repeats."""

    source: str = "system"
    error: str | None = None


_face = msgspec.json.Decoder(_Face)


class Delivery:
    """Sends what is missing.

    Attributes:
        left_out: How many steps the platform refused to take.
        is_plain: Whether the platform takes only the fields that every platform knows.
    """

    def __init__(
        self, client: PlatformClient, store: Store, log: SentLog, on_heard: OnHeard
    ) -> None:
        self._client = client
        self._store = store
        self._log = log
        self._on_heard = on_heard
        self._entered: dict[str, asyncio.Task[None]] = {}
        self.left_out = 0
        self.is_plain = False

    async def job(self, job_id: str, *, name: str = "") -> None:
        """Say that a job goes on; once per object. `name` is for one that nobody recorded.

        Raises:
            PlatformError: when it could not be said.
        """
        task = self._entered.get(job_id)
        if task is None or (task.done() and (task.cancelled() or task.exception() is not None)):
            task = self._entered[job_id] = asyncio.create_task(self._enter_job(job_id, name))
        await asyncio.shield(task)

    async def run(self, run_id: str, debug: Sequence[bytes] = ()) -> tuple[Sent, RunRecord]:
        """Send what is missing of a run and return how far it has come.

        Args:
            debug: Spans that are no steps, encoded; they are nowhere but here.

        Raises:
            PlatformError: when the platform could not be asked, or refuses the whole run.
            StoreError: when the run cannot be read.
        """
        run = self._store.find_run(run_id)
        sent = self._log.run(run_id)
        await self.job(run.job_id, name=run.task_slug)
        if not sent.is_entered:
            full, plain = _run_begun(run)
            await self._report(run, lambda body: calls.run_enter(run_id, body), (full, plain))
            sent.is_entered = True
            self._log.keep(run_id, sent)
        for spans, seq in self._batches(run_id, sent.seq, debug):
            self._heard(run, await self._upload(run_id, spans))
            sent.seq = max(sent.seq, seq)
            self._log.keep(run_id, sent)
        # The record was read before the steps: when it said that the run ended, these are all.
        if run.ended_at is not None and not sent.is_ended:
            await self._report(run, lambda body: calls.run_exit(run_id, body), _run_ended(run))
            sent.is_ended = True
            self._log.keep(run_id, sent)
        return sent, run

    async def sign_of_life(self, run_id: str, job_id: str) -> None:
        """Let the platform know that a run goes on, and hear what it has to say."""
        self._on_heard(job_id, await self._client.send(calls.upload_spans(run_id, [])))

    async def _enter_job(self, job_id: str, name: str) -> None:
        try:
            full, plain = _job_begun(self._store.find_job(job_id))
        except NotFound:
            full = plain = {"name": name, "group": 1}
        heard = await self._accepted(lambda body: calls.job_enter(job_id, body), (full, plain))
        self._on_heard(job_id, heard)

    async def _report(
        self,
        run: RunRecord,
        call: Callable[[dict[str, Any]], calls.Call[Heard]],
        bodies: Sequence[dict[str, Any]],
    ) -> None:
        self._heard(run, await self._accepted(call, bodies))

    def _heard(self, run: RunRecord, heard: Heard) -> None:
        self._on_heard(run.job_id, heard)

    async def _accepted(
        self, call: Callable[[dict[str, Any]], calls.Call[Heard]], bodies: Sequence[dict[str, Any]]
    ) -> Heard:
        """Send the first of `bodies` that the platform takes: the fullest, else a plainer one."""
        left = list(bodies[1:] if self.is_plain else bodies)
        while True:
            body = left.pop(0)
            try:
                heard = await self._client.send(call(body))
            except PlatformRefused as error:
                if not left or error.status not in (400, 422):
                    raise
                continue
            self.is_plain = self.is_plain or body is not bodies[0]
            return heard

    async def _upload(self, run_id: str, spans: Sequence[bytes]) -> Heard:
        """Send spans, halving what is refused, until each is taken or left out."""
        try:
            return await self._client.send(calls.upload_spans(run_id, spans))
        except NotOnPlatform as error:
            error.hint = "HUD_TELEMETRY_URL says where spans go, when that is another place"
            raise
        except PlatformRefused as error:
            if len(spans) == 1:
                self.left_out += 1
                logger.warning(
                    "the platform does not take a step of run %s (%s bytes): %s",
                    *(run_id, len(spans[0]), bounded(error.message, 300)),
                )
                return Heard()
            half = len(spans) // 2
            one = await self._upload(run_id, spans[:half])
            other = await self._upload(run_id, spans[half:])
            return Heard(
                cancel=[*one.cancel, *other.cancel],
                cancel_job=one.cancel_job or other.cancel_job,
            )

    def _batches(
        self, run_id: str, after: int, debug: Sequence[bytes]
    ) -> Iterator[tuple[list[bytes], int]]:
        """Yield encoded spans of bounded number and size, and the last step's number in each."""
        spans, size, seq = list(debug), sum(map(len, debug)), after
        for step in self._steps(run_id, after):
            span = span_of(step)
            if spans and (len(spans) >= BATCH_SPANS or size + len(span) > BATCH_BYTES):
                yield spans, seq
                spans, size = [], 0
            spans.append(span)
            size += len(span)
            seq = step.seq
        if spans:
            yield spans, seq

    def _steps(self, run_id: str, after: int) -> Iterator[StepRecord]:
        """Yield steps one by one, so that few large ones are held at once."""
        while True:
            found = 0
            for step in self._store.read_steps(run_id, after=after, limit=BATCH_SPANS):
                yield step
                found, after = found + 1, step.seq
            if found < BATCH_SPANS:
                return


def span_of(step: StepRecord) -> bytes:
    """Return a recorded step as an encoded span."""
    try:
        face = _face.decode(step.payload)
    except (msgspec.DecodeError, ValueError):
        face = _Face(source=step.source or "system")
    source = step.source or face.source
    started = iso(step.started_at or step.ended_at or 0)
    return step_span(
        StepRecorded(
            trace_id=step.run_id,
            seq=step.seq,
            source=source,
            schema=ROBOT_STEP_SCHEMA if source in _ROBOT_SOURCES else STEP_SCHEMA,
            started_at=started,
            ended_at=iso(step.ended_at) if step.ended_at is not None else started,
            payload=step.payload,
            error=face.error,
        )
    )


def _job_begun(job: JobRecord) -> tuple[dict[str, Any], dict[str, Any]]:
    taskset_id = calls.dashed(job.taskset_id) if job.taskset_id else None
    plain = {"name": job.name, "group": job.group_size, "taskset_id": taskset_id}
    full = {
        **plain,
        "taskset": job.taskset,
        "agent": job.agent,
        "model": job.model,
        "runtime": job.runtime,
        "created_at": iso(job.created_at),
    }
    return full, plain


def _run_begun(run: RunRecord) -> tuple[dict[str, Any], dict[str, Any]]:
    plain = {
        "job_id": run.job_id,
        "group_id": run.group_id,
        "task_slug": run.task_slug,
        "model": run.model,
    }
    full = {
        **plain,
        "task_id": run.task_id,
        "env": run.env,
        "member": run.member,
        "attempt": run.attempt,
        "runtime": run.runtime,
        "task_digest": run.task_digest,
        "started_at": iso(run.started_at),
    }
    return full, plain


def _run_ended(run: RunRecord) -> list[dict[str, Any]]:
    """Return what says how a run ended: the fullest way first, each further one plainer.

    A run without a grade has no `evaluation_result` in any of them. A `reward` it has only in the
    last, for a platform that takes no exit without one; its status then says `error`, so that
    nobody takes the number for a grade.
    """
    is_graded = run.outcome is Outcome.GRADED
    plain: dict[str, Any] = {
        "status": run.status,
        "stop_reason": run.stop_reason,
        "metadata": run.extra,
    }
    if is_graded:
        plain |= {
            "reward": run.reward,
            "evaluation_result": run.evaluation or {"score": run.reward},
        }
    else:
        plain["error"] = run.error or f"ungraded: {run.outcome.value if run.outcome else 'unknown'}"
    full = {
        **plain,
        "outcome": run.outcome.value if run.outcome else None,
        "ended_at": iso(run.ended_at or 0),
        "prompt_tokens": run.prompt_tokens,
        "completion_tokens": run.completion_tokens,
        "cached_tokens": run.cached_tokens,
        "llm_calls": run.llm_calls,
        "cost_usd": run.cost_usd,
        "turns": run.turns,
        "unpriced_turns": run.unpriced_turns,
        "known_cost_usd": run.known_cost_usd,
    }
    if is_graded:
        return [full, plain]
    return [full, plain, {**plain, "status": "error", "reward": 0.0}]
