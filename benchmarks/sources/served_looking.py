"""An environment whose task takes many turns, and whose one tool is served over MCP."""

from collections.abc import AsyncGenerator
from typing import Any

from benchmarks.programs.bare import look
from hud import Environment

env = Environment(name="served-looking")
env.tool(look)


@env.template()
async def look_around(turns: int = 50) -> AsyncGenerator[Any, Any]:
    answer = yield f"Speak {turns} times, looking at a place every time, and then say done."
    yield 1.0 if answer == "done" else 0.0
