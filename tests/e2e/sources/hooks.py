"""An environment whose hooks and seeds leave a line each in the file that HUD_TEST_LOG names."""

import os
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

from hud.environment import Environment

env = Environment(name="hooks")


def note(word: str) -> None:
    with Path(os.environ["HUD_TEST_LOG"]).open("a") as log:
        log.write(f"{word} {os.getpid()}\n")


note("import")


@env.reseed
def reseed(seed: int) -> None:
    note(f"seed {seed}")


@env.initialize
async def initialize() -> None:
    note("initialize")


@env.shutdown
async def shutdown() -> None:
    note("shutdown")


@env.template()
async def hold() -> AsyncGenerator[Any, Any]:
    try:
        yield str(os.getpid())
        yield 1.0
    finally:
        note("closed")
