"""One question, the smallest environment there is."""

from collections.abc import AsyncGenerator
from typing import Any

from hud.environment import Environment

env = Environment(name="qa")


@env.template()
async def ask(number: int = 1) -> AsyncGenerator[Any, Any]:
    answer = yield f"What is {number} + 1?"
    yield 1.0 if str(answer).strip() == str(number + 1) else 0.0
