"""Real jobs for the UI to show: the examples, worked on by model doubles through real environments.

    HUD_HOME=/tmp/home python -m tests.ui.recorded        records all of them
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

from hud import LocalRuntime, Taskset
from hud.agents import NoopAgent, OracleAgent
from hud.eval.job import Job
from hud.testing.model_server import ModelServer
from tests.e2e.harness import policies
from tests.e2e.harness.served import KEY, KEYS, Conversations, agent_of, write_providers

EXAMPLES = Path(__file__).parents[2] / "examples"


def tasks_of(example: str, *names: str) -> tuple[Taskset, LocalRuntime]:
    source = EXAMPLES / example / "tasks.py"
    every = Taskset.from_file(source)
    chosen = [task for task in every if not names or task.slug in names]
    return Taskset(example, chosen), LocalRuntime(source)


async def with_model(example: str, policy: Any, dialect: str, *names: str, group: int = 1) -> Job:
    """Evaluate a model of this dialect that works by `policy`."""
    home = Path(os.environ["HUD_HOME"])
    home.mkdir(parents=True, exist_ok=True)
    tasks, runtime = tasks_of(example, *names)
    async with ModelServer(Conversations(policy), api_key=KEY) as server:
        write_providers(home, server)
        return await tasks.run(agent_of(dialect), runtime=runtime, group=group)


async def main() -> None:
    for name in KEYS:
        os.environ[name] = KEY
    os.environ["NO_PROXY"] = "127.0.0.1,localhost"
    tasks, runtime = tasks_of("quickstart")
    await tasks.run(NoopAgent(), runtime=runtime)
    await tasks.run(OracleAgent(EXAMPLES / "quickstart" / "tasks.py"), runtime=runtime)
    words = [f"letters-{word}" for word in ("strawberry", "mississippi", "onomatopoeia")]
    await with_model("quickstart", policies.count_letters, "messages", *words, group=4)
    await with_model("fix_test", policies.mend, "messages")
    await with_model("fix_test", policies.mend, "responses")
    await with_model("web_form", policies.sign_up, "messages")
    await with_model("web_form", policies.sign_up, "gemini")
    await with_model("web_form", policies.sign_up, "responses")
    await with_model("web_form", policies.sign_up_by_element, "chat")
    await with_model("desktop_note", policies.take_note, "messages")
    await with_model("custom_tool", policies.spend, "responses")
    tasks, runtime = tasks_of("robot")
    await tasks.run(OracleAgent(EXAMPLES / "robot" / "tasks.py"), runtime=runtime, max_concurrent=1)
    for example in ("robot_policy",):
        sys.path.insert(0, str(EXAMPLES / example))
        tasks, runtime = tasks_of(example)
        from hud.agents.robot import RobotAgent, ScaledAdapter
        from policy import Straight, Table

        agent = RobotAgent(model=Straight(), adapter=ScaledAdapter(Table(chunk_size=4)))
        await tasks.run(agent, runtime=runtime, max_concurrent=8)


if __name__ == "__main__":
    asyncio.run(main())
