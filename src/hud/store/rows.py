"""The rows a rollout hands to the store: plain data, cheap to make, complete in themselves.

How they become SQL is `batch`'s matter, how large payloads leave them `payload`'s.
Times are integer microseconds since the epoch; ids are 32 lower-case hex digits.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from hud._core.ids import new_id
from hud._core.outcome import Outcome

LOCAL_TEAM = "local"
FIRST_ARRIVAL = 1_000_000_000
"""The number from which on steps are numbered that nobody numbered."""
UNCOUNTED = -1
"""The member of a run that nobody counted among the runs of its task."""

JobStatus = Literal["running", "completed", "interrupted", "cancelled"]
RunStatus = Literal["pending", "running", "completed", "error", "cancelled"]
JsonObject = Mapping[str, Any]


class JobRow(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A job begins, or an ended or interrupted one is taken up again.

    Putting a row for a job that exists marks it running, takes over its `spec` unless that is
    None, fills in what was not known (None; and everything of a job without a name), and changes
    nothing else. `spec` is what a resume needs; it is stored redacted like everything else.

    With `heard_at` the job is a reported one: it is worked on somewhere else and known by what is
    heard of it. A row for a reported job that exists does not mark it running. A job that was
    begun without `heard_at` is worked on beside this store, and stays so.
    """

    id: str
    created_at: int
    name: str = ""
    group_size: int = 1
    taskset: str | None = None
    agent: str | None = None
    model: str | None = None
    runtime: str | None = None
    spec: JsonObject | None = None
    heard_at: int | None = None
    taskset_id: str | None = None
    project_id: str | None = None
    key_id: str | None = None
    team: str = LOCAL_TEAM


class JobHeard(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """Something was heard of a reported job. Each is a write to its row: a few seconds apart."""

    id: str
    heard_at: int
    team: str = LOCAL_TEAM


class JobEnd(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A job ended; its counts are computed and kept in the same transaction.

    `worked_s` is how long it was worked on in all; None leaves what is known.
    """

    id: str
    status: JobStatus
    ended_at: int
    worked_s: float | None = None
    team: str = LOCAL_TEAM


class JobCounted(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """Keep the counts of a job on its row until one of its runs changes.

    The store's own, for a job that nobody works on and that nobody said has ended.
    """

    id: str
    team: str = LOCAL_TEAM


class RunStart(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """One attempt at one member of one task begins.

    Putting it again fills in what was not known ("" or None) and changes nothing else. So a run
    may be spoken of before it began: a row with neither `job_id` nor `task_slug` holds its place.
    `member` is -1 where nobody counted: the store then makes the run the next member of its task.
    A run that waits for somebody to begin it is put with `is_pending`; the row without it, which
    comes when it begins, says when that was.
    """

    id: str
    job_id: str
    task_slug: str
    started_at: int
    task_id: str | None = None
    env: str | None = None
    member: int = 0
    attempt: int = 1
    group_id: str | None = None
    model: str | None = None
    runtime: str | None = None
    task_digest: str | None = None
    parent_id: str | None = None
    extra: JsonObject | None = None
    is_pending: bool = False
    team: str = LOCAL_TEAM


class RunEnd(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A run ended with its outcome. Only the first end of a run counts.

    The run is known already or put before; `job_id` is "" where only the run's id was heard.
    `reward` is a number when, and only when, the outcome is `graded`. A NaN reward of an
    ungraded run is taken as none. `extra` replaces the start's unless it is None. `cost_usd` is
    None when any turn's price is unknown; `known_cost_usd` is then what the other turns cost.
    Where more turns were counted already from steps that were reported, those counts stand.

    Raises:
        ValueError: when reward and outcome contradict each other.
    """

    id: str
    job_id: str
    status: RunStatus
    outcome: Outcome
    ended_at: int
    reward: float | None = None
    stop_reason: str | None = None
    error: str | None = None
    evaluation: JsonObject | None = None
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    llm_calls: int = 0
    cost_usd: float | None = None
    turns: int = 0
    unpriced_turns: int = 0
    known_cost_usd: float | None = None
    extra: JsonObject | None = None
    team: str = LOCAL_TEAM

    def __post_init__(self) -> None:
        has_reward = self.reward is not None and not math.isnan(self.reward)
        if has_reward is not (self.outcome is Outcome.GRADED):
            raise ValueError(
                f"RunEnd: outcome {self.outcome!r} with reward {self.reward!r}; "
                "a graded run has a number as its reward, any other has none"
            )


class RunMark(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A person says that a run must not count, and why; with None, that it counts after all.

    It goes to the audit log in the same transaction, as the entry `mark_id`.
    """

    id: str
    invalid_reason: str | None
    actor: str
    marked_at: int
    mark_id: str = msgspec.field(default_factory=new_id)
    team: str = LOCAL_TEAM


class Used(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """What the model turns of a step used; the fields mean what those of `RunEnd` do."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    llm_calls: int = 0
    turns: int = 0
    unpriced_turns: int = 0
    known_cost_usd: float | None = None


class StepRow(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """One step of a run: `payload` is one JSON document, encoded. `seq` counts from 1.

    A step that is put twice is stored once. Long texts and media inside the payload are moved to
    blobs when it is written and put back when it is read.

    A step that is reported in a span has a `span_id`, by which it is known when it comes again.
    Its `seq` is then only wished for: where that is 0 or another span has it, the step gets the
    next free number from `FIRST_ARRIVAL` on, in the order of arrival. What it `used` is added to
    its run when it is stored for the first time.
    """

    run_id: str
    seq: int
    payload: bytes
    source: str | None = None
    started_at: int | None = None
    ended_at: int | None = None
    span_id: str | None = None
    used: Used | None = None
    team: str = LOCAL_TEAM


class DebugSpanRow(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A span that is no step of a run: what the code of a client says of itself.

    `payload` is one JSON document, encoded. A span that is put twice is stored once.
    """

    run_id: str
    span_id: str
    name: str
    payload: bytes
    started_at: int | None = None
    ended_at: int | None = None
    team: str = LOCAL_TEAM


class BlobRow(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """Bytes to keep under their SHA-256; `content` is stored as it is, unredacted.

    They are kept for as long as a step refers to them; see `hud.store.upkeep`.
    """

    content: bytes
    media_type: str = "application/octet-stream"
    team: str = LOCAL_TEAM


JobChange = JobRow | JobHeard | JobEnd | JobCounted
Row = JobChange | RunStart | RunEnd | RunMark | StepRow | DebugSpanRow | BlobRow

_OVERHEAD_BYTES = 600


def size_of(row: Row) -> int:
    """Return about how many bytes `row` holds while it waits to be written."""
    if isinstance(row, StepRow | DebugSpanRow):
        return len(row.payload) + _OVERHEAD_BYTES
    if type(row) is BlobRow:
        return len(row.content) + _OVERHEAD_BYTES
    return _OVERHEAD_BYTES
