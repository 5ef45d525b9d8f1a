"""A place to serve environments in, once per transport."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.wire.harness import TRANSPORTS, Place


@pytest.fixture(params=TRANSPORTS)
async def place(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncGenerator[Place]:
    async with AsyncExitStack() as stack:
        yield Place(str(request.param), tmp_path, stack)


@pytest.fixture
async def tcp(tmp_path: Path) -> AsyncGenerator[Place]:
    """Return a place on TCP, for what does not depend on the transport."""
    async with AsyncExitStack() as stack:
        yield Place("tcp", tmp_path, stack)
