"""Real jobs for the UI to show: model doubles at work in real environments, recorded as ever.

HUD_HOME=/tmp/home python -m tests.ui.recorded [NAME …]        records them, or those named
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

from hud import LocalRuntime, Taskset
from hud.agents import Agent, NoopAgent, OracleAgent
from hud.agents.create import make_agent
from hud.agents.robot import RobotAgent, RobotConfig
from hud.agents.types import ClaudeConfig
from hud.eval.job import Job
from hud.testing.model_server import ModelServer, Rule
from tests.e2e.harness import policies
from tests.e2e.harness.policies import Policy
from tests.e2e.harness.served import (
    KEY,
    KEYS,
    MODELS,
    Conversations,
    agent_of,
    write_providers,
)
from tests.ui.workshop import REPEATS, Versatile, Workers, Workshop, taskset
from tests.ui.writers import NOW_AND_THEN, Writers, with_reviewer

EXAMPLES = Path(__file__).parents[2] / "examples"
NOTES = Path(__file__).with_name("sources") / "release_notes.py"


async def with_agent(source: Path, agent: Agent, *, group: int = 1, at_once: int = 4) -> Job:
    tasks = Taskset.from_file(source)
    name = source.stem if source == NOTES else source.parent.name
    return await Taskset(name, list(tasks)).run(
        agent, runtime=LocalRuntime(source), group=group, max_concurrent=at_once
    )


async def with_model(
    example: str, rule: Rule, dialect: str, *slugs: str, group: int = 1, at_once: int = 4
) -> Job:
    """Evaluate a model of this dialect that answers by `rule`."""
    source = EXAMPLES / example / "tasks.py"
    chosen = [task for task in Taskset.from_file(source) if not slugs or task.slug in slugs]
    async with ModelServer(rule, api_key=KEY) as server:
        write_providers(home(), server)
        return await Taskset(example, chosen).run(
            agent_of(dialect), runtime=LocalRuntime(source), group=group, max_concurrent=at_once
        )


async def with_writers(rule: Writers, model: str, *, group: int) -> Job:
    """Evaluate writers of release notes, who have a reviewer and are judged."""
    async with ModelServer(rule, api_key=KEY) as server:
        write_providers(home(), server)
        os.environ["OPENAI_BASE_URL"] = server.base_url("chat")
        agent = with_reviewer(ClaudeConfig(model=model, model_retries=0))
        try:
            return await with_agent(NOTES, agent, group=group)
        finally:
            del os.environ["OPENAI_BASE_URL"]


def home() -> Path:
    folder = Path(os.environ["HUD_HOME"])
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def policy(rule: Policy) -> Conversations:
    return Conversations(rule)


async def quickstart() -> None:
    source = EXAMPLES / "quickstart" / "tasks.py"
    await with_agent(source, NoopAgent())
    await with_agent(source, OracleAgent(source))


async def letters() -> None:
    words = [f"letters-{word}" for word in ("strawberry", "mississippi", "onomatopoeia")]
    await with_model("quickstart", policy(policies.count_letters), "messages", *words, group=4)


async def tests() -> None:
    for dialect in ("messages", "responses"):
        await with_model("fix_test", policy(policies.mend), dialect)


async def forms() -> None:
    for dialect in ("gemini", "responses", "messages"):
        await with_model("web_form", policy(policies.sign_up), dialect)
    await with_model("web_form", policy(policies.sign_up_by_element), "chat")


async def desktop() -> None:
    await with_model("desktop_note", policy(policies.take_note), "messages", at_once=1)


async def shop() -> None:
    await with_model("custom_tool", policy(policies.spend), "responses")


async def robots() -> None:
    source = EXAMPLES / "robot" / "tasks.py"
    await with_agent(source, OracleAgent(source), at_once=1)
    plain = make_agent(f"{EXAMPLES / 'robot_policy' / 'policy.py'}:agent")
    assert isinstance(plain, RobotAgent)
    filming = RobotAgent(RobotConfig(video=True), model=plain.model, adapter=plain.adapter)
    await with_agent(EXAMPLES / "robot_policy" / "tasks.py", filming, at_once=8)


async def notes() -> None:
    await with_writers(Writers(), "claude-opus-4-6", group=6)
    breaks = {"currency": {2, 5}, "search": {6}}
    await with_writers(Writers(NOW_AND_THEN, breaks), MODELS["messages"], group=6)


async def workshop() -> None:
    async with ModelServer(Workers(), api_key=KEY) as server:
        write_providers(home(), server)
        os.environ["OPENAI_BASE_URL"] = server.base_url("chat")
        try:
            await taskset().run(
                Versatile(), runtime=Workshop(), group=REPEATS, max_concurrent=4, retries=0
            )
        finally:
            del os.environ["OPENAI_BASE_URL"]


ALL: dict[str, Callable[[], Awaitable[None]]] = {
    job.__name__: job
    for job in (quickstart, letters, tests, forms, desktop, shop, robots, notes, workshop)
}


async def record(*names: str) -> None:
    """Record what is named, all without a name. Keys and addresses are the doubles' own."""
    for name in KEYS:
        os.environ[name] = KEY
    os.environ["NO_PROXY"] = "127.0.0.1,localhost"
    for name in names or ALL:
        await ALL[name]()


if __name__ == "__main__":
    asyncio.run(record(*sys.argv[1:]))
