"""The letter-count environment: one template, no capability, so all that is left is the house."""

from collections.abc import AsyncGenerator
from typing import Any

from hud import Environment

env = Environment(name="letter-count")


@env.template()
async def count_letter(word: str = "strawberry", letter: str = "r") -> AsyncGenerator[Any, Any]:
    answer = yield f"How many '{letter}'s are in '{word}'? Reply with just the number."
    yield 1.0 if answer and str(word.count(letter)) in answer else 0.0
