"""The contract of `hud.agents.Agent`, run against any agent.

Each rule is one function below; a broken one is an `AssertionError` that says which. Runs go
through a real environment and a real connection, in this process.
"""

from __future__ import annotations

import asyncio
import copy
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from hud._core import json
from hud.agents.base import Agent
from hud.agents.run import Run
from hud.clients.connect import connect
from hud.environment.environment import Environment
from hud.runtimes.local import LocalRuntime
from hud.trace.steps import Step

AgentFactory = Callable[[], Agent]

PROMPTS = tuple(f"Say the number {number} and nothing else." for number in range(8))
_DEADLINE_S = 60.0
_CANCEL_AFTER_TURNS = (0, 1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144, 233)


async def check_agent(agent_factory: AgentFactory, prompts: Sequence[str] = PROMPTS) -> None:
    """Run an agent through the whole contract.

    Args:
        agent_factory: Makes the agent under test. It has to give the same answer to the same
            prompt every time: put a double behind it, such as `hud.testing.chat_server`.
        prompts: What it is asked, each different; at least two.

    Raises:
        AssertionError: when a rule is broken, with the rule.
    """
    if len(set(prompts)) < 2:
        raise ValueError("check_agent needs at least two different prompts")
    rules: list[Callable[[AgentFactory, Sequence[str]], Awaitable[None]]] = [
        _it_describes_itself,
        _it_answers_and_says_why_it_stopped,
        _it_leaves_the_run_it_was_given_alone,
        _one_instance_drives_many_runs_at_once,
        _it_leaves_no_task_behind,
        _it_lets_cancellation_through,
    ]
    for rule in rules:
        try:
            async with asyncio.timeout(_DEADLINE_S):
                await rule(agent_factory, prompts)
        except TimeoutError as error:
            sentence = rule.__name__.strip("_").replace("_", " ")
            raise AssertionError(f"{sentence}: not within {_DEADLINE_S:g} s") from error


async def _it_describes_itself(factory: AgentFactory, prompts: Sequence[str]) -> None:
    agent = factory()
    assert isinstance(agent, Agent), f"the factory made {type(agent).__name__}, no Agent"
    assert agent.name, "an agent has a name"
    text = json.encode(agent.describe())
    assert text == json.encode(factory().describe()), "equal agents describe themselves equally"


async def _it_answers_and_says_why_it_stopped(
    factory: AgentFactory, prompts: Sequence[str]
) -> None:
    async with _desk(prompts) as desk:
        run = await desk.work(factory(), 0)
    content: Any = run.trace.content
    assert content is None or isinstance(content, str), "an answer is text, or None"
    assert run.trace.stop_reason is not None or content is not None, (
        "an agent leaves an answer or a stop reason"
    )
    assert all(isinstance(step, Step) for step in run.trace.steps), "it records steps only"
    assert desk.answers == {0: content}, "what it leaves in the trace is what is graded"


async def _it_leaves_the_run_it_was_given_alone(
    factory: AgentFactory, prompts: Sequence[str]
) -> None:
    async with _desk(prompts) as desk:
        run = await desk.open(0)
        before = copy.deepcopy((run.prompt, run.args, run.task_id))
        await desk.answer(factory(), run)
        assert (run.prompt, run.args, run.task_id) == before, "prompt and arguments are not its own"
        assert run.outcome is None, "the outcome is not an agent's to set"


async def _one_instance_drives_many_runs_at_once(
    factory: AgentFactory, prompts: Sequence[str]
) -> None:
    alone: list[str | None] = []
    for index in range(len(prompts)):
        async with _desk(prompts) as desk:
            alone.append((await desk.work(factory(), index)).trace.content)
    agent = factory()
    async with _desk(prompts) as desk:
        runs = await asyncio.gather(*(desk.work(agent, index) for index in range(len(prompts))))
        again = await desk.work(agent, 0)
    together = [run.trace.content for run in runs]
    assert together == alone, f"runs side by side answered {together}, alone {alone}"
    assert again.trace.content == alone[0], "an earlier run changed the answer of a later one"
    own = [len(run.trace.steps) for run in runs]
    assert own[0] == len(again.trace.steps), "a run has its own steps, and no other run's"


async def _it_leaves_no_task_behind(factory: AgentFactory, prompts: Sequence[str]) -> None:
    async with _desk(prompts) as desk:
        run = await desk.open(0)
        before = asyncio.all_tasks()
        await desk.answer(factory(), run)
        left = [task for task in asyncio.all_tasks() - before if not task.done()]
        assert not left, f"tasks outlive their run: {left}"


async def _it_lets_cancellation_through(factory: AgentFactory, prompts: Sequence[str]) -> None:
    agent = factory()
    async with _desk(prompts) as desk:
        for turns in _CANCEL_AFTER_TURNS:
            run = await desk.open(0)
            work = asyncio.ensure_future(_call(agent, run))
            for _ in range(turns):
                await asyncio.sleep(0)
            was_cancelled = work.cancel()
            await asyncio.wait([work])
            if not was_cancelled:
                break  # it was done before
            assert work.cancelled(), "a cancelled agent ends with CancelledError"
        after = await desk.work(agent, 0)
        assert after.trace.content == (await desk.work(factory(), 0)).trace.content, (
            "a cancelled run changed the answer of a later one"
        )


async def _call(agent: Agent, run: Run) -> Any:
    return await agent(run)


@dataclass(slots=True)
class _Desk:
    """An environment that asks the prompts, with what it was answered."""

    runtime: LocalRuntime
    env: Environment
    opened: list[AsyncGenerator[Run]] = field(default_factory=list[AsyncGenerator[Run]])
    answers: dict[int, Any] = field(default_factory=dict[int, Any])

    async def open(self, index: int) -> Run:
        """Start a run; it is closed with the desk."""
        session = self._session(index)
        run = await anext(session)
        self.opened.append(session)
        return run

    async def answer(self, agent: Agent, run: Run) -> None:
        content = await agent(run)
        if run.trace.content is None and isinstance(content, str):
            run.trace.content = content
        await run.finish()

    async def work(self, agent: Agent, index: int) -> Run:
        """Run one prompt from start to grade."""
        run = await self.open(index)
        await self.answer(agent, run)
        return run

    async def _session(self, index: int) -> AsyncGenerator[Run]:
        task = self.env.tasks["ask"](index)
        async with self.runtime(task) as place, connect(place) as client:
            run = Run(client, task.id, dict(task.args))
            run.slug, run.env = task.slug, task.env
            await run.start()
            yield run


@asynccontextmanager
async def _desk(prompts: Sequence[str]) -> AsyncGenerator[_Desk]:
    env = Environment(name="check-agent")
    answers: dict[int, Any] = {}

    @env.template()
    async def ask(index: int) -> AsyncGenerator[Any, Any]:
        answers[index] = yield prompts[index]
        yield 1.0

    async with LocalRuntime(env) as runtime:
        desk = _Desk(runtime, env, answers=answers)
        try:
            yield desk
        finally:
            for session in reversed(desk.opened):
                await session.aclose()
