"""An environment whose task takes many turns; its one tool is the agent's own."""

from collections.abc import AsyncGenerator
from typing import Any

from hud import Environment

env = Environment(name="looking")


@env.template()
async def look_around(turns: int = 50) -> AsyncGenerator[Any, Any]:
    answer = yield f"Speak {turns} times, looking at a place every time, and then say done."
    yield 1.0 if answer == "done" else 0.0
