"""One client per place and test."""

from __future__ import annotations

import shutil
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from hud.capabilities import SSHClient
from tests.e2e.tools.places import PLACES


@pytest.fixture(params=sorted(PLACES))
async def client(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncGenerator[SSHClient]:
    async with PLACES[request.param](tmp_path) as client:
        yield client


@pytest.fixture
async def folder(client: SSHClient) -> AsyncGenerator[str]:
    """A folder where the client's commands run, as they spell it."""
    result = await client.execute("d=$(mktemp -d) && cd $d && pwd -P")
    assert result.exit_status == 0, result
    folder = result.stdout.strip()
    yield folder
    shutil.rmtree(folder, ignore_errors=True)  # where the commands run on this machine
