"""One job of everything: shells, browsers, a desktop, tools and robots, well done, badly, broken.

Each task runs where its environment is declared, and one agent works on all of them: a model with
its tools on most, a policy on robots.
"""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager, AsyncExitStack
from pathlib import Path
from typing import Any

from hud import LocalRuntime, Run, Taskset
from hud.agents import Agent
from hud.agents.claude import ClaudeAgent
from hud.agents.create import make_agent
from hud.agents.robot import RobotAgent, RobotConfig
from hud.agents.types import ClaudeConfig
from hud.environment.task import Task
from hud.eval.runtime import Runtime
from hud.testing.model_server import ApiError, Question, Reply
from tests.e2e.harness import policies
from tests.e2e.harness.served import MODELS, Conversations
from tests.ui.cheating import Menders
from tests.ui.writers import Writers, with_reviewer

ROOT = Path(__file__).parents[2]
SOURCES = {
    "fix-test": ROOT / "examples" / "fix_test" / "tasks.py",
    "sign-up": ROOT / "examples" / "web_form" / "tasks.py",
    "note": ROOT / "examples" / "desktop_note" / "tasks.py",
    "shop": ROOT / "examples" / "custom_tool" / "tasks.py",
    "push-t": ROOT / "examples" / "robot" / "tasks.py",
    "worn-table": Path(__file__).parent / "sources" / "stuck_arm.py",
    "release-notes": Path(__file__).parent / "sources" / "release_notes.py",
}
NAMES = {
    "fix-test": ("shell-fix-total", "shell-fix-discount"),
    "sign-up": ("browser-sign-up-ada", "browser-sign-up-zoe"),
    "note": ("desktop-note",),
    "shop": ("mcp-buy-apples", "mcp-buy-cheese"),
    "push-t": ("robot-push-near", "robot-push-far"),
    "worn-table": ("robot-worn-table",),
    "release-notes": ("judged-notes-calendar",),
}
REPEATS = 3


class Workshop:
    """A provider that places each task where its environment is declared."""

    def __init__(self) -> None:
        self._places = {env: LocalRuntime(source) for env, source in SOURCES.items()}
        self._open = AsyncExitStack()

    def __call__(self, task: Task, /) -> AbstractAsyncContextManager[Runtime]:
        assert task.env is not None
        return self._places[task.env](task)

    async def __aenter__(self) -> Workshop:
        for place in self._places.values():
            await self._open.enter_async_context(place)
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._open.aclose()


class Versatile(Agent[ClaudeConfig]):
    """A model where there are words to read, a policy where there is a robot to drive."""

    config_cls = ClaudeConfig

    def __init__(self) -> None:
        super().__init__(ClaudeConfig(model=MODELS["messages"], model_retries=0, max_steps=30))
        self._talks = ClaudeAgent(self.config)
        self._writes = with_reviewer(self.config)
        made = make_agent(f"{ROOT / 'examples' / 'robot_policy' / 'policy.py'}:agent")
        assert isinstance(made, RobotAgent)
        filming = RobotConfig(video=True)
        self._drives = RobotAgent(filming, model=made.model, adapter=made.adapter)

    @property
    def name(self) -> str:
        return "versatile"

    async def __call__(self, run: Run) -> Any:
        match run.env:
            case "push-t" | "worn-table":
                return await self._drives(run)
            case "release-notes":
                return await self._writes(run)
            case _:
                return await self._talks(run)


class Workers:
    """What the model says on each kind of task."""

    def __init__(self) -> None:
        self._mends = Conversations(Menders())
        self._signs = Conversations(policies.sign_up)
        self._types = Conversations(policies.take_note)
        self._spends = Conversations(policies.spend)
        self._writes = Writers(dies_at={"calendar": {2}})
        self._signed = 0

    def __call__(self, question: Question) -> Reply:
        prompt = question.turns[0].text
        if "The test of `" in prompt:
            return self._mends(question)
        if "The browser shows a form" in prompt:
            return self._sign_up(question, prompt)
        if "An editor is open" in prompt:
            return self._types(question)
        if prompt.startswith("You have"):
            return self._spends(question)
        return self._writes(question)

    def _sign_up(self, question: Question, prompt: str) -> Reply:
        if question.turn == 0 and "Zoë" in prompt:
            self._signed += 1
            if self._signed == REPEATS:
                return ApiError(529, "Overloaded: the test provider has had enough of this")
        return self._signs(question)


def taskset() -> Taskset:
    """Return all tasks, under names that say what they need."""
    tasks: list[Task] = []
    for env, names in NAMES.items():
        found = list(Taskset.from_file(SOURCES[env]))
        tasks += [
            task.model_copy(update={"slug": name, "env": env})
            for task, name in zip(found, names, strict=False)
        ]
    return Taskset("workshop", tasks)
