"""A model behind any endpoint that speaks Chat Completions; here a local stand-in plays it.

With a server of your own, leave the stand-in out:
hud eval examples/quickstart/tasks.py openai_compatible --model M --config base_url=URL --all

python examples/openai_compatible/run.py
"""

import asyncio
from collections.abc import AsyncGenerator

from hud import Environment, Taskset
from hud.agents import OpenAIChatAgent
from hud.agents.types import OpenAIChatConfig
from hud.testing.chat_server import ChatServer

env = Environment("letter-count")


@env.template()
async def count_letter(
    word: str = "strawberry", letter: str = "r"
) -> AsyncGenerator[str | float, str | None]:
    """Count a letter."""
    answer = yield f"How many '{letter}'s are in '{word}'? Reply with just the number."
    yield 1.0 if answer and str(word.count(letter)) in answer else 0.0


tasks = Taskset(count_letter(word=w) for w in ("strawberry", "raspberry", "blueberry"))


def agent_on(base_url: str) -> OpenAIChatAgent:
    """Return the agent for one address; without a key, because the stand-in wants none."""
    return OpenAIChatAgent(OpenAIChatConfig(model="stand-in", base_url=base_url))


async def main() -> None:
    async with ChatServer() as server:
        good = await tasks.run(agent_on(server.base_url), group=3)
        assert len(server.requests) == 9
    print(f"{good.reward}  {sum(run.usage.completion_tokens or 0 for run in good.runs)} tokens")
    assert good.reward == 1.0 and not good.errors

    # A server that dies after four answers: five rollouts are ungraded, none of them is a zero.
    async with ChatServer(dies_after=4) as server:
        cut = await tasks.run(agent_on(server.base_url), group=3)
    summary = cut.statistics()
    print(f"{cut.reward}  {summary.graded} of {summary.runs} graded, then the server died")
    assert cut.reward == 1.0
    assert dict(summary.ungraded_by_cause) == {"model": 5}
    assert summary.lower_bound is not None and summary.lower_bound < 0.5


if __name__ == "__main__":
    asyncio.run(main())
