"""What `hud check` does: two jobs, and what they say of every task."""

from __future__ import annotations

import asyncio
from typing import Any

from hud.agents.base import Agent
from hud.agents.create import make_agent
from hud.cli import streams
from hud.cli.boundary import FAILED, GRADED, INTERRUPTED
from hud.cli.progress import make_progress, showing
from hud.cli.render import count, number, one_line
from hud.cli.signals import stopping
from hud.cli.tables import table
from hud.eval.checking import REPEATS, TaskCheck, judge
from hud.eval.job import Job
from hud.eval.loading import load_tasks
from hud.eval.places import place_at
from hud.eval.running import run_taskset
from hud.eval.schedule import Options, Stop
from hud.eval.selection import names_in, select
from hud.eval.tally import Tally
from hud.eval.taskset import Taskset
from hud.runtimes.base import Provider


def check(
    source: str,
    *,
    floor: float,
    task_ids: str | None,
    runtime: str,
    max_concurrent: int,
    as_json: bool,
    verbose: int,
) -> int:
    """Check the tasks of `source`, show what was found, and return the exit code."""
    streams.guard_stdout()
    loaded = load_tasks(source)
    taskset = select(loaded.taskset, names_in(task_ids))
    place = place_at(runtime, loaded.environment)
    oracle, noop = make_agent("oracle", source=loaded.environment), make_agent("noop")
    stop = Stop()

    async def both() -> tuple[Job, Job]:
        streams.note("playing the reference solutions, then doing nothing, twice per task")
        first = await _run(taskset, oracle, place, stop, max_concurrent, verbose)
        return first, await _run(taskset, noop, place, stop, max_concurrent, verbose)

    solved, idle = asyncio.run(both())
    if stop.requests:
        streams.note("interrupted before every task was checked")
        return INTERRUPTED
    checks = judge(taskset, solved, idle, floor=floor)
    if as_json:
        streams.write_json(_as_data(taskset, checks, floor))
    else:
        streams.write(_as_text(checks))
    return _verdict(checks)


async def _run(
    taskset: Taskset, agent: Agent, place: Provider, stop: Stop, at_once: int, verbose: int
) -> Job:
    progress = make_progress(Tally(len(taskset) * REPEATS), verbose=verbose)
    options = Options(max_concurrent=at_once, observer=progress, stop=stop)
    with stopping(stop, progress.say), showing(progress):
        return await run_taskset(
            f"check {taskset.name}: {agent.name}",
            list(taskset),
            agent,
            runtime=place,
            group=REPEATS,
            options=options,
        )


def _as_text(checks: list[TaskCheck]) -> str:
    rows: list[tuple[str, ...]] = []
    for found in checks:
        best, idle = _reward(found.oracle), _reward(found.noop)
        problems = found.problems or ("",)
        rows.append((found.slug, best, idle, "ok" if found.is_fit else "FAIL", problems[0]))
        rows.extend(("", "", "", "", problem) for problem in problems[1:])
    return table(("TASK", "ORACLE", "NOOP", "", "PROBLEM"), rows, right=(1, 2))


def _reward(rewards: tuple[float, ...]) -> str:
    return "/".join(dict.fromkeys(number(reward) for reward in rewards)) or number(None)


def _verdict(checks: list[TaskCheck]) -> int:
    failed = [found.slug for found in checks if not found.is_fit]
    if not failed:
        streams.note(f"{count(len(checks), 'task')} checked, all fit")
        return GRADED
    shown = ", ".join(one_line(slug) for slug in failed[:5])
    more = ", …" if len(failed) > 5 else ""
    streams.note(f"{len(failed):,} of {count(len(checks), 'task')} not fit: {shown}{more}")
    return FAILED


def _as_data(taskset: Taskset, checks: list[TaskCheck], floor: float) -> dict[str, Any]:
    return {
        "taskset": taskset.name,
        "floor": floor,
        "fit": all(found.is_fit for found in checks),
        "tasks": [
            {
                "slug": found.slug,
                "fit": found.is_fit,
                "oracle": list(found.oracle),
                "noop": list(found.noop),
                "problems": list(found.problems),
            }
            for found in checks
        ],
    }
