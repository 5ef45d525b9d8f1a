"""An environment that cannot start."""

from collections.abc import AsyncGenerator
from typing import Any

from hud.environment import Environment

env = Environment(name="broken")


@env.initialize
async def fail() -> None:
    raise OSError("no disk")


@env.template()
async def ask() -> AsyncGenerator[Any, Any]:
    yield "Say anything."
    yield 1.0
