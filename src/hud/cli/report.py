"""A job's results as text and as data, and where to look next."""

from __future__ import annotations

import math
from typing import Any

from hud.cli import budgeting
from hud.cli.render import (
    NOT_AVAILABLE,
    cost,
    count,
    number,
    one_line,
    percent,
    seconds,
)
from hud.cli.streams import note, write, write_json
from hud.cli.tables import pairs, table
from hud.eval.results import Member, Results
from hud.eval.resume import JobSpec
from hud.eval.spending import Spent
from hud.eval.statistics import Summary
from hud.eval.taskset import Taskset
from hud.store import JobRecord

_TASKS_SHOWN = 50
_FAULTS_SHOWN = 5


def dry_run(taskset: Taskset, spec: JobSpec, *, left: int, as_json: bool) -> None:
    """Show what would run."""
    if as_json:
        data = {"dry_run": True, "taskset": taskset.name, "rollouts": left, **spec.to_json()}
        write_json({**data, "tasks": list(spec.tasks)})
        return
    rows = [(task.slug, task.env, task.id) for task in taskset]
    write(table(("TASK", "ENVIRONMENT", "TEMPLATE"), rows))
    line = heading(taskset, spec, done=len(spec.tasks) * spec.group - left)
    note(f"{line}; nothing was run (--dry-run)")


def heading(taskset: Taskset, spec: JobSpec, job_id: str | None = None, *, done: int = 0) -> str:
    """Return one line that says what runs."""
    agent = spec.agent if spec.model is None else f"{spec.agent} ({spec.model})"
    times = f" × {spec.group}" if spec.group > 1 else ""
    parts = [
        f"{taskset.name}: {count(len(taskset), 'task')}{times} with {agent}",
        f"in {spec.runtime}, {spec.max_concurrent} at once",
    ]
    if spec.budget is not None:
        parts.append(f"at most {spec.budget}")
    if done:
        parts.append(f"{done:,} graded already")
    if job_id is not None:
        parts.append(f"job {job_id}")
    return one_line(", ".join(parts))


def as_text(
    job: JobRecord, results: Results, *, width: int | None, took_s: float | None = None
) -> str:
    """Return the table of tasks and the figures of the whole job.

    Args:
        took_s: How long this part of a job took that was taken up again.
    """
    return f"{_task_table(results, width)}\n\n{pairs(figures(job, results, took_s=took_s))}"


def _task_table(results: Results, width: int | None) -> str:
    ks = [estimate.k for estimate in results.summary.pass_at_k]
    header = ("TASK", "GRADED", "MEAN", *(f"PASS@{k}" for k in ks))
    shown = results.tasks if width is None else results.tasks[:_TASKS_SHOWN]
    rows = [
        (
            task.slug,
            f"{len(task.graded)}/{len(task.rewards)}",
            number(task.mean),
            *(number(task.pass_at(k)) for k in ks),
        )
        for task in shown
    ]
    text = table(header, rows, right=range(1, len(header)), width=width)
    left = len(results.tasks) - len(shown)
    return f"{text}\n… {count(left, 'more task')} (--json has all)" if left else text


def figures(
    job: JobRecord, results: Results, *, took_s: float | None = None
) -> list[tuple[str, str]]:
    """Return what the whole job says, label by label."""
    summary, spent = results.summary, results.spent
    rows = [("mean reward", _mean(summary))]
    rows += [
        (f"pass@{found.k}", _pass_at(found.value, found.tasks, summary))
        for found in summary.pass_at_k
    ]
    rows.append(("success rate", percent(summary.success_rate)))
    coverage = f"{summary.graded:,} of {summary.runs:,} graded ({percent(summary.coverage)})"
    if summary.ungraded:
        low, high = number(summary.lower_bound), number(summary.upper_bound)
        coverage += f"; mean {low} to {high} were the others 0 or 1"
    rows.append(("coverage", coverage))
    if summary.ungraded:
        causes = ", ".join(f"{cause} {n:,}" for cause, n in summary.ungraded_by_cause.items())
        rows.append(("ungraded", causes))
    if results.invalid:
        reasons = ", ".join(
            f"{reason or 'no reason'} {n:,}" for reason, n in results.invalid.items()
        )
        rows.append(("invalid", f"{sum(results.invalid.values()):,} left out: {reasons}"))
    retried = results.attempts - len(results.members) - sum(results.invalid.values())
    if retried:
        rows.append(("tried again", count(retried, "attempt")))
    rows.append(("time", seconds(_wall_s(job) if took_s is None else took_s)))
    rows.append(("tokens", _tokens(spent)))
    rows += budgeting.figure(job, results)
    return rows


def _tokens(spent: Spent) -> str:
    if not spent.llm_calls:
        return "none"
    cached = f" ({spent.cached_tokens:,} cached)" if spent.cached_tokens else ""
    return (
        f"{spent.prompt_tokens:,} in{cached}, {spent.completion_tokens:,} out, "
        f"cost {cost(spent.known_cost_usd, spent.unpriced_turns)}"
    )


def _mean(summary: Summary) -> str:
    if summary.mean is None:
        return NOT_AVAILABLE
    if summary.interval is None:
        return f"{summary.mean:.3f} ± n/a (one task gives no interval)"
    low, high = summary.interval
    return (
        f"{summary.mean:.3f} ± {(high - low) / 2:.3f} "
        f"(95 % interval over {count(summary.graded_tasks, 'task')})"
    )


def _pass_at(value: float | None, tasks: int, summary: Summary) -> str:
    if value is None:
        return f"{NOT_AVAILABLE} (too few graded)"
    left_out = summary.tasks - tasks
    return f"{value:.3f}" + (
        f" (without {count(left_out, 'task')}: too few graded)" if left_out else ""
    )


def _wall_s(job: JobRecord) -> float | None:
    return None if job.ended_at is None else (job.ended_at - job.created_at) / 1e6


def where_to_look(
    job: JobRecord, results: Results, *, env_source: str | None = None, url: str | None = None
) -> None:
    """Say on stderr what broke, and which commands show more.

    Args:
        url: Where the job is to be seen, when a platform ran it.
    """
    faults = results.faults
    shown = faults if len(faults) <= _FAULTS_SHOWN + 1 else faults[:_FAULTS_SHOWN]
    for cause, text, times in shown:
        note(f"{times:,} × {cause}: {one_line(text)}")
    if len(faults) > len(shown):
        note(f"… and {count(len(faults) - len(shown), 'other reason')}")
    note()
    commands: list[tuple[str, str]] = []
    if (first := _worth_a_look(results)) is not None:
        commands.append((f"hud trace {first.run_id}", "one rollout, step by step"))
    commands.append((f"hud jobs {job.id}", "this job"))
    if url is not None:
        commands.append((url, "in the browser"))
    else:
        commands.append((f"hud view {job.id}", "both in the browser"))
    if url is None and not results.is_complete:
        again = f" --source {one_line(env_source)}" if env_source else ""
        more = budgeting.flags_for_more(job, results)
        command = f"hud eval --resume {job.id}{again}{more}"
        larger = ", with a larger budget" if more else ""
        commands.append((command, f"run what is missing or ungraded{larger}"))
    note(pairs(commands))


def _worth_a_look(results: Results) -> Member | None:
    """Return the first ungraded member, else the one with the lowest reward."""
    broken = next((member for member in results.members if member.cause is not None), None)
    return broken or min(results.members, key=lambda member: member.reward, default=None)


def as_data(job: JobRecord, results: Results) -> dict[str, Any]:
    """Return a job and its results as one JSON document; what is not available is null."""
    return {
        "job_id": job.id,
        "name": job.name,
        "status": job.status,
        "agent": job.agent,
        "model": job.model,
        "runtime": job.runtime,
        "group": job.group_size,
        "created_at": clock_iso(job.created_at),
        "ended_at": clock_iso(job.ended_at),
        "wall_s": _wall_s(job),
        "budget": budgeting.as_data(job, results),
        **summary_data(results),
        "tasks": [
            {
                "slug": task.slug,
                "rewards": [_finite(reward) for reward in task.rewards],
                "graded": len(task.graded),
                "mean": task.mean,
            }
            for task in results.tasks
        ],
        "runs": [run_data(member) for member in results.members],
    }


def summary_data(results: Results) -> dict[str, Any]:
    """Return the statistics of a job."""
    summary, spent = results.summary, results.spent
    return {
        "total": summary.runs,
        "graded": summary.graded,
        "ungraded": dict(summary.ungraded_by_cause),
        "invalid": dict(results.invalid),
        "mean": summary.mean,
        "standard_error": summary.standard_error,
        "interval_95": list(summary.interval) if summary.interval else None,
        "pass_at_k": {str(found.k): found.value for found in summary.pass_at_k},
        "best_at_k": {str(found.k): found.value for found in summary.best_at_k},
        "success_rate": summary.success_rate,
        "coverage": summary.coverage,
        "lower_bound": summary.lower_bound,
        "upper_bound": summary.upper_bound,
        "attempts": results.attempts,
        "prompt_tokens": spent.prompt_tokens,
        "completion_tokens": spent.completion_tokens,
        "cached_tokens": spent.cached_tokens,
        "llm_calls": spent.llm_calls,
        "cost_usd": spent.cost_usd,
        "turns": spent.turns,
        "unpriced_turns": spent.unpriced_turns,
        "known_cost_usd": spent.known_cost_usd,
    }


def run_data(member: Member) -> dict[str, Any]:
    """Return one run of a listing."""
    ended = member.ended_at
    return {
        "trace_id": member.run_id,
        "task": member.task,
        "member": member.member,
        "attempt": member.attempt,
        "outcome": member.outcome.value if member.outcome else None,
        "invalid_reason": member.invalid_reason,
        "reward": _finite(member.reward),
        "stop_reason": member.stop_reason,
        "error": member.error,
        "started_at": clock_iso(member.started_at),
        "tokens": member.tokens,
        "turns": member.turns,
        "cost_usd": member.cost_usd,
        "duration_s": None if ended is None else (ended - member.started_at) / 1e6,
    }


def clock_iso(micros: int | None) -> str | None:
    """Return a time of the store as ISO 8601 in UTC."""
    if micros is None:
        return None
    from datetime import UTC, datetime

    return datetime.fromtimestamp(micros / 1e6, UTC).isoformat()


def _finite(value: float) -> float | None:
    return None if math.isnan(value) else value
