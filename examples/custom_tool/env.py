"""Order from a shop through tools: Python functions of the environment, served over MCP.

The functions run in the environment's own process and hold its state, which the agent changes by
calling them and in no other way. The grade is what is in the till afterwards.
"""

from collections.abc import AsyncGenerator

from hud import Environment, Run
from hud.capabilities import MCPClient

PRICES = {"apple": 30, "bread": 250, "cheese": 420}
STOCK = 10

env = Environment("shop")
stock: dict[str, int] = {}
orders: list[tuple[str, int]] = []


@env.tool
def look_up(item: str) -> dict[str, int]:
    """Return the price of an item in cents, and how many are left."""
    if item not in PRICES:
        raise ValueError(f"the shop has no {item}; it has {', '.join(PRICES)}")
    return {"price": PRICES[item], "left": stock[item]}


@env.tool(description="Order so many of an item. Orders cannot be taken back.")
async def order(item: str, count: int) -> str:
    if item not in PRICES or not 0 < count <= stock[item]:
        raise ValueError(f"{count} of {item!r} cannot be ordered")
    stock[item] -= count
    orders.append((item, count))
    return f"{count} {item} ordered, {count * PRICES[item]} cents"


async def buy(run: Run, item: str, budget: int) -> str:
    """Ask for the price, then order as many as the money buys."""
    shop = await run.client.open("mcp", MCPClient)
    said = await shop.call_tool("look_up", {"item": item})
    assert said.structuredContent is not None
    found = said.structuredContent.get("result", said.structuredContent)
    count = min(budget // found["price"], found["left"])
    await shop.call_tool("order", {"item": item, "count": count})
    return str(count)


@env.template(solution=buy)
async def spend(item: str, budget: int) -> AsyncGenerator[str | float, str]:
    """Buy as many of one thing as a budget allows."""
    stock.update(dict.fromkeys(PRICES, STOCK))
    orders.clear()
    yield f"You have {budget} cents. Order as many of this as they buy, at once: {item}."
    best = min(budget // PRICES[item], STOCK)
    bought = sum(count for what, count in orders if what == item)
    spent = sum(count * PRICES[what] for what, count in orders)
    yield 0.0 if spent > budget else bought / best
