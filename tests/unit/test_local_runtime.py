"""LocalRuntime: what is fresh per rollout, what is started once, and what goes wrong by name."""

from __future__ import annotations

import asyncio
import gc
import logging
import threading
from collections.abc import AsyncGenerator, Generator
from pathlib import Path
from typing import Any

import pytest

from hud import Environment
from hud._core.errors import EnvironmentFault, InputError
from hud._core.outcome import Outcome
from hud.agents.run import Run
from hud.clients import connect
from hud.environment.runtime_config import RuntimeConfig
from hud.environment.task import Task
from hud.eval import LocalRuntime, Shared, Taskset, rollout
from hud.runtimes.base import Provider, Runtime, provider_scope
from tests.rollouts import Counting, assert_ungraded, echo, forever, leap, recorded_in

Steps = AsyncGenerator[Any, Any]

FRESH = """
from hud import Environment
import beside

env = Environment(name="fresh")
count = 0

@env.initialize
async def begin():
    beside.log.append("begin")

@env.shutdown
async def end():
    with open(__file__ + ".ended", "a") as file:
        file.write("x")

@env.template()
async def say():
    global count
    count += 1
    beside.count += 1
    yield f"say {count}-{beside.count}-{len(beside.log)}"
    yield 1.0
"""


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[Path]:
    with recorded_in(tmp_path, monkeypatch) as home:
        yield home


@pytest.fixture
def fresh(tmp_path: Path) -> Path:
    path = tmp_path / "source" / "env.py"
    path.parent.mkdir()
    path.write_text(FRESH)
    path.with_name("beside.py").write_text("count = 0\nlog = []\n")
    return path


class Hooked:
    """A live environment whose hooks are counted."""

    def __init__(self) -> None:
        self.env = env = Environment(name="hooked")
        self.began = self.ended = 0
        self.is_up = False

        @env.initialize
        async def begin() -> None:
            await asyncio.sleep(0)
            self.began += 1
            self.is_up = True

        @env.shutdown
        async def end() -> None:
            await asyncio.sleep(0)
            self.ended += 1
            self.is_up = False

        @env.template()
        async def say(word: str = "yes") -> Steps:
            assert self.is_up
            answer = yield f"say {word}"
            assert self.is_up
            yield float(answer == word)

    def task(self, **args: Any) -> Task:
        return self.env.tasks["say"](**args)


async def test_a_path_is_executed_afresh_for_every_rollout_with_its_neighbours(
    fresh: Path,
) -> None:
    row = Task(env="fresh", id="say")
    async with LocalRuntime(fresh) as runtime:
        job = await Taskset([row]).run(echo, runtime=runtime, group=6, max_concurrent=3)
    assert [run.prompt for run in job.runs] == ["say 1-1-1"] * 6
    assert Path(f"{fresh}.ended").read_text() == "x" * 6


async def test_a_change_of_the_source_is_seen_by_the_next_rollout(fresh: Path) -> None:
    runtime, row = LocalRuntime(fresh.parent), Task(env="fresh", id="say")
    first = await rollout(row, echo, runtime=runtime)
    fresh.write_text(FRESH.replace('f"say {count}', 'f"shout {count}'))
    second = await rollout(row, echo, runtime=runtime)
    assert (first.prompt, second.prompt) == ("say 1-1-1", "shout 1-1-1")


async def test_a_constructor_is_called_for_every_rollout_with_its_task() -> None:
    made: list[tuple[str, Environment]] = []

    def make(row: Task) -> Environment:
        hooked = Hooked()
        made.append((row.slug, hooked.env))
        return hooked.env

    rows = [Task(env="hooked", id="say", slug=slug) for slug in "abc"]
    job = await Taskset(rows).run(echo, runtime=LocalRuntime(make))
    assert job.reward == 1.0
    assert sorted(slug for slug, _ in made) == ["a", "b", "c"]
    assert len({id(env) for _, env in made}) == 3


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("import nothing_of_that_name", "env.py line 1 raised ModuleNotFoundError"),
        ("def broken(:", "env.py line 1: invalid syntax"),
        ("x = 1", "env.py has no environment 'fresh'"),
        ("raise SystemExit(3)", "env.py line 1 raised SystemExit: 3"),
        (FRESH + "\n@env.initialize\nasync def f(): raise OSError('no disk')", "OSError: no disk"),
    ],
)
async def test_a_source_that_breaks_is_named_environment(fresh: Path, text: str, says: str) -> None:
    fresh.write_text(text)
    run = await rollout(Task(env="fresh", id="say"), echo, runtime=LocalRuntime(fresh))
    assert_ungraded(run, Outcome.ENVIRONMENT, says)


async def test_a_constructor_that_breaks_is_named_environment() -> None:
    def breaks(row: Task) -> Environment:
        raise KeyError(row.slug)

    def forgets(row: Task) -> Environment:
        return None  # type: ignore[return-value]

    row = Task(env="x", id="say")
    run = await rollout(row, echo, runtime=LocalRuntime(breaks))
    assert_ungraded(run, Outcome.ENVIRONMENT, "the environment constructor raised KeyError: 'say'")
    run = await rollout(row, echo, runtime=LocalRuntime(forgets))
    assert_ungraded(run, Outcome.ENVIRONMENT, "the constructor gave LocalRuntime no Environment")


def test_what_is_no_source_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="must be a path, an Environment or a function of a task"):
        LocalRuntime(3)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="does not exist"):
        LocalRuntime(tmp_path / "nothing.py")


async def test_a_row_that_asks_for_a_machine_is_refused() -> None:
    hooked = Hooked()
    row = hooked.task()
    row.runtime_config = RuntimeConfig(image="ubuntu")
    run = await rollout(row, echo, runtime=LocalRuntime(hooked.env))
    assert_ungraded(run, Outcome.ENVIRONMENT, "asks for a runtime_config")


# -- live environments -----------------------------------------------------------------------


async def test_a_live_environment_is_started_once_and_serves_concurrent_sessions() -> None:
    hooked = Hooked()
    barrier = asyncio.Barrier(8)

    async def agent(run: Run) -> str:
        async with barrier:
            return await echo(run)

    rows = [hooked.task(word=f"w{n}") for n in range(8)]
    job = await Taskset("live", rows).run(agent)
    assert (job.reward, hooked.began, hooked.ended) == (1.0, 1, 1)
    assert len({run.runtime for run in job.runs}) == 1


async def test_jobs_and_rollouts_side_by_side_share_one_start_and_nobody_is_cut_off() -> None:
    hooked = Hooked()
    first_left = asyncio.Event()

    async def agent(run: Run) -> str:
        if run.args.get("word") == "last":
            await first_left.wait()
        return await echo(run)

    async def first() -> None:
        await Taskset([hooked.task(word="first")]).run(agent)
        await rollout(hooked.task(word="again"), agent, runtime=LocalRuntime(hooked.env))
        first_left.set()

    last = Taskset([hooked.task(word="last")]).run(agent)
    _, job = await asyncio.gather(first(), last)
    assert (job.reward, hooked.began, hooked.ended) == (1.0, 1, 1)


async def test_who_comes_while_a_live_environment_stops_gets_it_started_again() -> None:
    hooked = Hooked()
    runtime = LocalRuntime(hooked.env)
    for turns in range(40):
        first = asyncio.create_task(rollout(hooked.task(), echo, runtime=runtime))
        for _ in range(turns):
            await asyncio.sleep(0)
        runs = [await rollout(hooked.task(), echo, runtime=runtime), await first]
        assert [run.reward for run in runs] == [1.0, 1.0], [run.trace.error for run in runs]
    assert hooked.began == hooked.ended
    assert not hooked.is_up


async def test_a_live_environment_that_fails_to_start_fails_every_rollout_by_name() -> None:
    env = Environment(name="broken")
    tries = 0

    @env.initialize
    async def begin() -> None:
        nonlocal tries
        tries += 1
        raise OSError("no disk")

    @env.template()
    async def say() -> Steps:
        yield "?"
        yield 1.0

    job = await Taskset([say()]).run(echo, group=3)
    assert [run.outcome for run in job.runs] == [Outcome.ENVIRONMENT] * 3
    assert "initialize hook 'begin' raised OSError: no disk" in (job.runs[0].trace.error or "")
    assert tries == 3


@pytest.mark.parametrize("kind", ["live", "fresh"])
async def test_initialize_hooks_that_take_too_long_are_named(kind: str) -> None:
    env = Environment(name="slow")

    @env.initialize
    async def begin() -> None:
        leap(11)
        await forever()

    @env.template()
    async def say() -> Steps:
        yield "?"
        yield 1.0

    def make(row: Task) -> Environment:
        return env

    runtime = LocalRuntime(env if kind == "live" else make, ready_timeout=10)
    with pytest.raises(EnvironmentFault, match="'slow' was not ready within 10 s"):
        async with runtime(say()):
            pytest.fail("it was yielded")


async def test_a_scope_may_be_entered_many_times_and_leaves_no_thread() -> None:
    before = threading.active_count()
    runtime = LocalRuntime(Hooked().env)
    async with runtime:
        async with runtime, runtime:
            assert threading.active_count() == before + 1
        assert threading.active_count() == before + 1
    assert threading.active_count() == before


async def test_code_that_blocks_the_loop_is_reported_with_its_file_and_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hud._core.watchdog.BLOCKED_S", 0.05)
    reported = threading.Event()

    class Listening(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            reported.set()

    handler = Listening()
    logging.getLogger("hud._core.watchdog").addHandler(handler)
    path = tmp_path / "blocks.py"
    path.write_text(
        "from hud import Environment\n"
        "env = Environment(name='blocks')\n"
        "wait = None\n"
        "@env.template()\n"
        "async def block():\n"
        "    import sys\n"
        "    sys.modules['__main__'].reported_by_test.wait(30)\n"
        "    yield 'say yes'\n"
        "    yield 1.0\n"
    )
    import sys

    monkeypatch.setattr(sys.modules["__main__"], "reported_by_test", reported, raising=False)
    job = await Taskset([Task(env="blocks", id="block")]).run(echo, runtime=LocalRuntime(path))
    logging.getLogger("hud._core.watchdog").removeHandler(handler)
    assert job.reward == 1.0
    assert f"{path}:7 (block) has blocked the event loop" in caplog.text
    assert "SubprocessRuntime" in caplog.text


# -- shared places ---------------------------------------------------------------------------


def say_env(name: str = "shared") -> Environment:
    env = Environment(name=name)

    @env.template()
    async def say(word: str = "yes") -> Steps:
        answer = yield f"say {word}"
        yield float(answer == word)

    return env


def rows_of(name: str, count: int) -> list[Task]:
    return [Task(env=name, id="say", args={"word": f"{name}{n}"}) for n in range(count)]


async def test_shared_makes_at_most_width_places_and_uses_each_for_one_at_a_time() -> None:
    inner = Counting(LocalRuntime(lambda row: say_env()))
    using: dict[str | None, int] = {}

    async def agent(run: Run) -> str:
        using[run.runtime] = using.get(run.runtime, 0) + 1
        assert using[run.runtime] == 1
        await asyncio.sleep(0)
        using[run.runtime] -= 1
        return await echo(run)

    job = await Taskset("s", rows_of("shared", 12)).run(agent, runtime=Shared(inner, width=3))
    assert (job.reward, inner.entered, len({run.runtime for run in job.runs})) == (1.0, 3, 3)
    assert inner.is_even


async def test_shared_needs_an_open_scope_and_a_width() -> None:
    shared = Shared(LocalRuntime(say_env()), width=1)
    run = await rollout(rows_of("shared", 1)[0], echo, runtime=shared)
    assert_ungraded(run, Outcome.RUNTIME, "Shared: open its scope first")
    with pytest.raises(ValueError, match="width must be at least 1"):
        Shared(LocalRuntime(say_env()), width=0)


async def test_a_place_that_failed_to_be_made_does_not_block_those_who_wait() -> None:
    tries = 0

    async def fail_once() -> None:
        nonlocal tries
        tries += 1
        await asyncio.sleep(0)
        if tries == 1:
            raise OSError("no machine")

    inner = Counting(LocalRuntime(lambda row: say_env()), on_enter=fail_once)
    async with asyncio.timeout(60):
        job = await Taskset("s", rows_of("shared", 4)).run(echo, runtime=Shared(inner, width=1))
    assert sorted(run.outcome or "" for run in job.runs) == [
        "graded",
        "graded",
        "graded",
        "runtime",
    ]


async def test_a_shared_place_whose_environment_broke_is_not_handed_out_again() -> None:
    inner = Counting(LocalRuntime(lambda row: say_env()))

    async def agent(run: Run) -> str:
        if run.args["word"] == "shared0":
            run.client.abort()
            await forever()
        return await echo(run)

    shared = Shared(inner, width=1)
    job = await Taskset("s", rows_of("shared", 3)).run(agent, runtime=shared, max_concurrent=1)
    assert [run.outcome for run in job.runs] == [Outcome.RUNTIME, Outcome.GRADED, Outcome.GRADED]
    assert (inner.entered, inner.is_even) == (2, True)


async def test_a_shared_place_that_is_known_to_have_died_is_not_handed_out_again() -> None:
    dead: set[str] = set()

    class Mortal:
        made: list[str]

        def __init__(self) -> None:
            self.made = []

        def __call__(self, row: Task, /) -> Any:
            return self._place(row)

        def _place(self, row: Task) -> Any:
            import contextlib

            @contextlib.asynccontextmanager
            async def place() -> AsyncGenerator[Runtime]:
                async with LocalRuntime(say_env())(row) as inner:
                    self.made.append(inner.url)
                    reason = lambda: "it crashed" if inner.url in dead else None  # noqa: E731
                    yield Runtime(inner.url, {"exit_reason": reason})

            return place()

    inner = Mortal()

    async def agent(run: Run) -> str:
        return await echo(run)

    async with Shared(inner, width=1) as shared:
        await rollout(rows_of("shared", 1)[0], agent, runtime=shared)
        dead.update(inner.made)
        run = await rollout(rows_of("shared", 1)[0], agent, runtime=shared)
    assert (run.reward, len(inner.made)) == (1.0, 2)


async def test_a_fault_of_the_agent_leaves_the_shared_place_in_use() -> None:
    inner = Counting(LocalRuntime(lambda row: say_env()))

    async def agent(run: Run) -> str:
        raise ValueError("own bug")

    job = await Taskset("s", rows_of("shared", 3)).run(agent, runtime=Shared(inner, width=1))
    assert [run.outcome for run in job.runs] == [Outcome.AGENT] * 3
    assert (inner.entered, inner.is_even) == (1, True)


async def test_a_shared_place_serves_only_tasks_of_its_environment() -> None:
    inner = Counting(LocalRuntime(lambda row: say_env(row.env)))
    rows = [row for pair in zip(rows_of("a", 4), rows_of("b", 4), strict=True) for row in pair]
    taskset = Taskset("s", rows)
    job = await taskset.run(echo, runtime=Shared(inner, width=1), max_concurrent=1)
    assert (job.reward, inner.entered, inner.is_even) == (1.0, 8, True)
    job = await taskset.run(echo, runtime=Shared(inner, width=2), max_concurrent=1)
    assert (job.reward, inner.entered, inner.is_even) == (1.0, 10, True)


async def test_a_runtime_is_a_provider_of_itself() -> None:
    env = say_env()
    async with LocalRuntime(env)(rows_of("shared", 1)[0]) as place:
        provider: Provider = place
        async with provider_scope(provider), provider(rows_of("shared", 1)[0]) as itself:
            assert itself is place
        run = await rollout(rows_of("shared", 1)[0], echo, runtime=place)
    assert (run.reward, run.runtime) == (1.0, place.url)


# -- nothing is left behind ------------------------------------------------------------------


def _held(kinds: tuple[str, ...]) -> dict[str, int]:
    gc.collect()
    found = dict.fromkeys(kinds, 0)
    for thing in gc.get_objects():
        name = type(thing).__name__
        if name in found:
            found[name] += 1
    return found


@pytest.mark.parametrize("kind", ["live", "constructor"])
async def test_two_thousand_rollouts_leave_nothing_behind(kind: str) -> None:
    env = say_env()
    runtime = LocalRuntime(env if kind == "live" else lambda row: say_env())
    rows = rows_of("shared", 20)
    kinds = ("MemoryTransport", "ServerConnection", "HudClient", "Recorder", "Session", "Task")

    async def agent(run: Run) -> str:
        if run.member % 10 == 0:
            raise ValueError("some fail")
        return await echo(run)

    async def play(group: int) -> None:
        job = await Taskset("many", rows).run(
            agent, runtime=runtime, group=group, max_concurrent=500
        )
        assert len(job.runs) == 20 * group
        assert job.reward == 1.0

    await play(5)
    before = (_held(kinds), asyncio.all_tasks(), threading.active_count(), _descriptors())
    await play(100)
    after = (_held(kinds), asyncio.all_tasks(), threading.active_count(), _descriptors())
    assert after == before


def _descriptors() -> int:
    return len(list(Path("/dev/fd").iterdir()))


# -- by hand ---------------------------------------------------------------------------------


async def test_a_run_by_hand_starts_and_grades_around_its_block() -> None:
    env = say_env()
    row = rows_of("shared", 1)[0]
    async with LocalRuntime(env)(row) as place, connect(place) as client:
        async with Run(client, row.id, row.args) as run:
            assert run.prompt_text == "say shared0"
            run.trace.content = "shared0"
        assert (run.outcome, run.reward, run.trace.status) == (Outcome.GRADED, 1.0, "completed")
        assert run.evaluation["score"] == 1.0


@pytest.mark.parametrize("best_effort", [False, True])
async def test_a_run_by_hand_whose_block_raises_is_graded_only_when_asked(
    best_effort: bool,
) -> None:
    env = say_env()
    row = rows_of("shared", 1)[0]
    async with LocalRuntime(env)(row) as place, connect(place) as client:
        run = Run(client, row.id, row.args, best_effort_grade=best_effort)
        with pytest.raises(LookupError):
            await _break_in_the_middle(run)
        assert run.is_graded is best_effort
        assert run.trace.status == "error"
        if best_effort:
            assert run.reward == 1.0
        else:
            assert (run.outcome, run.reward != run.reward) == (Outcome.AGENT, True)


async def _break_in_the_middle(run: Run) -> None:
    async with run:
        run.trace.content = "shared0"
        raise LookupError("in the middle")


async def test_a_run_by_hand_that_cannot_be_graded_raises_and_says_why() -> None:
    env = Environment(name="shared")

    @env.template()
    async def say() -> Steps:
        yield "?"
        yield "not a number"

    async with LocalRuntime(env)(say()) as place, connect(place) as client:
        run = Run(client, "say", {})
        with pytest.raises(Exception, match="which is no number"):
            async with run:
                pass
        assert (run.outcome, run.is_graded) == (Outcome.GRADER, False)
