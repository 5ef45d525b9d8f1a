"""Who is meant by a request to compare or to rank: jobs by id, models and agents on a taskset."""

from __future__ import annotations

from collections.abc import Sequence

from hud._core.errors import InputError, bounded
from hud.eval.contender import By, Contender, jobs_of_taskset, read_contenders, with_a_voice
from hud.platform.errors import ApiError
from hud.store import JobRecord, Store

MOST_SIDES = 6
_SHOWN = 8


def recorded_jobs(store: Store, team: str, taskset: str) -> list[JobRecord]:
    """Return the team's jobs of a taskset, newest first; none is an empty list."""
    try:
        return jobs_of_taskset(store, taskset, team=team)
    except InputError:
        return []


def contenders_of_jobs(store: Store, team: str, jobs: Sequence[JobRecord]) -> list[Contender]:
    """Return one contender per job, in this order.

    Raises:
        ApiError: with status 400, for fewer than two jobs, too many, or one that comes twice.
    """
    if len({job.id for job in jobs}) < len(jobs):
        raise _bad("a job was named twice")
    _check_count(len(jobs), "name two jobs or more: ?job=ID&job=ID")
    return read_contenders(store, jobs, by="job", team=team)


def contenders_of_taskset(
    store: Store, team: str, taskset: str, by: By, sides: Sequence[str]
) -> list[Contender]:
    """Return who ran a taskset: those that are named, or all but trial runs.

    Raises:
        ApiError: with status 404 when nobody ran it, 400 when there is nothing to compare.
    """
    jobs = recorded_jobs(store, team, taskset)
    if not jobs:
        raise ApiError(
            404, f"no job of a taskset {bounded(taskset)!r} is recorded", kind="not_found"
        )
    found = read_contenders(store, jobs, by=by, team=team)
    chosen = [_named(side, found) for side in sides] if sides else with_a_voice(found)
    if len({one.name for one in chosen}) < len(chosen):
        raise _bad("one side was named twice")
    _check_count(len(chosen), f"name them: ?side=…; there are: {_names(found)}")
    return chosen


def _named(word: str, contenders: Sequence[Contender]) -> Contender:
    found = [
        one
        for one in contenders
        if word in (one.name, one.model, one.agent, f"{one.agent} {one.model}")
    ]
    if len(found) != 1:
        problem = "more than one side is" if found else "no side is"
        raise _bad(f"{problem} called {bounded(word)!r}", f"there are: {_names(contenders)}")
    return found[0]


def _names(contenders: Sequence[Contender]) -> str:
    more = ", …" if len(contenders) > _SHOWN else ""
    return ", ".join(bounded(one.name, 60) for one in contenders[:_SHOWN]) + more


def _check_count(sides: int, hint: str) -> None:
    if sides < 2:
        raise _bad("there is nothing to compare", hint)
    if sides > MOST_SIDES:
        raise _bad(f"{sides} sides are more than the {MOST_SIDES} that are compared at once", hint)


def _bad(message: str, hint: str | None = None) -> ApiError:
    return ApiError(400, message, kind="bad_input", hint=hint)
