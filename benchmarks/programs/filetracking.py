"""Run a shell loop that writes 1,000 files, over and over, with file tracking on or off."""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import time
from typing import Any

from hud.capabilities.ssh import SSHClient
from hud.environment.workspace import Workspace

LOOP = "for i in $(seq {files}); do echo $i-$RANDOM > f$i; done"


async def main(work: dict[str, Any]) -> dict[str, float]:
    workspace = Workspace(track_files=work["tracked"])
    tracker = workspace.tracker
    command = LOOP.format(files=work["files"])
    await workspace.start()
    following: asyncio.Task[int] | None = None
    if tracker is not None:
        await tracker.start()
        await tracker.hand_over()
        following = asyncio.create_task(_follow(await tracker.dial()))
    shell = await SSHClient.connect(workspace.capability())
    await shell.run(command)
    taken: list[float] = []
    cpu = time.process_time()
    for _ in range(work["commands"]):
        began = time.perf_counter()
        await shell.run(command)
        taken.append(time.perf_counter() - began)
    cpu = time.process_time() - cpu
    if tracker is not None:
        await tracker.flush()
        await tracker.stop()
    told = 0 if following is None else await following
    await shell.close()
    await workspace.stop()
    return {
        "command_s": statistics.median(taken),
        "mean_s": statistics.fmean(taken),
        "cpu_s": cpu / work["commands"],
        "told_bytes": told,
    }


async def _follow(sock: Any) -> int:
    """Take everything in that is told, and return how much it was."""
    reader, writer = await asyncio.open_connection(sock=sock, limit=1 << 24)
    writer.write(b'{"after":null}\n')
    told = 0
    while line := await reader.readline():
        told += len(line)
    writer.close()
    return told


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main(json.loads(sys.argv[1])))))
