"""The contract of `hud.store.Store`, run against any implementation.

Each rule is one function below; a broken one is an `AssertionError` that says which.
"""

from __future__ import annotations

import base64
import hashlib
import itertools
from collections.abc import Awaitable, Callable

from hud._core import json
from hud._core.errors import InputError
from hud._core.ids import new_id
from hud._core.outcome import Outcome
from hud.store import BlobRow, JobEnd, JobRow, RunEnd, RunStart, StepRow, Store, every_run
from hud.testing import check_changes, check_reported

StoreFactory = Callable[[], Store]

_clock = itertools.count(1_700_000_000_000_000)


async def check_store(open_again: StoreFactory) -> None:
    """Run a store through the whole contract.

    Args:
        open_again: Opens the storage under test; every call opens the same storage anew. It may
            hold other data: the check keeps to teams of its own.

    Raises:
        AssertionError: when a rule is broken, with the rule.
    """
    rules: list[Callable[[StoreFactory, str], Awaitable[None]]] = [
        _what_is_committed_is_there_when_opened_again,
        _putting_twice_stores_once,
        _only_the_first_end_of_a_run_counts,
        _the_latest_attempt_counts,
        _counts_follow_a_job_that_is_taken_up_again,
        _jobs_are_listed_newest_first_in_pages,
        _runs_are_paged_in_order,
        _ids_may_be_dashed_or_shortened,
        _teams_see_only_their_own,
        _long_texts_and_media_come_back_byte_for_byte,
        _secrets_are_not_stored,
        _a_job_is_held_by_one_at_a_time,
        *check_reported.RULES,
        *check_changes.RULES,
    ]
    for rule in rules:
        await rule(open_again, f"check-{new_id()}")


def _now() -> int:
    return next(_clock)


def _job(team: str, name: str = "") -> JobRow:
    return JobRow(id=new_id(), name=name, created_at=_now(), spec={"seed": 7}, team=team)


def _start(job: JobRow, slug: str = "task", member: int = 0, attempt: int = 1) -> RunStart:
    return RunStart(
        id=new_id(),
        job_id=job.id,
        task_slug=slug,
        member=member,
        attempt=attempt,
        started_at=_now(),
        team=job.team,
    )


def _graded(run: RunStart, reward: float) -> RunEnd:
    return RunEnd(
        id=run.id,
        job_id=run.job_id,
        status="completed",
        outcome=Outcome.GRADED,
        reward=reward,
        evaluation={"reward": reward, "info": {"note": "é"}},
        ended_at=_now(),
        prompt_tokens=11,
        completion_tokens=5,
        turns=3,
        unpriced_turns=1,
        known_cost_usd=0.25,
        team=run.team,
    )


def _ungraded(run: RunStart, outcome: Outcome) -> RunEnd:
    return RunEnd(
        id=run.id,
        job_id=run.job_id,
        status="error",
        outcome=outcome,
        error="the endpoint hung up",
        ended_at=_now(),
        team=run.team,
    )


def _expect(holds: bool, rule: str) -> None:
    if not holds:
        raise AssertionError(rule)


def _refused(action: Callable[[], object], rule: str) -> str:
    try:
        action()
    except InputError as error:
        return str(error)
    raise AssertionError(rule)


async def _what_is_committed_is_there_when_opened_again(
    open_again: StoreFactory, team: str
) -> None:
    store = open_again()
    job = _job(team, "first")
    run = _start(job)
    store.put(job)
    store.put(run)
    for seq in range(1, 1203):
        payload = json.encode({"seq": seq, "text": "ü\x00\n"})
        store.put(StepRow(run_id=run.id, seq=seq, payload=payload, source="agent", team=team))
    store.put(_graded(run, 0.25))
    await store.committed()
    other = open_again()
    found = other.find_job(job.id, team=team)
    _expect(found.name == "first" and found.spec == {"seed": 7}, "a job comes back as it was put")
    record = other.find_run(run.id, team=team)
    _expect(
        (record.outcome, record.reward, record.status) == (Outcome.GRADED, 0.25, "completed"),
        "a committed end of a run is there when the store is opened again",
    )
    _expect(
        record.evaluation == {"reward": 0.25, "info": {"note": "é"}}
        and (record.prompt_tokens, record.completion_tokens) == (11, 5)
        and (record.turns, record.unpriced_turns, record.known_cost_usd) == (3, 1, 0.25),
        "the evaluation and the usage of a run come back",
    )
    steps = list(other.read_steps(run.id, team=team))
    _expect([step.seq for step in steps] == list(range(1, 1203)), "steps come back in order")
    _expect(
        json.decode(steps[-1].payload) == {"seq": 1202, "text": "ü\x00\n"},
        "a step's payload comes back",
    )
    some = [step.seq for step in other.read_steps(run.id, after=600, limit=3, team=team)]
    _expect(some == [601, 602, 603], "steps are read from any number on, as many as asked for")
    other.close()
    store.close()
    store.close()


async def _putting_twice_stores_once(open_again: StoreFactory, team: str) -> None:
    store = open_again()
    job = _job(team)
    run = _start(job)
    rows = [job, run, StepRow(run_id=run.id, seq=1, payload=b"{}", team=team), _graded(run, 1.0)]
    for _ in range(2):
        for row in rows:
            store.put(row)
        await store.committed()
    _expect(len(list(every_run(store, job.id, team=team))) == 1, "a run put twice is one run")
    _expect(len(list(store.read_steps(run.id, team=team))) == 1, "a step put twice is one step")
    store.close()


async def _only_the_first_end_of_a_run_counts(open_again: StoreFactory, team: str) -> None:
    store = open_again()
    job = _job(team)
    run = _start(job)
    for row in (job, run, _graded(run, 1.0)):
        store.put(row)
    await store.committed()
    store.put(_ungraded(run, Outcome.TIMEOUT))
    await store.committed()
    record = store.find_run(run.id, team=team)
    _expect(record.outcome is Outcome.GRADED, "a graded run stays graded")
    store.close()


async def _the_latest_attempt_counts(open_again: StoreFactory, team: str) -> None:
    store = open_again()
    job = _job(team)
    first, second = _start(job, attempt=1), _start(job, attempt=2)
    lost = _start(job, member=1)
    open_ended = _start(job, slug="other")
    for row in (job, first, _ungraded(first, Outcome.MODEL), second, _graded(second, 0.5)):
        store.put(row)
    for row in (lost, _ungraded(lost, Outcome.RUNTIME), open_ended):
        store.put(row)
    await store.committed()
    counts = store.summarise(store.find_job(job.id, team=team)).counts
    _expect(
        (counts.runs, counts.attempts, counts.graded, counts.running) == (3, 4, 1, 1),
        "a job is counted by members, each by its latest attempt",
    )
    _expect(counts.ungraded == {Outcome.RUNTIME: 1}, "ungraded members are counted by outcome")
    _expect(counts.mean_reward == 0.5, "the mean is over graded members only")
    latest = [
        (each.task_slug, each.member, each.attempt, each.outcome)
        for each in store.latest_attempts(job.id, team=team)
    ]
    _expect(
        latest
        == [
            ("other", 0, 1, None),
            ("task", 0, 2, Outcome.GRADED),
            ("task", 1, 1, Outcome.RUNTIME),
        ],
        "a resume is told the latest attempt of every member, in order",
    )
    store.close()


async def _counts_follow_a_job_that_is_taken_up_again(open_again: StoreFactory, team: str) -> None:
    store = open_again()
    job = _job(team)
    first, second = _start(job), _start(job, member=1)
    store.put(job)
    store.put(first)
    store.put(_graded(first, 1.0))
    store.put(JobEnd(id=job.id, status="interrupted", ended_at=_now(), worked_s=1.5, team=team))
    await store.committed()
    [listed] = store.list_jobs(team=team)
    _expect(
        (listed.counts.graded, listed.job.status, listed.job.worked_s) == (1, "interrupted", 1.5),
        "an ended job is listed with its counts and its status",
    )
    store.put(job)
    store.put(second)
    store.put(_graded(second, 0.0))
    await store.committed()
    [listed] = store.list_jobs(team=team)
    _expect(
        (listed.counts.graded, listed.counts.mean_reward, listed.job.ended_at) == (2, 0.5, None),
        "a job that is taken up again is counted anew",
    )
    for spec in ({"seed": 8}, None):
        store.put(JobRow(id=job.id, created_at=job.created_at, spec=spec, team=team))
        await store.committed()
        kept = store.find_job(job.id, team=team)
        _expect(kept.spec == {"seed": 8}, "a job takes a new spec over, and keeps it without one")
    store.close()


async def _jobs_are_listed_newest_first_in_pages(open_again: StoreFactory, team: str) -> None:
    store = open_again()
    jobs = [_job(team, str(number)) for number in range(5)]
    for job in jobs:
        store.put(job)
    await store.committed()
    first = store.list_jobs(limit=3, team=team)
    rest = store.list_jobs(limit=3, before=first[-1].job, team=team)
    names = [listed.job.name for listed in first + rest]
    _expect(names == ["4", "3", "2", "1", "0"], "jobs are listed newest first, page after page")
    store.close()


async def _runs_are_paged_in_order(open_again: StoreFactory, team: str) -> None:
    store = open_again()
    job = _job(team)
    store.put(job)
    keys = [(slug, member) for slug in ("b", "a") for member in (1, 0, 2)]
    for slug, member in keys:
        store.put(_start(job, slug, member))
    await store.committed()
    first = store.runs_of(job.id, limit=4, team=team)
    rest = store.runs_of(job.id, limit=4, after=first[-1], team=team)
    read = [(run.task_slug, run.member) for run in first + rest]
    _expect(read == sorted(keys), "the runs of a job come in order, page after page")
    store.close()


async def _ids_may_be_dashed_or_shortened(open_again: StoreFactory, team: str) -> None:
    store = open_again()
    one = JobRow(id="ab" * 16, created_at=_now(), team=team)
    two = JobRow(id="ab" * 15 + "ac", created_at=_now(), team=team)
    store.put(one)
    store.put(two)
    await store.committed()
    dashed = "ABABABAB-ABAB-ABAB-ABAB-ABABABABABAB"
    _expect(store.find_job(dashed, team=team).id == one.id, "a dashed id is the same id")
    _expect(store.find_job("ab" * 15 + "ac", team=team).id == two.id, "a whole id finds its job")
    sentence = _refused(lambda: store.find_job("abab", team=team), "an ambiguous id is refused")
    _expect(one.id in sentence and two.id in sentence, "the refusal names what matches")
    _refused(lambda: store.find_job("cc", team=team), "an unknown id is refused")
    _refused(lambda: store.find_job("no id", team=team), "what is no id is refused")
    _refused(lambda: store.find_job("", team=team), "an empty id is refused")
    store.close()


async def _teams_see_only_their_own(open_again: StoreFactory, team: str) -> None:
    store = open_again()
    job = _job(team)
    run = _start(job)
    content = new_id().encode()
    for row in (job, run, StepRow(run_id=run.id, seq=1, payload=b"{}", team=team)):
        store.put(row)
    store.put(BlobRow(content=content, team=team))
    await store.committed()
    other = f"{team}-other"
    _refused(lambda: store.find_job(job.id, team=other), "a job of another team is not found")
    _refused(lambda: store.find_run(run.id, team=other), "a run of another team is not found")
    _expect(not store.list_jobs(team=other), "another team's jobs are not listed")
    _expect(not store.runs_of(job.id, team=other), "another team's runs are not listed")
    _expect(not store.latest_attempts(job.id, team=other), "another team's attempts are hidden")
    _expect(not list(store.read_steps(run.id, team=other)), "another team's steps are hidden")
    sha256 = _sha256(content)
    _expect(store.read_blob(sha256, team=team) == content, "a blob comes back")
    _refused(lambda: store.read_blob(sha256, team=other), "another team's blob is not found")
    store.close()


async def _long_texts_and_media_come_back_byte_for_byte(
    open_again: StoreFactory, team: str
) -> None:
    store = open_again()
    job = _job(team)
    run = _start(job)
    image = base64.b64encode(bytes(range(256)) * 64).decode()
    document = {
        "text": 'αβγ\U0001f600\x00\\"' * 200_000,
        "screen": {"type": "image", "mimeType": "image/png", "data": image},
        "url": f"data:image/jpeg;base64,{image}",
        "$blob": "what a step says is not a reference",
        "$$blob": {"$blob": "0" * 64},
    }
    payload = json.encode(document)
    for row in (job, run, StepRow(run_id=run.id, seq=1, payload=payload, team=team)):
        store.put(row)
    await store.committed()
    [step] = store.read_steps(run.id, team=team)
    _expect(json.decode(step.payload) == document, "a long payload comes back byte for byte")
    [bare] = store.read_steps(run.id, resolve=False, team=team)
    _expect(len(bare.payload) < 4096, "long texts and media are kept outside of the payload")
    reference = json.decode(bare.payload)["screen"]["data"]
    _expect(
        reference["media_type"] == "image/png"
        and store.read_blob(reference["$blob"], team=team) == base64.b64decode(image),
        "media are blobs of their own type",
    )
    store.close()


async def _secrets_are_not_stored(open_again: StoreFactory, team: str) -> None:
    store = open_again()
    secret = "sk-ant-" + new_id()
    job = JobRow(id=new_id(), created_at=_now(), spec={"key": secret}, team=team)
    run = _start(job)
    payload = json.encode({"text": f"key {secret}"})
    for row in (job, run, StepRow(run_id=run.id, seq=1, payload=payload, team=team)):
        store.put(row)
    store.put(
        RunEnd(
            id=run.id,
            job_id=job.id,
            status="error",
            outcome=Outcome.MODEL,
            error=f"401 for {secret}",
            ended_at=_now(),
            evaluation={"note": secret},
            team=team,
        )
    )
    await store.committed()
    seen = (
        repr(store.find_job(job.id, team=team)),
        repr(store.find_run(run.id, team=team)),
        repr(list(store.read_steps(run.id, team=team))),
    )
    _expect(not any(secret in text for text in seen), "no secret is stored")
    store.close()


async def _a_job_is_held_by_one_at_a_time(open_again: StoreFactory, team: str) -> None:
    store, other = open_again(), open_again()
    job = _job(team)
    run = _start(job)
    store.put(job)
    store.put(run)
    await store.committed()
    with store.lock_job(job.id):

        def take() -> None:
            with other.lock_job(job.id):
                pass

        _refused(take, "a job that is being worked on cannot be taken up again")
        _expect(other.find_job(job.id, team=team).status == "running", "a held job is running")
        _expect(not other.find_run(run.id, team=team).is_interrupted, "its runs are going on")
    take()
    _expect(
        other.find_job(job.id, team=team).status == "interrupted",
        "a job that never ended and that nobody holds is interrupted",
    )
    _expect(other.find_run(run.id, team=team).is_interrupted, "and so are its open runs")
    other.close()
    store.close()


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
