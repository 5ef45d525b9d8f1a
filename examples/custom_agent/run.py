"""Your own agent: any async function of a run, here one that works through a capability.

The environment serves a small key-value store over TCP; the agent looks prices up there, line by
line, and answers. Nothing of the agent is known to the environment, and the other way round.

python examples/custom_agent/run.py
"""

import asyncio
from collections.abc import AsyncGenerator
from urllib.parse import urlsplit

from hud import Environment, Run, Taskset
from hud.environment import Capability
from hud.graders import numeric_match
from hud.types import Step

PRICES = {"tea": 2.5, "cake": 4.0, "soup": 6.75}
env = Environment("cafe")
servers: list[asyncio.Server] = []


async def look_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer every line, the name of a dish, with its price."""
    while line := await reader.readline():
        price = PRICES.get(line.decode().strip())
        writer.write(f"{'unknown' if price is None else price}\n".encode())
        await writer.drain()
    writer.close()


@env.initialize
async def open_prices() -> None:
    """Start the daemon and expose it; agents reach it through the environment's own port."""
    server = await asyncio.start_server(look_up, "127.0.0.1", 0)
    servers.append(server)
    port = server.sockets[0].getsockname()[1]
    env.add_capability(Capability("prices", "lines/1", f"tcp://127.0.0.1:{port}"))


@env.shutdown
async def close_prices() -> None:
    """Stop the daemon."""
    servers.pop().close()


@env.template()
async def bill(dishes: list[str]) -> AsyncGenerator[str | float, str | None]:
    """Work out what an order comes to."""
    answer = yield f"What do these come to? {', '.join(dishes)}"
    yield numeric_match(answer, sum(PRICES[dish] for dish in dishes), tolerance=0.001)


async def waiter(run: Run) -> str:
    """Read the order from the prompt, ask for every price, and add up."""
    dishes = run.prompt_text.partition("? ")[2].split(", ")
    address = urlsplit(run.client.binding("prices").url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    total = 0.0
    for dish in dishes:
        writer.write(f"{dish}\n".encode())
        price = (await reader.readline()).decode().strip()
        run.record(Step(source="tool", extra={"asked": dish, "price": price}))
        total += float(price)
    writer.close()
    return f"That is {total:.2f}."


async def main() -> None:
    orders = (["tea"], ["tea", "cake"], ["soup", "soup", "tea"])
    job = await Taskset(bill(dishes=order) for order in orders).run(waiter)

    for run in job.runs:
        asked = [step.extra["asked"] for step in run.trace.steps if step.source == "tool"]
        print(f"{run.reward}  {run.trace.content}  looked up: {asked}")
    assert [run.outcome for run in job.runs] == ["graded"] * 3
    assert job.reward == 1.0
    assert sum(step.source == "tool" for run in job.runs for step in run.trace.steps) == 6


if __name__ == "__main__":
    asyncio.run(main())
