"""What the tests of SSHClient share: a daemon, a client of it, and looking at processes."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hud._core.processes import identity_of
from hud.capabilities import Capability, SSHClient
from tests.e2e.capabilities.sshd import Sshd, sshd
from tests.wire.harness import until


@pytest.fixture
async def daemon(tmp_path: Path) -> AsyncGenerator[Sshd]:
    async with sshd(tmp_path / "sshd") as daemon:
        yield daemon


@pytest.fixture
async def shell(daemon: Sshd) -> AsyncGenerator[SSHClient]:
    async with await SSHClient.connect(daemon.capability()) as client:
        yield client


def having(row: Capability, **params: Any) -> Capability:
    """Return a row with other params; None takes one away."""
    kept = {key: value for key, value in {**row.params, **params}.items() if value is not None}
    return replace(row, params=kept)


def alive(pid: int) -> bool:
    return identity_of(pid) is not None


async def pid_in(path: Path) -> int:
    """Wait until a command has written its pid."""
    await until(lambda: path.exists() and path.read_text().endswith("\n"))
    return int(path.read_text())


def running_with(text: str) -> list[str]:
    """Return the processes whose arguments hold a text."""
    found: list[str] = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if text in (entry / "cmdline").read_text("utf-8", "replace"):
                found.append(entry.name)
    return found
