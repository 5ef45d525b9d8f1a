"""The contract of `hud.store.Store` for what is reported to a platform: out of order, twice, late.

A part of `check_store`, which runs these rules like its own.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import msgspec

from hud._core import json
from hud._core.errors import InputError
from hud._core.ids import new_id
from hud._core.outcome import Outcome
from hud.store import (
    FIRST_ARRIVAL,
    SILENCE_S,
    UNCOUNTED,
    DebugSpanRow,
    JobEnd,
    JobFilter,
    JobHeard,
    JobRow,
    RunEnd,
    RunFilter,
    RunStart,
    StepRow,
    Store,
    Used,
)

StoreFactory = Callable[[], Store]

_LONG_AGO = 1_700_000_000_000_000


def _expect(holds: bool, rule: str) -> None:
    if not holds:
        raise AssertionError(rule)


def _now() -> int:
    return time.time_ns() // 1000


def _span(run_id: str, team: str, span: int, seq: int = 0, text: str = "") -> StepRow:
    payload = json.encode({"span": span, "text": text})
    return StepRow(run_id=run_id, seq=seq, payload=payload, span_id=f"{span:016x}", team=team)


def _end(run_id: str, team: str, job_id: str = "", reward: float | None = 1.0) -> RunEnd:
    return RunEnd(
        id=run_id,
        job_id=job_id,
        status="completed" if reward is not None else "error",
        outcome=Outcome.GRADED if reward is not None else Outcome.MODEL,
        reward=reward,
        ended_at=_now(),
        team=team,
    )


def _place(run_id: str, team: str) -> RunStart:
    return RunStart(id=run_id, job_id="", task_slug="", started_at=_now(), team=team)


async def spans_are_stored_once_in_whatever_order(open_again: StoreFactory, team: str) -> None:
    """A span that comes again changes nothing, and its number is its own."""
    store, other = open_again(), open_again()
    run_id, twin = new_id(), new_id()
    for span in (3, 1, 2):
        store.put(_span(run_id, team, span, seq=span))
        store.put(_span(twin, team, span, seq=span))
    await store.committed()
    for span in (2, 4, 3):
        other.put(_span(run_id, team, span, seq=span, text="again"))
    await other.committed()
    steps = list(store.read_steps(run_id, team=team))
    _expect([step.seq for step in steps] == [1, 2, 3, 4], "spans take the numbers they wish for")
    texts = [json.decode(step.payload)["text"] for step in steps]
    _expect(texts == ["", "", "", "again"], "a span that comes again changes nothing")
    _expect(
        [step.span_id for step in steps] == [f"{span:016x}" for span in (1, 2, 3, 4)],
        "a step says in which span it came",
    )
    other.close()
    store.close()


async def no_span_is_lost_for_want_of_a_number(open_again: StoreFactory, team: str) -> None:
    """Spans without a number, or with one that is taken, are numbered as they arrive."""
    store = open_again()
    run_id = new_id()
    store.put(_span(run_id, team, 1, seq=7))
    store.put(_span(run_id, team, 2, seq=7))
    store.put(_span(run_id, team, 3))
    await store.committed()
    for span in (4, 3, 5):
        store.put(_span(run_id, team, span))
    store.put(_span(run_id, team, 6, seq=7))
    store.put(_span(run_id, team, 7, seq=FIRST_ARRIVAL + 2**30))
    await store.committed()
    steps = list(store.read_steps(run_id, team=team))
    spans = [json.decode(step.payload)["span"] for step in steps]
    _expect(spans[0] == 1 and sorted(spans) == [1, 2, 3, 4, 5, 6, 7], "no span is lost")
    numbers = [step.seq for step in steps]
    _expect(
        numbers[0] == 7 and numbers[1:] == sorted(set(numbers[1:])) and numbers[1] == FIRST_ARRIVAL,
        "a span without a number of its own is numbered by its arrival",
    )
    _expect(spans.index(3) < spans.index(4) < spans.index(5), "arrivals keep their order")
    store.close()


async def a_step_recorded_here_and_reported_is_one(open_again: StoreFactory, team: str) -> None:
    """The step that a rollout recorded itself is not doubled by the report of it."""
    store = open_again()
    first, second = new_id(), new_id()
    store.put(StepRow(run_id=first, seq=1, payload=b'{"span": 1}', team=team))
    store.put(_span(second, team, 1, seq=1))
    await store.committed()
    store.put(_span(first, team, 1, seq=1))
    store.put(StepRow(run_id=second, seq=1, payload=b'{"span": 1}', team=team))
    await store.committed()
    for run_id in (first, second):
        _expect(
            len(list(store.read_steps(run_id, team=team))) == 1,
            "a step that was recorded and reported is one step",
        )
    store.close()


async def a_run_may_be_spoken_of_before_it_began(open_again: StoreFactory, team: str) -> None:
    """Its end is kept, and its beginning fills in what was not known."""
    store = open_again()
    job = JobRow(id=new_id(), created_at=_now(), heard_at=_now(), team=team)
    run_id = new_id()
    store.put(_end(run_id, team))
    store.put(_place(run_id, team))
    await store.committed()
    _expect(store.find_run(run_id, team=team).reward == 1.0, "an early end is not lost")
    store.put(job)
    start = RunStart(
        id=run_id, job_id=job.id, task_slug="task", started_at=_LONG_AGO, model="m", team=team
    )
    store.put(start)
    await store.committed()
    found = store.find_run(run_id, team=team)
    _expect(
        (found.job_id, found.task_slug, found.model, found.started_at)
        == (job.id, "task", "m", _LONG_AGO),
        "a beginning fills in what was not known",
    )
    _expect((found.outcome, found.reward) == (Outcome.GRADED, 1.0), "and leaves the end alone")
    store.put(
        RunStart(
            id=run_id,
            job_id=new_id(),
            task_slug="other",
            started_at=1,
            member=4,
            model="other",
            env="e",
            parent_id="ab" * 16,
            team=team,
        )
    )
    store.put(_place(run_id, team))
    await store.committed()
    found = store.find_run(run_id, team=team)
    _expect(
        (found.job_id, found.task_slug, found.member, found.model, found.started_at)
        == (job.id, "task", 0, "m", _LONG_AGO),
        "what is known does not change",
    )
    _expect((found.env, found.parent_id) == ("e", "ab" * 16), "what was not known is filled in")
    counts = store.summarise(store.find_job(job.id, team=team)).counts
    _expect((counts.runs, counts.graded) == (1, 1), "the run counts in the job it turned out to be")
    store.close()


async def runs_nobody_counted_are_members_of_their_own(open_again: StoreFactory, team: str) -> None:
    """Runs of one task that are reported without a member do not hide each other."""
    store = open_again()
    job = JobRow(id=new_id(), created_at=_now(), heard_at=_now(), team=team)
    store.put(job)
    early = new_id()
    store.put(_place(early, team))
    for number, run_id in enumerate([new_id(), new_id(), early, new_id()]):
        store.put(
            RunStart(
                id=run_id,
                job_id=job.id,
                task_slug="task",
                member=UNCOUNTED,
                started_at=_now() + number,
                team=team,
            )
        )
        store.put(_end(run_id, team, reward=float(number)))
        if number == 1:
            await store.committed()
    await store.committed()
    found = store.runs_of(job.id, team=team)
    _expect([run.member for run in found] == [0, 1, 2, 3], "uncounted runs become members")
    _expect(
        [run.reward for run in found] == [0.0, 1.0, 2.0, 3.0], "in the order of their beginning"
    )
    counts = store.summarise(store.find_job(job.id, team=team)).counts
    _expect((counts.runs, counts.graded) == (4, 4), "each of them counts")
    store.close()


async def a_job_heard_of_early_is_filled_in(open_again: StoreFactory, team: str) -> None:
    """A job that somebody mentioned before it was named takes over its name and the rest."""
    store = open_again()
    early = JobRow(id=new_id(), created_at=_now(), heard_at=_now() - 5, team=team)
    named = JobRow(
        id=early.id,
        created_at=_now() + 9,
        name="named",
        group_size=3,
        taskset="set",
        taskset_id="cd" * 16,
        project_id="ef" * 16,
        key_id="12" * 16,
        heard_at=_now(),
        team=team,
    )
    store.put(early)
    store.put(named)
    store.put(
        JobRow(id=early.id, created_at=1, name="late", taskset="other", heard_at=1, team=team)
    )
    await store.committed()
    job = store.find_job(early.id, team=team)
    _expect(
        (job.name, job.group_size, job.taskset, job.created_at)
        == ("named", 3, "set", early.created_at),
        "a job is filled in once, and keeps its place in the listing",
    )
    _expect(
        (job.taskset_id, job.project_id, job.key_id, job.heard_at)
        == ("cd" * 16, "ef" * 16, "12" * 16, named.heard_at),
        "whose job it is is kept, and when it was last heard",
    )
    store.close()


async def a_reported_job_stands_as_its_runs_do(open_again: StoreFactory, team: str) -> None:
    """Running while it is heard, interrupted when silent, completed when all ended, cancelled."""
    store = open_again()
    silent = _now() - SILENCE_S * 1_000_000 - 1
    job = JobRow(id=new_id(), created_at=_now(), name="job", heard_at=silent, team=team)
    run = RunStart(id=new_id(), job_id=job.id, task_slug="t", started_at=silent, team=team)

    def stands() -> tuple[str, str]:
        [listed] = store.list_jobs(team=team)
        found = store.find_job(job.id, team=team).status
        for status in ("running", "completed", "interrupted", "cancelled"):
            narrowed = store.list_jobs(JobFilter(status=status), team=team)
            _expect(
                bool(narrowed) is (status == found),
                "jobs are listed by how they stand, and only so",
            )
        return listed.job.status, found

    store.put(job)
    store.put(run)
    await store.committed()
    _expect(stands() == ("interrupted", "interrupted"), "a job that fell silent is interrupted")
    _expect(store.find_run(run.id, team=team).is_interrupted, "and so are its open runs")
    store.put(JobHeard(id=job.id, heard_at=_now(), team=team))
    store.put(JobHeard(id=job.id, heard_at=silent, team=team))
    await store.committed()
    _expect(stands() == ("running", "running"), "a job that is heard again is running")
    _expect(not store.list_runs(team=team)[0].is_interrupted, "and so are its open runs")
    store.put(_end(run.id, team))
    await store.committed()
    _expect(stands() == ("completed", "completed"), "a job whose runs all ended is completed")
    store.put(JobEnd(id=job.id, status="cancelled", ended_at=_now(), team=team))
    store.put(JobRow(id=job.id, created_at=_now(), name="job", heard_at=_now(), team=team))
    await store.committed()
    _expect(stands() == ("cancelled", "cancelled"), "a cancelled job stays cancelled")
    store.close()


async def debug_spans_are_kept_apart(open_again: StoreFactory, team: str) -> None:
    """They are stored once, paged by id, and are no steps."""
    store = open_again()
    run_id = new_id()
    for _ in range(2):
        for number in (2, 1, 3):
            store.put(
                DebugSpanRow(
                    run_id=run_id,
                    span_id=f"{number:016x}",
                    name="module.call",
                    payload=json.encode({"number": number, "text": "x" * 100_000}),
                    started_at=number,
                    team=team,
                )
            )
        await store.committed()
    first = store.read_debug_spans(run_id, limit=2, team=team)
    rest = store.read_debug_spans(run_id, after=first[-1].span_id, team=team)
    _expect([span.started_at for span in first + rest] == [1, 2, 3], "debug spans come in pages")
    _expect(
        [json.decode(span.payload)["number"] for span in first + rest] == [1, 2, 3]
        and len(first[0].payload) > 100_000,
        "debug spans come back as they were put",
    )
    _expect(not list(store.read_steps(run_id, team=team)), "debug spans are no steps")
    _expect(not store.read_debug_spans(run_id, team=f"{team}-other"), "another team's are hidden")
    store.close()


async def runs_and_jobs_are_listed_by_what_is_asked(open_again: StoreFactory, team: str) -> None:
    """Newest first, page after page, narrowed by every filter."""
    store = open_again()
    now = _now()
    named = JobRow(id=new_id(), created_at=now, name="Größe 100%", taskset="a", team=team)
    other = JobRow(id=new_id(), created_at=now + 1, name="other", model="m", team=team)
    store.put(named)
    store.put(other)
    for number in range(6):
        job = named if number < 4 else other
        run_id = new_id()
        store.put(
            RunStart(
                id=run_id,
                job_id=job.id,
                task_slug=f"task-{number % 2}",
                started_at=now + number,
                model="m" if number == 3 else None,
                env="e" if number == 2 else None,
                member=number,
                team=team,
            )
        )
        if number in (0, 5):
            store.put(_end(run_id, team, job.id, 1.0 if number else None))
    await store.committed()

    def members(**asked: object) -> list[int]:
        filters = RunFilter(**asked)  # pyright: ignore[reportArgumentType]
        return [run.member for run in store.list_runs(filters, team=team)]

    first = store.list_runs(limit=4, team=team)
    rest = store.list_runs(limit=4, before=first[-1], team=team)
    _expect([run.member for run in first + rest] == [5, 4, 3, 2, 1, 0], "runs come newest first")
    _expect(members(job_id=named.id) == [3, 2, 1, 0], "the runs of one job are listed")
    _expect(members(status="running") == [4, 3, 2, 1], "unfinished runs are listed")
    _expect(members(outcome=Outcome.GRADED) == [5], "runs are listed by their outcome")
    _expect(members(status="error") == [0], "runs are listed by how they stand")
    _expect((members(model="m"), members(env="e")) == ([3], [2]), "by model, by environment")
    _expect(members(task_slug="task-1", since=now + 2) == [5, 3], "by task and time")
    _expect(members(since=now + 1, until=now + 3) == [2, 1], "until a moment, without it")
    _expect(not store.list_runs(team=f"{team}-other"), "another team's runs are not listed")

    def names(**asked: str) -> list[str]:
        filters = JobFilter(**asked)  # pyright: ignore[reportArgumentType]
        return [listed.job.name for listed in store.list_jobs(filters, team=team)]

    _expect(names(name="größe") == ["Größe 100%"], "jobs are found by a part of their name")
    _expect(names(name="0%") == ["Größe 100%"] and not names(name="_"), "as it is spelled")
    _expect((names(taskset="a"), names(model="m")) == (["Größe 100%"], ["other"]), "by taskset")
    store.close()


async def an_invalid_run_is_shown_and_not_counted(open_again: StoreFactory, team: str) -> None:
    """A run that a person marked is in no mean, until the mark is taken back."""
    store = open_again()
    job = JobRow(id=new_id(), created_at=_now(), name="job", team=team)
    runs = [
        RunStart(id=new_id(), job_id=job.id, task_slug="t", member=n, started_at=n, team=team)
        for n in range(3)
    ]
    store.put(job)
    for number, run in enumerate(runs):
        store.put(run)
        store.put(_end(run.id, team, job.id, None if number == 2 else float(number)))
    store.put(JobEnd(id=job.id, status="completed", ended_at=_now(), team=team))
    await store.committed()
    marked = store.mark_invalid(runs[0].id[:12], "wrong image", actor="ann", team=team)
    _expect(marked.invalid_reason == "wrong image", "a marked run says why")
    store.mark_invalid(runs[2].id, "same", actor="ann", team=team)
    [listed] = store.list_jobs(team=team)
    counts = listed.counts
    _expect(
        (counts.runs, counts.graded, counts.invalid, counts.mean_reward, counts.ungraded)
        == (3, 1, 2, 1.0, {}),
        "an invalid run is in no mean and no other count",
    )
    _expect(
        [each.invalid_reason for each in store.latest_attempts(job.id, team=team)]
        == ["wrong image", None, "same"],
        "a resume is told what does not count",
    )
    store.mark_invalid(runs[0].id, None, actor="bob", team=team)
    counts = store.summarise(store.find_job(job.id, team=team)).counts
    _expect((counts.graded, counts.mean_reward) == (2, 0.5), "a mark can be taken back")
    try:
        store.mark_invalid(runs[0].id, "x", actor="eve", team=f"{team}-other")
    except InputError:
        pass
    else:
        raise AssertionError("another team's run cannot be marked")
    store.close()


async def text_that_no_database_takes_is_mended(open_again: StoreFactory, team: str) -> None:
    """Zeros and half characters are replaced, and take no row with them."""
    store = open_again()
    job = JobRow(id=new_id(), created_at=1, name="a\0b", spec={"k": "\0\ud800"}, team=team)
    run = RunStart(id=new_id(), job_id=job.id, task_slug="t\0", started_at=1, team=team)
    store.put(job)
    store.put(run)
    store.put(StepRow(run_id=run.id, seq=1, payload=b'{"a": "\0\xff"}', team=team))
    store.put(
        DebugSpanRow(run_id=run.id, span_id="01" * 8, name="\0\udfff", payload=b"{}", team=team)
    )
    store.put(
        RunEnd(
            id=run.id,
            job_id=job.id,
            status="error",
            outcome=Outcome.MODEL,
            error="\0 half \ud83d",
            ended_at=2,
            team=team,
        )
    )
    await store.committed()
    found = store.find_job(job.id, team=team)
    _expect((found.name, found.spec) == ("a\ufffdb", {"k": "\0\ufffd"}), "a job is mended")
    ended = store.find_run(run.id, team=team)
    _expect((ended.task_slug, ended.error) == ("t\ufffd", "\ufffd half ?"), "a run is mended")
    [step] = store.read_steps(run.id, team=team)
    _expect(step.payload.decode() == '{"a": "\ufffd\ufffd"}', "a step is mended")
    _expect(store.read_debug_spans(run.id, team=team)[0].name == "\ufffd?", "a name is mended")
    store.close()


async def what_spans_used_is_counted_once(open_again: StoreFactory, team: str) -> None:
    """A run used what its steps did, however often and in whatever order they are reported."""
    store = open_again()
    run_id, job_id = new_id(), new_id()
    store.put(_place(run_id, team))
    priced = Used(prompt_tokens=10, completion_tokens=2, llm_calls=1, turns=1, known_cost_usd=0.25)
    unpriced = Used(prompt_tokens=5, cached_tokens=3, llm_calls=2, turns=1, unpriced_turns=1)

    def put(*spans: int) -> None:
        for span in spans:
            used = (priced, priced, unpriced)[span - 1]
            row = _span(run_id, team, span, seq=span)
            store.put(msgspec.structs.replace(row, used=used))

    put(2)
    await store.committed()
    put(1, 2, 1)
    await store.committed()
    run = store.find_run(run_id, team=team)
    _expect((run.turns, run.prompt_tokens, run.cost_usd) == (2, 20, 0.5), "each step counts once")
    store.put(_end(run_id, team))
    await store.committed()
    put(3, 2)
    store.put(_end(run_id, team))
    await store.committed()
    run = store.find_run(run_id, team=team)
    _expect(
        (run.turns, run.prompt_tokens, run.completion_tokens, run.cached_tokens, run.llm_calls)
        == (3, 25, 4, 3, 4),
        "steps that come after the end count too",
    )
    _expect(
        (run.unpriced_turns, run.known_cost_usd, run.cost_usd) == (1, 0.5, None),
        "a turn of unknown price makes the cost unknown",
    )
    store.put(RunStart(id=job_id, job_id=job_id, task_slug="t", started_at=_now(), team=team))
    step = StepRow(run_id=job_id, seq=1, payload=b"{}", span_id=f"{9:016x}", used=priced, team=team)
    store.put(step)
    store.put(msgspec.structs.replace(_end(job_id, team, job_id), turns=2, prompt_tokens=7))
    await store.committed()
    run = store.find_run(job_id, team=team)
    _expect((run.turns, run.prompt_tokens) == (2, 7), "an end that counted more turns is right")
    store.close()


RULES = (
    spans_are_stored_once_in_whatever_order,
    no_span_is_lost_for_want_of_a_number,
    a_step_recorded_here_and_reported_is_one,
    a_run_may_be_spoken_of_before_it_began,
    runs_nobody_counted_are_members_of_their_own,
    a_job_heard_of_early_is_filled_in,
    a_reported_job_stands_as_its_runs_do,
    debug_spans_are_kept_apart,
    runs_and_jobs_are_listed_by_what_is_asked,
    an_invalid_run_is_shown_and_not_counted,
    text_that_no_database_takes_is_mended,
    what_spans_used_is_counted_once,
)
