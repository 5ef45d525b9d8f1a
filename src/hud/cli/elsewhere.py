"""What `hud jobs` and `hud trace` show of a platform.

A platform says less of a job than the store does, so these are other tables than `browse` has; what
it says was written by somebody else, and reaches the terminal with its control characters spelled
out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, cast

from hud._core import json
from hud._core.errors import NotFound, bounded
from hud.api import calls
from hud.api.client import BlockingPlatformClient
from hud.api.errors import NotOnPlatform
from hud.api.place import configured_place, required_place
from hud.api.replies import JobOnPlatform, RunOnPlatform, RunState
from hud.cli import streams
from hud.cli.render import NOT_AVAILABLE, clock, number, one_line, safe
from hud.cli.tables import pairs, table
from hud.trace.clock import micros

_NO_LIMIT = 1_000_000
_LONGEST = 4_000


def here_or_there(here: Callable[[], None], there: Callable[[], None]) -> None:
    """Show what is recorded here; what is not, from the platform, where one is configured.

    Raises:
        InputError: when it is neither here nor there.
    """
    try:
        here()
    except NotFound as missing:
        place = configured_place()
        if place is None:
            raise
        try:
            there()
        except NotOnPlatform as error:
            raise NotFound(
                f"{missing.message}, and none at {bounded(place.shown, 300)}", hint=missing.hint
            ) from error


def list_jobs(limit: int, *, as_json: bool) -> None:
    """Show the newest jobs of the platform."""
    with BlockingPlatformClient(required_place()) as client:
        jobs = client.collect(calls.jobs(limit or _NO_LIMIT))
    if as_json:
        streams.write_json({"jobs": [job.model_dump(mode="json") for job in jobs]})
        return
    if not jobs:
        streams.note("the platform has no jobs yet")
        return
    header = ("JOB", "CREATED", "NAME", "AGENT", "STATUS", "GRADED", "MEAN")
    rows = [_job_row(job) for job in jobs]
    streams.write(table(header, rows, right=(5, 6), width=streams.stdout_width(), shrink=2))


def _job_row(job: JobOnPlatform) -> tuple[str, ...]:
    agent, counts = job.agent or "", job.counts
    return (
        job.id,
        _clock(job.created_at),
        job.name or job.taskset_name or "",
        f"{agent} {job.model}" if job.model else agent,
        job.status or "",
        f"{counts.graded:,}/{counts.runs:,}" if counts is not None else "",
        number(counts.mean_reward) if counts is not None else "",
    )


def _clock(text: str | None) -> str:
    """Return a platform's time as those of the local store are shown."""
    try:
        return clock(micros(text)) if text else ""
    except (ValueError, OverflowError, OSError):
        return bounded(text or "", 40)


def show_job(job_id: str, limit: int, *, as_json: bool) -> None:
    """Show the runs of a job of the platform."""
    place = required_place()
    with BlockingPlatformClient(place) as client:
        runs = client.collect(calls.job_runs(job_id, limit or _NO_LIMIT))
    link = place.link(f"/jobs/{job_id}")
    if as_json:
        data = [{**run.model_dump(mode="json"), "reward": _reward(run)} for run in runs]
        streams.write_json({"id": job_id, "runs": data, "link": link})
        return
    rows = [
        (
            run.id,
            run.task_slug or "",
            _clock(run.began),
            run.outcome or run.status or "",
            number(_reward(run)),
            bounded(run.error or "", 200),
        )
        for run in runs
    ]
    header = ("RUN", "TASK", "STARTED", "OUTCOME", "REWARD", "ERROR")
    streams.write(table(header, rows, right=(4,), width=streams.stdout_width(), shrink=5))
    streams.note(f"at {link}")


def show_trace(run_id: str, *, as_json: bool) -> None:
    """Show one run of the platform with what happened in it."""
    place = required_place()
    with BlockingPlatformClient(place) as client:
        state = client.send(calls.run_state(run_id))
        part = client.send(calls.run_events(run_id))
        events = part.events
        while part.next_after is not None and part.events:
            part = client.send(calls.run_events(run_id, after=part.next_after))
            events += part.events
    if as_json:
        data = {**state.model_dump(mode="json"), "reward": _reward(state)}
        streams.write_json({"trace_id": run_id, **data, "events": events})
        return
    rows = [
        ("run", run_id),
        ("job", state.job_id or ""),
        ("task", state.task_slug or ""),
        ("model", state.model or ""),
        ("outcome", state.outcome or state.status),
        ("reward", number(_reward(state))),
        ("error", state.error or ""),
        ("platform", place.shown),
    ]
    streams.write(pairs([(label, text) for label, text in rows if text]))
    for event in events:
        streams.write("\n" + "\n".join(_lines(event)))


def _reward(run: RunOnPlatform | RunState) -> float | None:
    """Return a reward that is one: an error with a 0 and no evaluation is no grade."""
    is_ungraded = (
        run.outcome not in (None, "graded")
        if run.outcome is not None
        else run.status in ("error", "cancelled") and not run.evaluation_result and not run.reward
    )
    return None if is_ungraded else run.reward


def _lines(event: Mapping[str, Any]) -> Iterator[str]:
    kind = str(event.get("kind") or event.get("type") or event.get("event") or "event")
    yield one_line(f"── {kind}")
    match kind:
        case "agent_message":
            yield from _labelled("thinks", event.get("reasoning"))
            yield from _labelled("", event.get("text"))
            for call in cast("list[Any]", event.get("tool_calls") or []):
                yield from _labelled("calls", _call(call))
        case "tool_call" | "tool_result":
            name = event.get("tool_name") or event.get("name") or ""
            arguments = event.get("arguments")
            shown = "" if arguments is None else f" {_text(arguments)}"
            yield from _labelled("calls", f"{name}{shown}")
            yield from _labelled("returns", event.get("result_text", event.get("result")))
        case "environment":
            yield from _labelled("", event.get("text", event.get("content")))
        case _:
            rest = {
                name: value
                for name, value in event.items()
                if name not in ("kind", "type", "event")
            }
            yield from _labelled("", rest or None)
    yield from _labelled("error", event.get("error"))


def _call(call: Any) -> str:
    if not isinstance(call, Mapping):
        return _text(call)
    held = cast("Mapping[str, Any]", call)
    function = held.get("function")
    if isinstance(function, Mapping):
        held = cast("Mapping[str, Any]", function)
    return f"{held.get('name') or NOT_AVAILABLE} {_text(held.get('arguments') or {})}"


def _labelled(label: str, value: Any) -> Iterator[str]:
    if value is None or value == "":
        return
    text = _text(value)
    if len(text) > _LONGEST:
        text = f"{text[:_LONGEST]}… [{len(text) - _LONGEST:,} more characters; --json shows all]"
    prefix = f"{label}: " if label else ""
    yield from (f"  {line}" for line in safe(f"{prefix}{text}").split("\n"))


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.encode(value).decode()
