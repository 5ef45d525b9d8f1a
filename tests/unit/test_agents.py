"""The agents that need no model: oracle, noop, scripted and human, through real environments."""

from __future__ import annotations

import asyncio
import io
import os
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any, TextIO

import pytest

from hud._core.errors import AgentFault, InputError, ModelFault, RolloutCancelled
from hud.agents import Agent, HumanAgent, NoopAgent, OracleAgent, ScriptedAgent
from hud.agents.run import Run
from hud.clients.connect import connect
from hud.environment.environment import Environment
from hud.environment.task import Task
from hud.runtimes.local import LocalRuntime
from hud.testing import check_agent

SOURCE = """
from hud import Environment

env = Environment(name="letters")
executions = []
executions.append(1)

async def count(run, word: str, times: int = 1):
    return str(word.count("r") * times)

@env.template(solution=count)
async def letters(word: str, times: int = 1):
    answer = yield f"How many r in {word}?"
    yield 1.0 if answer == str(word.count("r") * times) else 0.0

async def structured_solution(run):
    return {"b": [1, None], "a": "ü"}

@env.template(solution=structured_solution)
async def structured():
    answer = yield "?"
    yield 1.0 if answer == '{"b":[1,null],"a":"ü"}' else 0.0

@env.template()
async def unsolved():
    answer = yield "?"
    yield 0.0

async def broken_solution(run):
    raise ValueError("the shelf is empty")

@env.template(solution=broken_solution)
async def broken():
    answer = yield "?"
    yield 0.0

async def faulty_solution(run):
    from hud._core.errors import CapabilityFault
    raise CapabilityFault("the shell went away")

@env.template(solution=faulty_solution)
async def faulty():
    answer = yield "?"
    yield 0.0
"""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "env.py"
    path.write_text(SOURCE, encoding="utf-8")
    return path


async def play(agent: Agent, source: Path | Environment, id: str, **args: Any) -> Run:
    """Run one task of `source` from start to grade and return the run."""
    name = source.name if isinstance(source, Environment) else "letters"
    task = Task(env=name, id=id, args=args)
    async with LocalRuntime(source) as runtime, runtime(task) as place, connect(place) as client:
        run = Run(client, task.id, task.args)
        run.slug, run.env = task.slug, task.env
        await run.start()
        await agent(run)
        await run.finish()
    return run


async def test_oracle_plays_the_reference_solution_with_coerced_arguments(source: Path) -> None:
    run = await play(OracleAgent(source), source, "letters", word="strawberry", times="2")
    assert (run.trace.content, run.grade.reward) == ("6", 1.0)
    assert run.trace.stop_reason == "done"
    assert [step.source for step in run.trace.steps] == ["task", "user", "agent", "task"]


async def test_oracle_gives_structured_answers_as_json(source: Path) -> None:
    run = await play(OracleAgent(source), source, "structured")
    assert run.grade.reward == 1.0


async def test_oracle_executes_its_source_once_for_many_runs(source: Path) -> None:
    agent = OracleAgent(str(source))
    agent.check_ready()
    source.write_text("raise SystemExit('executed again')", encoding="utf-8")
    env = Environment(name="letters")

    @env.template()
    async def letters(word: str) -> AsyncGenerator[Any, Any]:
        answer = yield word
        yield float(answer)

    runs = await asyncio.gather(*(play(agent, env, "letters", word="r" * n) for n in range(5)))
    assert [run.grade.reward for run in runs] == [0.0, 1.0, 2.0, 3.0, 4.0]


async def test_oracle_takes_a_live_environment(source: Path) -> None:
    env = Environment(name="live")

    async def solve(run: Run) -> str:
        return run.prompt_text.upper()

    @env.template(solution=solve)
    async def shout() -> AsyncGenerator[Any, Any]:
        answer = yield "hey"
        yield 1.0 if answer == "HEY" else 0.0

    assert (await play(OracleAgent(env), env, "shout")).grade.reward == 1.0
    with pytest.raises(AgentFault, match="'letters', its solutions of 'live'"):
        await play(OracleAgent(env), source, "letters", word="r")


@pytest.mark.parametrize(
    ("id", "said"),
    [
        ("unsolved", "template 'unsolved' has no reference solution"),
        ("broken", "of template 'broken' raised ValueError: the shelf is empty"),
    ],
)
async def test_oracle_names_the_template_it_cannot_solve(source: Path, id: str, said: str) -> None:
    with pytest.raises(AgentFault, match=said):
        await play(OracleAgent(source), source, id)


async def test_a_fault_in_a_solution_keeps_its_boundary(source: Path) -> None:
    with pytest.raises(Exception, match="the shell went away") as caught:
        await play(OracleAgent(source), source, "faulty")
    assert getattr(caught.value, "outcome", None) == "capability"


def test_oracle_says_before_any_run_that_it_has_no_source(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="needs the source"):
        OracleAgent().check_ready()
    with pytest.raises(InputError, match="does not exist"):
        OracleAgent(tmp_path / "missing.py").check_ready()


async def test_noop_hands_the_template_no_answer_at_all() -> None:
    env = Environment(name="letters")
    seen: list[Any] = []

    @env.template()
    async def ask() -> AsyncGenerator[Any, Any]:
        seen.append((yield "?"))
        yield 0.25

    run = await play(NoopAgent(), env, "ask")
    assert seen == [None]
    assert (run.trace.content, run.grade.reward, run.trace.stop_reason) == (None, 0.25, "done")


@pytest.mark.parametrize("make", [NoopAgent, lambda: ScriptedAgent(lambda run: run.prompt_text)])
async def test_a_simple_agent_keeps_the_contract(make: Any) -> None:
    await check_agent(make)


class Forgetful(Agent):
    """Keeps the newest prompt between runs: the bug the contract is there to find."""

    async def __call__(self, run: Run) -> None:
        self.prompt = run.prompt_text
        await asyncio.sleep(0)
        run.trace.content = self.prompt


class Deaf(Agent):
    async def __call__(self, run: Run) -> None:
        try:
            for _ in range(10):
                await asyncio.sleep(0)
        except asyncio.CancelledError:
            pass
        run.trace.content = "done"


class Litterer(Agent):
    async def __call__(self, run: Run) -> None:
        self.left = asyncio.ensure_future(asyncio.sleep(3600))
        run.trace.content = "done"


class Silent(Agent):
    async def __call__(self, run: Run) -> None:
        return None


class Meddler(Agent):
    async def __call__(self, run: Run) -> None:
        run.args["extra"] = 1
        run.trace.content = "done"


@pytest.mark.parametrize(
    ("broken", "rule"),
    [
        (Forgetful, "runs side by side answered"),
        (Deaf, "a cancelled agent ends with CancelledError"),
        (Litterer, "tasks outlive their run"),
        (Silent, "an answer or a stop reason"),
        (Meddler, "prompt and arguments are not its own"),
    ],
)
async def test_the_contract_finds_a_broken_agent(broken: type[Agent], rule: str) -> None:
    with pytest.raises(AssertionError, match=rule):
        await check_agent(broken)


def fresh(slug: str = "one", prompt: str = "?") -> Run:
    run = Run(None, "template", {})
    run.slug, run.prompt = slug, prompt
    return run


async def test_scripted_answers_come_from_a_text_a_list_a_mapping_or_a_function() -> None:
    async def later(run: Run) -> str:
        await asyncio.sleep(0)
        return f"later {run.slug}"

    async def answer(agent: ScriptedAgent, run: Run) -> str | None:
        await agent(run)
        return run.trace.content

    assert await answer(ScriptedAgent("a"), fresh()) == "a"
    assert await answer(ScriptedAgent(None), fresh()) is None
    listed = ScriptedAgent(["a", "b"])
    assert [await answer(listed, fresh()) for _ in range(2)] == ["a", "b"]
    with pytest.raises(AgentFault, match="run 3 started, but 2 answers"):
        await listed(fresh())
    mapped = ScriptedAgent({"one": "a", "template": "b"})
    assert [await answer(mapped, fresh(slug)) for slug in ("one", "two")] == ["a", "b"]
    with pytest.raises(AgentFault, match="no answer is scripted for 'two'"):
        await ScriptedAgent({"one": "a"})(fresh("two"))
    assert await answer(ScriptedAgent(lambda run: run.slug), fresh("z")) == "z"
    assert await answer(ScriptedAgent(later), fresh("z")) == "later z"


async def test_scripted_raises_what_is_scripted_and_remembers_its_runs() -> None:
    agent = ScriptedAgent([ModelFault("down"), "3"])
    first, second = fresh("one"), fresh("two")
    with pytest.raises(ModelFault, match="down"):
        await agent(first)
    await agent(second)
    assert agent.runs == [first, second]


class Screen(io.StringIO):
    """What was written, with an event for it."""

    def __init__(self) -> None:
        super().__init__()
        self.written = asyncio.Event()

    def write(self, text: str, /) -> int:
        self.written.set()
        return super().write(text)


class Terminal:
    """A pipe as standard input, and what was shown."""

    def __init__(self) -> None:
        ends = os.pipe()
        self.stdin: TextIO = os.fdopen(ends[0], encoding="utf-8")
        self.keyboard = os.fdopen(ends[1], "w", encoding="utf-8")
        self.screen = Screen()

    def type(self, text: str) -> None:
        self.keyboard.write(text)
        self.keyboard.flush()

    async def shows(self, text: str) -> None:
        async with asyncio.timeout(30):
            while text not in self.screen.getvalue():
                self.screen.written.clear()
                await self.screen.written.wait()


@pytest.fixture
def terminal() -> Any:
    held = Terminal()
    yield held
    held.keyboard.close()
    held.stdin.close()


async def test_a_person_answers_one_run_at_a_time(terminal: Terminal) -> None:
    agent = HumanAgent(terminal.stdin, terminal.screen)
    runs = [fresh("first", "1+1?"), fresh("second", "2+2?")]
    work = asyncio.gather(*(agent(run) for run in runs))
    await terminal.shows("1+1?")
    assert "2+2?" not in terminal.screen.getvalue()
    terminal.type("2\n")
    await terminal.shows("2+2?")
    terminal.type("4\n")
    await work
    assert [run.trace.content for run in runs] == ["2", "4"]


async def test_a_person_may_answer_with_several_lines(terminal: Terminal) -> None:
    agent = HumanAgent(terminal.stdin, terminal.screen)
    run, last = fresh(), fresh()
    terminal.type('"""\nfirst\n\n  second\n"""\n"""\nno end')
    terminal.keyboard.close()
    await agent(run)
    await agent(last)
    assert run.trace.content == "first\n\n  second"
    assert last.trace.content == "no end"


async def test_a_person_who_hangs_up_cancels_the_run(terminal: Terminal) -> None:
    terminal.keyboard.close()
    with pytest.raises(RolloutCancelled, match="hung up"):
        await HumanAgent(terminal.stdin, terminal.screen)(fresh())


async def test_a_cancelled_question_leaves_the_next_one_answerable(terminal: Terminal) -> None:
    agent = HumanAgent(terminal.stdin, terminal.screen)
    work = asyncio.ensure_future(agent(fresh("gone", "first?")))
    await terminal.shows("first?")
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    run = fresh("next", "second?")
    work = asyncio.ensure_future(agent(run))
    await terminal.shows("second?")
    terminal.type("yes\n")
    await work
    assert run.trace.content == "yes"


async def test_a_prompt_cannot_steer_the_terminal(terminal: Terminal) -> None:
    terminal.type("ok\n")
    await HumanAgent(terminal.stdin, terminal.screen)(fresh("one", "a\x1b[2Jb\rc"))
    shown = terminal.screen.getvalue()
    assert "a[2Jbc" in shown and "\x1b" not in shown and "\r" not in shown
