"""SSHClient against an OpenSSH daemon started by hand."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator
from pathlib import Path

from hud.capabilities import SSHClient
from tests.conformance.subject import Subject
from tests.e2e.capabilities.sshd import sshd


async def use(client: SSHClient) -> None:
    result = await client.execute("echo said; echo so >&2; exit 4")
    assert (result.exit_status, result.stdout, result.stderr) == (4, "said\n", "so\n")


@contextlib.asynccontextmanager
async def serve(folder: Path) -> AsyncGenerator[Subject[SSHClient]]:
    async with sshd(folder) as daemon:
        yield Subject(SSHClient, daemon.capability(), use, daemon.kill, parallel=4)
