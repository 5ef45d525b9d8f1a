"""What no namespace takes along with a sandbox by uid, and no control group counts."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from hud.capabilities.ssh import SSHClient
from hud.environment.workspace import Workspace
from hud.sandbox import launch
from hud.sandbox.spec import Isolation, Limits, SandboxSpec
from tests.security.world import PYTHON, need_isolation

MAKE = """
import ctypes
libc = ctypes.CDLL(None)
made = libc.shmget(0, 4096, 0o1600), libc.msgget(0, 0o1600), libc.semget(0, 1, 0o1600)
assert -1 not in made, made
"""
BOMB = """
import os, time
while True:
    try: child = os.fork()
    except OSError as error: print(error.strerror); break
    if child == 0:
        os.setsid(); os.closerange(0, 64); time.sleep(1000)
"""


@asynccontextmanager
async def running(
    isolation: Isolation, **options: Any
) -> AsyncGenerator[tuple[Workspace, SSHClient]]:
    need_isolation(isolation)
    workspace = Workspace(isolation=isolation, **options)
    await workspace.start()
    try:
        async with await SSHClient.connect(workspace.capability()) as shell:
            yield workspace, shell
    finally:
        await workspace.stop()


def owned(kind: str, uid: int) -> list[str]:
    """Return the System V objects of that kind which the uid created."""
    rows = [line.split() for line in Path("/proc/sysvipc", kind).read_text().splitlines()]
    column = rows[0].index("cuid")
    return [row[1] for row in rows[1:] if row[column] == str(uid)]


async def test_it_leaves_no_shared_memory_to_whoever_gets_the_uid_next() -> None:
    left = Path(f"/dev/shm/hud-left-{os.getpid()}")
    async with running("uid") as (workspace, shell):
        await shell.write_text("make.py", MAKE)
        made = await shell.execute(f"{PYTHON} make.py && mkdir {left} && echo x > {left}/file")
        assert made.exit_status == 0, made
        uid = workspace.sandbox.uid
        assert all(owned(kind, uid) for kind in ("shm", "msg", "sem"))
        assert (left / "file").exists()
    assert not any(owned(kind, uid) for kind in ("shm", "msg", "sem"))
    assert not left.exists()


@pytest.mark.parametrize("isolation", ["bwrap", "uid"])
async def test_without_control_groups_a_command_still_finds_room(
    isolation: Isolation, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(_: SandboxSpec) -> None:
        return None

    monkeypatch.setattr(launch, "_cgroup", none)
    async with running(isolation, limits=Limits(processes=80)) as (workspace, shell):
        assert workspace.sandbox.enforced == frozenset()
        await shell.write_text("bomb.py", BOMB)
        bomb = await shell.execute(f"{PYTHON} bomb.py", timeout_s=60)
        assert "temporarily unavailable" in bomb.stdout, bomb
        told = await shell.execute("echo next | cat", timeout_s=60)
        assert told.stdout == "next\n", told
        assert "processes that ran here were ended" in told.stderr, told
        again = await shell.execute("echo next | cat", timeout_s=60)
        assert (again.stdout, again.stderr) == ("next\n", ""), again


async def test_what_acts_for_the_agent_is_the_first_to_go_when_memory_runs_out() -> None:
    async with running("uid") as (workspace, shell):
        found = await shell.execute("sleep 600 & echo $!")
        score = Path(f"/proc/{found.stdout.strip()}/oom_score_adj").read_text()
        own = Path("/proc/self/oom_score_adj").read_text()
        assert int(score) >= 500 > int(own), workspace
