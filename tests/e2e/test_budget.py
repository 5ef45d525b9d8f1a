"""A job ends when its budget is used up: what is graded is kept, what is not is no zero."""

from __future__ import annotations

import asyncio
import logging
import re
import signal
from collections.abc import AsyncGenerator, Generator
from pathlib import Path
from typing import Any

import pytest

from hud._core.errors import ModelFault
from hud._core.outcome import Outcome
from hud.agents.run import Run
from hud.environment.task import Task
from hud.eval import Budget, Job, LocalRuntime, Provider, SubprocessRuntime, Taskset
from hud.eval.recording import default_store
from hud.eval.results import read_results
from hud.eval.schedule import Stop
from hud.eval.spending import Spent
from hud.trace.steps import AgentStep, Step, SubagentStep, Trace, Usage
from tests.e2e.hud_command import Shell, until
from tests.rollouts import Gate, assert_ungraded, echo, forever, leap, recorded, recorded_in
from tests.saying import DEADLINE_S, Watcher, options, words

SAYING = """
from hud import Environment
env = Environment(name="say")
@env.template()
async def say(word: str):
    answer = yield f"say {word}"
    yield float(answer == word)
tasks = [say(word=f"w{n}") for n in range(20)]
"""


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[Path]:
    with recorded_in(tmp_path, monkeypatch) as home:
        yield home


def turn(cost_usd: float | None = 0.1, *, tokens: int = 10, model: str = "m") -> AgentStep:
    usage = Usage(prompt_tokens=tokens - 1, completion_tokens=1, cost_usd=cost_usd)
    return AgentStep(content="…", model=model, usage=usage)


def _counted(spent: Spent) -> tuple[Any, ...]:
    return (
        spent.turns,
        spent.prompt_tokens,
        spent.completion_tokens,
        spent.unpriced_turns,
        pytest.approx(spent.known_cost_usd),
    )


async def one_turn(run: Run) -> str:
    run.record(turn())
    return await echo(run)


async def three_turns(run: Run) -> str:
    for _ in range(3):
        run.record(turn())
        await asyncio.sleep(0)
    return await echo(run)


def runtime_named(name: str, source: Path) -> Provider:
    return LocalRuntime(source) if name == "local" else SubprocessRuntime(source)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "say.py"
    path.write_text(SAYING)
    return path


@pytest.mark.parametrize("place", ["local", "subprocess"])
async def test_a_budget_reached_by_twenty_rollouts_at_once_keeps_what_is_graded(
    place: str, source: Path
) -> None:
    """Ten of twenty are done after one turn; the others use the budget up in their second."""
    tasks = Taskset.from_file(source)
    quick = set(list(tasks.tasks)[:10])
    everybody, quick_ended = asyncio.Event(), asyncio.Event()
    arrived, graded = 0, 0

    async def agent(run: Run) -> str:
        nonlocal arrived
        arrived += 1
        if arrived == 20:
            everybody.set()
        await everybody.wait()
        run.record(turn())
        if run.slug in quick:
            return await echo(run)
        await quick_ended.wait()
        run.record(turn())
        await asyncio.Event().wait()
        return ""

    def ended(run: Run) -> None:
        nonlocal graded
        graded += run.is_graded
        if graded == 10:
            quick_ended.set()

    async with asyncio.timeout(DEADLINE_S):
        job = await tasks.run(
            agent,
            runtime=runtime_named(place, source),
            options=options(max_concurrent=20, retries=3, observer=Watcher(ended)),
            budget=Budget(cost_usd=2.45),
        )
    assert len(job.runs) == 20
    assert job.attempts == []
    assert {run.slug for run in job.runs if run.is_graded} == quick
    assert job.reward == 1.0
    reason = "the job's budget of $2.45 is used up ($2.50)"
    assert job.ended_early == reason
    for run in job.errors:
        assert_ungraded(run, Outcome.CANCELLED, reason)
    summary = job.statistics()
    assert (summary.graded, summary.mean, summary.coverage) == (10, 1.0, 0.5)
    assert (summary.lower_bound, summary.upper_bound) == (0.5, 1.0)
    assert dict(summary.ungraded_by_cause) == {"cancelled": 10}
    assert _counted(job.spent) == (30, 30 * 9, 30, 0, pytest.approx(3.0))
    assert _counted(read_results(default_store(), job.id).spent) == _counted(job.spent)
    assert default_store().find_job(job.id).status == "cancelled"


@pytest.mark.parametrize("place", ["local", "subprocess"])
async def test_nothing_new_starts_and_a_larger_budget_completes_the_job(
    place: str, source: Path
) -> None:
    tasks = Taskset.from_file(source)
    job = await tasks.run(
        three_turns,
        runtime=runtime_named(place, source),
        max_concurrent=1,
        budget=Budget(steps=8),
    )
    assert [run.outcome for run in job.runs] == [
        Outcome.GRADED,
        Outcome.GRADED,
        Outcome.CANCELLED,
    ]
    assert job.ended_early == "the job's budget of 8 model turns is used up (8)"
    owed = dict.fromkeys(tasks.tasks, 1)
    found = read_results(default_store(), job.id, owed=owed)
    assert (found.summary.graded, found.summary.mean, found.summary.runs) == (2, 1.0, 20)
    assert dict(found.summary.ungraded_by_cause) == {"not run": 17, "cancelled": 1}
    assert (found.summary.lower_bound, found.summary.upper_bound) == (0.1, 1.0)

    from hud.eval.resume import read_attempts
    from hud.eval.running import run_taskset

    # As another process would: a job of the same id, which knows nothing yet.
    again = Job(job.id, job.name)
    graded, attempts = read_attempts(default_store(), again, tasks.tasks)
    await run_taskset(
        "say",
        list(tasks),
        one_turn,
        runtime=runtime_named(place, source),
        job=again,
        graded=graded,
        attempts=attempts,
        budget=Budget(steps=8 + 18 + 1),
    )
    assert (len(again.runs), again.reward, again.ended_early) == (20, 1.0, None)
    assert again.spent.turns == 8 + 18, "what the first part used counts"
    assert _counted(read_results(default_store(), job.id).spent) == _counted(again.spent)
    assert default_store().find_job(job.id).status == "completed"


async def test_what_was_spent_before_counts_and_a_budget_used_up_starts_nothing() -> None:
    tasks = words(3)
    job = await tasks.run(one_turn)
    assert (job.spent.tokens, job.spent.known_cost_usd) == (30, pytest.approx(0.3))
    await tasks.run(one_turn, job=job, budget=Budget(tokens=30))
    assert len(job.runs) == 3
    assert job.ended_early == "the job's budget of 30 tokens is used up (30)"
    await tasks.run(one_turn, job=job, budget=Budget(tokens=61))
    assert (len(job.runs), job.ended_early, job.spent.tokens) == (6, None, 60)
    fresh = Job(job.id, job.name)
    await tasks.run(one_turn, job=fresh, budget=Budget(cost_usd=0.6))
    assert fresh.runs == []
    assert fresh.ended_early == "the job's budget of $0.60 is used up ($0.60)"


async def test_the_agent_whose_last_turn_uses_the_budget_up_is_graded() -> None:
    tasks = words(4)
    job = await tasks.run(one_turn, max_concurrent=1, budget=Budget(cost_usd=0.2))
    assert [run.reward for run in job.runs] == [1.0, 1.0]
    assert job.ended_early == "the job's budget of $0.20 is used up ($0.20)"


async def test_a_job_that_ends_with_its_budget_is_complete() -> None:
    job = await words(2).run(one_turn, max_concurrent=1, budget=Budget(cost_usd=0.2))
    assert (job.reward, len(job.errors), job.ended_early) == (1.0, 0, None)
    assert default_store().find_job(job.id).status == "completed"


async def test_a_grade_under_way_is_waited_for() -> None:
    from hud import Environment

    gate = Gate()
    env = Environment(name="slow")

    @env.template()
    async def slow(number: int) -> AsyncGenerator[Any, Any]:
        answer = yield f"say w{number}"
        if number == 0:
            await gate()
        yield float(answer == f"w{number}")

    async def agent(run: Run) -> str:
        if run.args["number"] == 1:
            await gate.reached.wait()
            run.record(turn())
            asyncio.get_running_loop().call_soon(gate.opened.set)
            await forever()
        return await echo(run)

    async with asyncio.timeout(DEADLINE_S):
        job = await Taskset([slow(number=0), slow(number=1)]).run(agent, budget=Budget(steps=1))
    results = {run.args["number"]: run for run in job.runs}
    assert results[0].reward == 1.0
    assert_ungraded(results[1], Outcome.CANCELLED, "budget of 1 model turn is used up (1)")


async def test_a_grade_that_takes_too_long_is_given_up_and_names_the_budget() -> None:
    from hud import Environment

    env = Environment(name="stuck")
    grading = asyncio.Event()

    @env.template()
    async def stuck() -> AsyncGenerator[Any, Any]:
        yield "say it"
        grading.set()
        await forever()
        yield 1.0

    async def agent(run: Run) -> str:
        if run.member == 1:
            await grading.wait()
            run.record(turn())
            await forever()
        return "it"

    async with asyncio.timeout(DEADLINE_S):
        job = await Taskset([stuck()]).run(
            agent, group=2, options=options(stop=Stop(grace_s=0.01)), budget=Budget(steps=1)
        )
    assert len(job.errors) == 2
    for run in job.runs:
        assert_ungraded(run, Outcome.CANCELLED, "budget of 1 model turn is used up (1)")


async def test_time_that_is_over_ends_agents_that_wait() -> None:
    begun = 0

    async def agent(run: Run) -> str:
        nonlocal begun
        if run.args["word"] == "w0":
            return await echo(run)
        begun += 1
        if begun == 2:
            leap(3600)
        await forever()
        return ""

    job = await words(5).run(agent, max_concurrent=2, budget=Budget(wall_s=3600))
    assert sorted(str(run.outcome) for run in job.runs) == ["cancelled", "cancelled", "graded"]
    assert job.ended_early is not None
    assert job.ended_early.startswith("the job's budget of 3,600 s is used up (3,6")
    for run in job.errors:
        assert_ungraded(run, Outcome.CANCELLED, job.ended_early)


async def test_the_time_of_earlier_parts_counts() -> None:
    async def agent(run: Run) -> str:
        leap(50)
        return await echo(run)

    tasks = words(2)
    job = await tasks.run(agent, max_concurrent=1)
    assert job.meter.wall_s >= 100
    for part in (job, Job(job.id, job.name)):
        before = len(part.runs)
        await tasks.run(echo, job=part, budget=Budget(wall_s=100))
        assert len(part.runs) == before
        assert (part.ended_early or "").startswith("the job's budget of 100 s is used up (1")


async def test_what_an_agent_makes_of_being_stopped_is_neither_its_fault_nor_tried_again() -> None:
    async def agent(run: Run) -> str:
        run.record(turn())
        try:
            await forever()
        except asyncio.CancelledError:
            raise ModelFault("the stream was cut") from None
        return ""

    job = await words(1).run(agent, options=options(retries=2), budget=Budget(steps=1))
    [run] = job.runs
    assert_ungraded(run, Outcome.CANCELLED, "budget of 1 model turn is used up")
    assert job.attempts == []


async def test_a_run_that_broke_is_not_tried_again_once_the_budget_is_used_up() -> None:
    async def agent(run: Run) -> str:
        run.record(turn())
        raise ModelFault("down")

    job = await words(1).run(agent, options=options(retries=5), budget=Budget(steps=3))
    assert (len(job.runs), len(job.attempts), job.spent.turns) == (1, 2, 3)
    assert_ungraded(job.runs[0], Outcome.MODEL, "down")


async def test_turns_of_unknown_price_count_nothing_and_that_is_said_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def agent(run: Run) -> str:
        run.record(turn(None, model="mystery"))
        run.record(turn(0.1))
        return await echo(run)

    with caplog.at_level(logging.WARNING, logger="hud"):
        job = await words(3).run(agent, budget=Budget(cost_usd=5))
    assert (job.reward, job.ended_early) == (1.0, None)
    spent = job.spent
    assert (spent.turns, spent.unpriced_turns, spent.cost_usd) == (6, 3, None)
    assert spent.known_cost_usd == pytest.approx(0.3)
    assert [record.getMessage() for record in caplog.records] == [
        (
            "the price of model 'mystery' is unknown: its turns count nothing toward the job's "
            "budget of $5.00"
        )
    ]
    run = job.runs[0]
    assert (run.usage.cost_usd, recorded(run).cost_usd) == (None, None)
    assert (recorded(run).turns, recorded(run).unpriced_turns) == (2, 1)
    assert recorded(run).known_cost_usd == pytest.approx(0.1)


async def test_steps_put_on_the_trace_whole_are_counted_once_at_the_end() -> None:
    async def agent(run: Run) -> str:
        recorded_one = turn()
        run.record(recorded_one)
        run.trace.steps.append(turn())
        return await echo(run)

    job = await words(1).run(agent)
    assert (job.spent.turns, job.spent.known_cost_usd) == (2, pytest.approx(0.2))


async def test_an_agent_that_is_done_with_its_last_turn_is_not_stopped_while_it_tidies_up() -> None:
    async def tidy(run: Run) -> str:
        last = turn()
        last.done = True
        run.record(last)
        for _ in range(5):
            await asyncio.sleep(0)
        return await echo(run)

    async def goes_on(run: Run) -> str:
        last = turn()
        last.done = True
        run.record(last)
        for _ in range(5):
            await asyncio.sleep(0)
        run.record(turn())
        await forever()
        return ""

    assert (await words(1).run(tidy, budget=Budget(steps=1))).reward == 1.0
    job = await words(1).run(goes_on, budget=Budget(steps=1))
    assert_ungraded(job.runs[0], Outcome.CANCELLED, "budget of 1 model turn is used up (1)")


async def test_turns_of_a_subagent_count_when_it_has_ended() -> None:
    async def agent(run: Run) -> str:
        inner = Trace(
            steps=[turn(), SubagentStep(subagent=Trace(steps=[turn()])), Step(source="user")]
        )
        run.record(SubagentStep(subagent=inner))
        await forever()
        return ""

    job = await words(1).run(agent, budget=Budget(steps=2))
    assert job.ended_early == "the job's budget of 2 model turns is used up (2)"
    assert (job.runs[0].usage.llm_call_count, recorded(job.runs[0]).turns) == (2, 2)


async def test_a_stop_may_be_used_for_the_next_job_after_a_budget_ended_one() -> None:
    same = options(max_concurrent=1)
    tasks = words(3)
    job = await tasks.run(one_turn, options=same, budget=Budget(steps=1))
    assert len(job.runs) == 1
    assert (await tasks.run(one_turn, options=same)).reward == 1.0
    same.stop.request()
    assert (await tasks.run(one_turn, options=same)).runs == []


async def test_one_task_takes_a_budget_too() -> None:
    task: Task = next(iter(words(1)))
    job = await task.run(one_turn, group=5, max_concurrent=1, budget=Budget(tokens=25))
    assert (len(job.runs), job.spent.tokens) == (3, 30)


@pytest.mark.parametrize(
    ("limits", "says"),
    [
        ({"cost_usd": 0}, "cost_usd must be a positive number, not 0"),
        ({"cost_usd": float("inf")}, "cost_usd must be a positive number, not inf"),
        ({"cost_usd": True}, "cost_usd must be a positive number, not True"),
        ({"tokens": 1.5}, "tokens must be a positive whole number, not 1.5"),
        ({"steps": -1}, "steps must be a positive whole number, not -1"),
        ({"wall_s": float("nan")}, "wall_s must be a positive number, not nan"),
    ],
)
def test_a_budget_is_positive(limits: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=re.escape(says)):
        Budget(**limits)


def test_a_budget_without_limits_is_none() -> None:
    assert (Budget().limits, str(Budget())) == ({}, "no limit")


# An agent that records turns at 0.25 USD, the third rollout at an unknown price; from the fourth
# rollout on it waits until the test lets it go.
SPENDING = """
import asyncio
from pathlib import Path
from hud import Environment
from hud.agents.types import AgentStep, Usage

here = Path(__file__).parent
env = Environment(name="say")

@env.template()
async def say(n: int):
    answer = yield f"say {n}"
    yield float(answer == str(n))

tasks = [say(n=n) for n in range(6)]
for number, task in enumerate(tasks):
    task.slug = f"say-{number}"

async def agent(run):
    n = run.args["n"]
    cost = None if n == 2 else 0.25
    run.record(AgentStep(model="m", usage=Usage(prompt_tokens=90, completion_tokens=10, cost_usd=cost)))
    (here / f"turn-{n}").touch()
    while n > 3 and not (here / "go").exists():
        await asyncio.sleep(0.01)
    await asyncio.sleep(0)
    return str(n)
"""  # noqa: E501

RUN = ("eval", "tasks.py", "tasks.py:agent", "--all", "--max-concurrent", "1")


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    shell = Shell(tmp_path)
    shell.write("tasks.py", SPENDING)
    return shell


@pytest.mark.parametrize("place", ["local", "subprocess"])
def test_the_command_line_ends_a_job_at_its_budget_and_its_advice_completes_it(
    shell: Shell, place: str
) -> None:
    (shell.folder / "go").touch()
    ended = shell(*RUN, "--runtime", place, "--max-cost", "0.90", "--json")
    assert ended.code == 130, ended.err
    data = ended.data
    assert (data["graded"], data["mean"], data["total"]) == (4, 1.0, 6)
    assert data["ungraded"] == {"not run": 1, "cancelled": 1}
    assert (data["lower_bound"], data["status"]) == (pytest.approx(4 / 6), "cancelled")
    assert (data["turns"], data["unpriced_turns"]) == (5, 1)
    assert (data["cost_usd"], data["known_cost_usd"]) == (None, 1.0)
    assert data["budget"] == {
        "cost_usd": 0.9,
        "tokens": None,
        "steps": None,
        "wall_s": None,
        "used_up": ["cost_usd"],
    }
    [stopped] = [run for run in data["runs"] if run["outcome"] == "cancelled"]
    assert stopped["reward"] is None
    assert stopped["error"].endswith("the job's budget of $0.90 is used up ($1.00)")
    assert ended.err.count("the price of model 'm' is unknown") == 1
    assert "at most $0.90" in ended.err
    assert "stopped: the job's budget of $0.90 is used up ($1.00)" in ended.err

    shown = shell("jobs", data["job_id"])
    assert "cost ≥ $1.00 (1 turn of unknown price)" in shown.out
    assert re.search(r"^budget +\$1\.00 of \$0\.90, used up$", shown.out, re.M), shown.out
    assert "cancelled 1" in shown.out and "not run 1" in shown.out
    header = next(line for line in shown.out.splitlines() if line.startswith("RUN"))
    assert header.split()[-2:] == ["TOKENS", "COST"]

    [advice] = re.findall(r"^hud (eval --resume .*?)  +", ended.err, re.M)
    assert advice.endswith("--max-cost 1.90")
    resumed = shell(*advice.split(), "--json")
    assert resumed.code == 0, resumed.err
    assert (resumed.data["graded"], resumed.data["mean"]) == (6, 1.0)
    assert resumed.data["known_cost_usd"] == 1.5
    assert (resumed.data["budget"]["cost_usd"], resumed.data["budget"]["used_up"]) == (1.9, [])


def test_a_resume_keeps_the_budget_and_may_change_it(shell: Shell) -> None:
    (shell.folder / "go").touch()
    ended = shell(*RUN, "--max-turns", "3", "--max-tokens", "1000", "--json")
    assert (ended.code, ended.data["graded"]) == (130, 2)
    job = ended.data["job_id"]
    assert ended.data["budget"]["steps"] == 3
    kept = shell("eval", "--resume", job, "--json")
    assert (kept.code, kept.data["attempts"]) == (130, 3), "its budget is used up already"
    assert "stopped: the job's budget of 3 model turns is used up (3)" in kept.err
    larger = shell("eval", "--resume", job, "--max-turns", "5", "--json")
    assert (larger.code, larger.data["turns"]) == (130, 5)
    assert (larger.data["budget"]["steps"], larger.data["budget"]["tokens"]) == (5, 1000)
    # The budget that was given last is the one that is kept.
    assert shell("jobs", job, "--json").data["budget"]["steps"] == 5
    whole = shell("eval", "--resume", job, "--max-turns", "50")
    assert whole.code == 0, whole.err
    assert "6 of 6 graded" in whole.out


def test_a_killed_job_counts_what_its_running_rollouts_had_used(shell: Shell) -> None:
    with shell.started(*RUN, "--runtime", "local", "--max-cost", "9") as running:
        until((shell.folder / "turn-4").exists)
        shell_sees = [""]

        def is_kept() -> bool:
            [job] = shell("jobs", "--json").data["jobs"]
            shell_sees[0] = job["id"]
            return shell("jobs", job["id"], "--json").data["turns"] == 5

        until(is_kept)
        running.process.send_signal(signal.SIGKILL)
        running.process.wait()
    [job] = shell_sees
    data = shell("jobs", job, "--json").data
    assert (data["turns"], data["known_cost_usd"]) == (5, 1.0)
    assert data["ungraded"] == {"unfinished": 1, "not run": 1}
    resumed = shell("eval", "--resume", job, "--max-cost", "1.00", "--json")
    assert (resumed.code, resumed.data["graded"]) == (130, 4)
    (shell.folder / "go").touch()
    resumed = shell("eval", "--resume", job, "--max-cost", "1.60", "--json")
    assert (resumed.code, resumed.data["graded"], resumed.data["known_cost_usd"]) == (0, 6, 1.5)


def test_time_on_the_command_line_stops_a_rollout_that_waits(shell: Shell) -> None:
    ended = shell(*RUN, "--max-time", "3", "--json")
    assert ended.code == 130, ended.err
    assert 2 <= sum(ended.data["ungraded"].values()) <= 6
    assert ended.data["mean"] in (1.0, None)
    assert "stopped: the job's budget of 3 s is used up (" in ended.err
    assert re.search(r"--max-time \d+ ", ended.err), ended.err
    (shell.folder / "go").touch()
    job = ended.data["job_id"]
    assert shell("eval", "--resume", job).code == 130, "the time is used up already"
    resumed = shell("eval", "--resume", job, "--max-time", "600", "--json")
    assert (resumed.code, resumed.data["graded"]) == (0, 6), resumed.err


@pytest.mark.parametrize(
    ("flag", "value"),
    [("--max-cost", "0"), ("--max-cost", "nan"), ("--max-tokens", "-1"), ("--max-time", "inf")],
)
def test_a_limit_that_is_not_positive_is_bad_input(shell: Shell, flag: str, value: str) -> None:
    refused = shell(*RUN, flag, value)
    assert refused.code == 2
    assert f"{flag} must be a positive number, not {value}" in refused.err
