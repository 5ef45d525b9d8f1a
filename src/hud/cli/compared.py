"""What `hud compare` looks up and shows."""

from __future__ import annotations

from collections.abc import Sequence

from hud._core.errors import InputError, bounded
from hud.cli import streams
from hud.cli.counting import counting
from hud.cli.recorded import required_store
from hud.cli.render import NOT_AVAILABLE, count, money, number, one_line, seconds
from hud.cli.tables import pairs, table
from hud.eval.comparing import compare_all
from hud.eval.comparison import Comparison, Side, TaskPair
from hud.eval.contender import (
    By,
    Contender,
    Used,
    jobs_of_taskset,
    read_contenders,
    with_a_voice,
)
from hud.eval.verdict import spelled_p
from hud.store import JobRecord

_STATES = {
    "ungraded": "ungraded",
    "only first": "not on both",
    "only second": "not on both",
    "changed": "changed",
}


def show(
    words: Sequence[str],
    *,
    taskset: str | None,
    by: By,
    include_changed: bool,
    limit: int,
    as_json: bool,
) -> None:
    """Compare what was asked for and show it."""
    contenders = _contenders(words, taskset, by)
    found = compare_all(contenders, include_changed=include_changed)
    if as_json:
        streams.write_json({"comparisons": [one.as_data() for one in found]})
    elif len(found) == 1:
        _show_two(found[0], limit)
    else:
        _show_several(contenders, found, limit)


def _contenders(words: Sequence[str], taskset: str | None, by: By) -> list[Contender]:
    if taskset is None:
        if len(words) < 2:
            raise InputError(
                "there is nothing to compare: name two jobs or more",
                hint="hud compare ID ID, or hud compare --taskset NAME; `hud jobs` lists ids",
            )
        store = required_store(words[0], "job")
        jobs: dict[str, JobRecord] = {}
        for word in words:
            job = store.find_job(word)
            if job.id in jobs:
                raise InputError(f"job {job.id} was named twice")
            jobs[job.id] = job
        with counting("reading runs") as told:
            return read_contenders(store, list(jobs.values()), by="job", told=told)
    store = required_store(taskset, "taskset")
    with counting("reading runs") as told:
        found = read_contenders(store, jobs_of_taskset(store, taskset), by=by, told=told)
    chosen = [_named(word, found) for word in words] if words else with_a_voice(found)
    for one in found if not words else ():
        if one not in chosen:
            streams.note(f"{one_line(one.name)} ran few of the tasks and is left out unless named")
    if len(chosen) < 2:
        raise InputError(
            f"only {one_line(chosen[0].name)} ran taskset {bounded(taskset)!r}: "
            "there is nothing to compare it with"
            if not words
            else "there is nothing to compare: name two or more",
            hint="run it with another model or agent, or compare jobs with --by job",
        )
    if len({one.name for one in chosen}) < len(chosen):
        raise InputError("one side was named twice")
    return chosen


def _named(word: str, contenders: Sequence[Contender]) -> Contender:
    """Return the one contender of that name, model, agent or job."""
    found = [
        one
        for one in contenders
        if word in (one.name, one.model, one.agent, f"{one.agent} {one.model}")
        or (len(word) >= 4 and any(job.startswith(word) for job in one.job_ids))
    ]
    if len(found) != 1:
        names = ", ".join(one.name for one in contenders[:8])
        problem = "more than one side is" if found else "no side is"
        raise InputError(f"{problem} called {bounded(word)!r}", hint=f"there are: {names}")
    return found[0]


def _show_two(found: Comparison, limit: int) -> None:
    _say([found])
    header = ("SIDE", "JOB", "MEAN", "GRADED", "COST/RUN", "TOKENS/RUN", "TIME/RUN")
    rows = [_side_row(side) for side in (found.first, found.second)]
    streams.write("\n" + table(header, rows, right=range(2, 7), width=streams.stdout_width()))
    streams.write("\n" + pairs(_figures(found)))
    header = ("TASK", found.first.name, found.second.name, "DIFFERENCE")
    rows = [
        (
            one.slug,
            _mean(one.first, one.first_graded, one.first_runs),
            _mean(one.second, one.second_graded, one.second_runs),
            _difference(one),
        )
        for one in _shown(found.pairs, limit)
    ]
    streams.write("\n" + table(header, rows, right=(1, 2, 3), width=streams.stdout_width()))
    _say_left(len(found.pairs), limit)


def _say(found: Sequence[Comparison]) -> None:
    for one in found:
        streams.write(one_line(one.verdict))
    for one in found:
        which = f" ({one.first.name}, {one.second.name})" if len(found) > 1 else ""
        for warning in one.warnings:
            streams.write(one_line(f"warning{which}: {warning}"))


def _side_row(side: Side) -> tuple[str, ...]:
    return (
        side.name,
        _jobs(side.job_ids),
        number(side.mean),
        f"{side.graded:,}/{side.runs:,}",
        *used_cells(side.used),
    )


def _jobs(job_ids: Sequence[str]) -> str:
    more = f" +{len(job_ids) - 1}" if len(job_ids) > 1 else ""
    return f"{job_ids[0][:8]}{more}" if job_ids else ""


def used_cells(used: Used) -> tuple[str, str, str]:
    """Return cost, tokens and time per run as they stand in a table."""
    cost = money(used.cost_usd)
    if used.unpriced_turns and used.known_cost_usd:
        cost = f"≥ {money(used.known_cost_usd)}"
    tokens = NOT_AVAILABLE if not used.turns else f"{used.tokens or 0:,.0f}"
    return cost, tokens, seconds(used.time_s)


def _figures(found: Comparison) -> list[tuple[str, str]]:
    tasks = f"{found.compared:,} compared, {found.disagreeing:,} differ"
    rows = [("tasks", tasks)]
    if found.difference is not None:
        low, high = found.interval or (None, None)
        rows.append(
            (
                "difference",
                f"{found.difference:+.3f}, 95 % interval {_signed(low)} to {_signed(high)}",
            )
        )
    if found.p_value is not None:
        way = "exact" if found.test.is_exact else f"{found.test.flips:,} random flips"
        rows.append(("test", f"sign-flip over tasks, {way}: {spelled_p(found.p_value)}"))
    if found.detectable is not None:
        rows.append(
            ("detectable", f"a true difference of {found.detectable:.3f}, four times of five")
        )
    return rows


def _signed(value: float | None) -> str:
    return NOT_AVAILABLE if value is None else f"{value:+.3f}"


def _mean(mean: float | None, graded: int, runs: int) -> str:
    if not runs:
        return "–"
    partly = "" if graded == runs else f" ({graded}/{runs})"
    return f"{number(mean)}{partly}"


def _difference(one: TaskPair) -> str:
    return _STATES.get(one.state, "") if one.difference is None else f"{one.difference:+.3f}"


def _shown(tasks: Sequence[TaskPair], limit: int) -> Sequence[TaskPair]:
    return tasks[:limit] if limit else tasks


def _say_left(total: int, limit: int) -> None:
    if limit and total > limit:
        streams.note(f"… {count(total - limit, 'more task')}; --limit 0 shows all")


def _show_several(contenders: Sequence[Contender], found: Sequence[Comparison], limit: int) -> None:
    _say(found)
    header = ("SIDE", "JOB", "GRADED", "COST/RUN", "TOKENS/RUN", "TIME/RUN")
    rows = [_contender_row(one) for one in contenders]
    streams.write("\n" + table(header, rows, right=range(2, 6), width=streams.stdout_width()))
    tasks = _means(contenders, found)
    shown = tasks[:limit] if limit else tasks
    streams.write(
        "\n"
        + table(
            ("TASK", *(one.name for one in contenders), "SPREAD"),
            shown,
            right=range(1, len(contenders) + 2),
            width=streams.stdout_width(),
        )
    )
    _say_left(len(tasks), limit)


def _contender_row(one: Contender) -> tuple[str, ...]:
    rewards = [reward for runs in one.tasks.values() for reward in runs.rewards]
    graded = sum(reward == reward for reward in rewards)
    used = Used.by(one.tasks.values())
    return (one.name, _jobs(one.job_ids), f"{graded:,}/{len(rewards):,}", *used_cells(used))


def _means(contenders: Sequence[Contender], found: Sequence[Comparison]) -> list[tuple[str, ...]]:
    """Return the tasks with every side's mean, those first on which two sides differ most."""
    spread: dict[str, float] = {}
    means: dict[str, dict[str, str]] = {}
    for comparison in found:
        for one in comparison.pairs:
            row = means.setdefault(one.slug, {})
            for side, cell, has in (
                (
                    comparison.first,
                    _mean(one.first, one.first_graded, one.first_runs),
                    one.first_runs,
                ),
                (
                    comparison.second,
                    _mean(one.second, one.second_graded, one.second_runs),
                    one.second_runs,
                ),
            ):
                if has:
                    row.setdefault(side.name, cell)
            if one.difference is not None:
                spread[one.slug] = max(spread.get(one.slug, 0.0), abs(one.difference))
    ordered = sorted(means, key=lambda slug: (slug not in spread, -spread.get(slug, 0.0), slug))
    return [
        (
            slug,
            *(means[slug].get(one.name, "–") for one in contenders),
            number(spread.get(slug)),
        )
        for slug in ordered
    ]
