"""What `hud jobs` and `hud trace` show of the store."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hud._core import json
from hud._core.errors import InputError, bounded
from hud.cli import report, streams, turns
from hud.cli.recorded import recorded_store, required_store
from hud.cli.render import clock, count, money, number, seconds
from hud.cli.tables import pairs, table
from hud.eval.results import Member, read_results
from hud.eval.resume import owed_by
from hud.store import JobRecord, JobSummary

_NO_LIMIT = 1_000_000_000


def id_in(words: Sequence[str], command: str, *, may_list: bool = False) -> str | None:
    """Return the id among a command's words, None for a listing.

    Raises:
        InputError: for words that make no sense together.
    """
    match list(words):
        case [] | ["list"] if may_list:
            return None
        case ["get", text] | [text] if text not in ("get", "list"):
            return text
        case _:
            listed = f"hud {command} [list], " if may_list else ""
            raise InputError(
                f"hud {command} does not understand {bounded(' '.join(words))!r}",
                hint=f"{listed}hud {command} ID, or hud {command} get ID",
            )


def list_jobs(limit: int, *, as_json: bool) -> None:
    """Show the newest jobs."""
    store = recorded_store()
    listed = store.list_jobs(limit=limit or _NO_LIMIT) if store is not None else []
    if as_json:
        streams.write_json({"jobs": [_job_data(summary) for summary in listed]})
        return
    if not listed:
        streams.note("no job has been recorded yet; run one with: hud eval tasks.py oracle")
        return
    header = ("JOB", "CREATED", "NAME", "AGENT", "STATUS", "GRADED", "MEAN")
    rows = [_job_row(summary) for summary in listed]
    streams.write(table(header, rows, right=(5, 6), width=streams.stdout_width(), shrink=2))


def show_job(job_id: str, limit: int, *, as_json: bool) -> None:
    """Show one job: its figures, then its runs, the ungraded ones first."""
    store = required_store(job_id, "job")
    job = store.find_job(job_id)
    ks = sorted({1, job.group_size})
    results = read_results(store, job.id, owed=owed_by(job), ks=ks)
    broken = {(run.task, run.member) for run in results.members if run.cause is not None}
    ordered = sorted(results.all_attempts, key=lambda run: (run.task, run.member) not in broken)
    shown = ordered[:limit] if limit else ordered
    if as_json:
        data = report.as_data(job, results)
        data["runs"] = [report.run_data(member) for member in shown]
        streams.write_json(data)
        return
    streams.write(pairs([*_job_head(job), *report.figures(job, results)]))
    streams.write("\n" + _run_table(shown))
    left = len(ordered) - len(shown)
    if left:
        streams.note(f"… {count(left, 'more run')}; --limit 0 shows all")
    report.where_to_look(job, results)


def show_trace(run_id: str, *, as_json: bool) -> None:
    """Show one run with its steps."""
    store = required_store(run_id, "run")
    run = store.find_run(run_id)
    steps = store.read_steps(run.id)
    if as_json:
        decoded = [json.decode(step.payload) for step in steps]
        streams.write_json({**turns.run_as_data(run), "steps": decoded})
        return
    streams.write(turns.head(run))
    for step in steps:
        streams.write("\n" + turns.turn(json.decode(step.payload)))


def _job_row(summary: JobSummary) -> tuple[str, ...]:
    job, counts = summary.job, summary.counts
    agent = job.agent or ""
    return (
        job.id,
        clock(job.created_at),
        job.name,
        f"{agent} {job.model}" if job.model else agent,
        job.status,
        f"{counts.graded:,}/{counts.runs:,}",
        number(counts.mean_reward),
    )


def _job_data(summary: JobSummary) -> dict[str, Any]:
    job, counts = summary.job, summary.counts
    return {
        "id": job.id,
        "name": job.name,
        "status": job.status,
        "created_at": report.clock_iso(job.created_at),
        "ended_at": report.clock_iso(job.ended_at),
        "taskset": job.taskset,
        "agent": job.agent,
        "model": job.model,
        "runtime": job.runtime,
        "group": job.group_size,
        "runs": counts.runs,
        "attempts": counts.attempts,
        "graded": counts.graded,
        "running": counts.running,
        "ungraded": {outcome.value: times for outcome, times in counts.ungraded.items()},
        "mean": counts.mean_reward,
    }


def _job_head(job: JobRecord) -> list[tuple[str, str]]:
    rows = [
        ("job", job.id),
        ("name", job.name),
        ("status", job.status),
        ("created", clock(job.created_at)),
        ("agent", job.agent or ""),
        ("model", job.model or ""),
        ("runtime", job.runtime or ""),
    ]
    return [(label, text) for label, text in rows if text]


def _run_table(members: Sequence[Member]) -> str:
    header = ["RUN", "TASK", "#", "ATTEMPT", "OUTCOME", "REWARD", "TIME"]
    is_metered = any(member.tokens or member.known_cost_usd for member in members)
    rows = [
        [
            member.run_id,
            member.task,
            str(member.member + 1),
            str(member.attempt),
            member.outcome.value if member.outcome else member.cause or "",
            number(member.reward),
            seconds(
                None if member.ended_at is None else (member.ended_at - member.started_at) / 1e6
            ),
            *(_used(member) if is_metered else ()),
        ]
        for member in members
    ]
    if is_metered:
        header += ["TOKENS", "COST"]
    return table(
        header, rows, right=(2, 3, *range(5, len(header))), width=streams.stdout_width(), shrink=1
    )


def _used(member: Member) -> tuple[str, str]:
    price = money(member.cost_usd)
    if member.unpriced_turns and member.known_cost_usd:
        price = f"≥ {money(member.known_cost_usd)}"
    return f"{member.tokens:,}", price
