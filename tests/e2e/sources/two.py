"""Two environments in one source."""

from collections.abc import AsyncGenerator
from typing import Any

from hud.environment import Environment

first = Environment(name="first")
second = Environment(name="second")


@first.template(id="who")
async def who_first() -> AsyncGenerator[Any, Any]:
    yield "first"
    yield 1.0


@second.template(id="who")
async def who_second() -> AsyncGenerator[Any, Any]:
    yield "second"
    yield 1.0
