"""Run `true` in every way a sandbox has, beside a bare bubblewrap, in turn."""

from __future__ import annotations

import asyncio
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

from hud import Environment, connect
from hud.capabilities import SSHClient
from hud.environment.server import bind
from hud.runtimes.base import Runtime
from hud.sandbox.sandbox import Sandbox
from hud.sandbox.spec import SandboxSpec

BARE = (
    *("bwrap", "--unshare-user", "--unshare-pid", "--unshare-ipc", "--unshare-uts"),
    *("--unshare-net", "--ro-bind", "/", "/", "--proc", "/proc", "--dev", "/dev", "true"),
)


async def _bare() -> None:
    subprocess.run(BARE, check=True)  # noqa: ASYNC221 -- the floor does not share its time


async def _start() -> None:
    sandbox = Sandbox(SandboxSpec())
    await sandbox.start()
    await sandbox.stop()


async def main(work: dict[str, Any]) -> dict[str, float]:
    env = Environment("sandboxes")
    shell = env.workspace(track_files=False)
    async with bind(env) as url, connect(Runtime(url)) as client:
        through = await client.open("ssh", SSHClient)
        straight = await SSHClient.connect(shell.capability())

        async def ssh(ssh: SSHClient) -> None:
            assert (await ssh.run("true")).exit_status == 0

        async def inside() -> None:
            assert (await shell.sandbox.run(["true"])).exit_code == 0

        ways: dict[str, Callable[[], Awaitable[None]]] = {
            "bare": _bare,
            "tunnel": lambda: ssh(through),
            "ssh": lambda: ssh(straight),
            "run": inside,
            "start": _start,
        }
        taken: dict[str, list[float]] = {name: [] for name in ways}
        for number in range(work["rounds"] + 3):
            for name, way in ways.items():
                began = time.perf_counter()
                await way()
                if number >= 3:
                    taken[name].append(time.perf_counter() - began)
        began = time.perf_counter()
        done = await asyncio.gather(
            *(through.run("echo $$; sleep 0.2") for _ in range(work["shells"]))
        )
        many_s = time.perf_counter() - began
        pids = {result.stdout for result in done if result.exit_status == 0}
        await straight.close()
    medians = {name: statistics.median(values) for name, values in taken.items()}
    return {**medians, "many_s": many_s, "succeeded": len(pids)}


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main(json.loads(sys.argv[1])))))
