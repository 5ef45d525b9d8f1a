"""Two thousand letter-count tasks: the taskset of the large recorded job."""

from collections.abc import AsyncGenerator
from typing import Any

from hud import Environment

COUNT = 2_000

env = Environment(name="many-letters")


@env.template()
async def count_letter(word: str = "strawberry", letter: str = "r") -> AsyncGenerator[Any, Any]:
    answer = yield f"How many '{letter}'s are in '{word}'? Reply with just the number."
    yield 1.0 if answer and str(word.count(letter)) in answer else 0.0


tasks = [count_letter(word=f"strawberry{number}") for number in range(COUNT)]
