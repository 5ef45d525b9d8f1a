"""Read megabytes and single bytes through a capability's tunnel and through bare relays in turn."""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import time
from typing import Any

from benchmarks.programs.relays import in_process, relay
from hud import connect
from hud.runtimes.base import Runtime

_BLOCK = 1 << 20


async def _read(port: int, size: int) -> float:
    """Return the seconds it takes to read so many bytes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=_BLOCK)
    await _ask(reader, writer, 0)
    began = time.perf_counter()
    await _ask(reader, writer, size)
    taken = time.perf_counter() - began
    writer.close()
    await writer.wait_closed()
    return taken


async def _ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, size: int) -> None:
    writer.write(b"%d\n" % size)
    left = size or 1
    while left > 0:
        left -= len(await reader.read(min(left, _BLOCK)))


async def _delay(port: int, times: int) -> float:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    taken: list[float] = []
    for _ in range(times):
        began = time.perf_counter()
        await _ask(reader, writer, 0)
        taken.append(time.perf_counter() - began)
    writer.close()
    await writer.wait_closed()
    return statistics.median(taken)


async def main(work: dict[str, Any]) -> dict[str, float]:
    size = work["megabytes"] << 20
    found: dict[str, list[float]] = {
        name: [] for name in ("ours", "bare", "our_delay", "bare_delay")
    }
    async with (
        in_process("send") as far,
        in_process("relay", str(far)) as second,
        in_process("environment", str(far)) as environment,
        relay(second) as bare,
        connect(Runtime(f"tcp://127.0.0.1:{environment}")) as client,
    ):
        address = client.binding("far").address
        assert address is not None
        for _ in range(work["rounds"]):
            found["ours"].append(await _read(address[1], size))
            found["bare"].append(await _read(bare, size))
            found["our_delay"].append(await _delay(address[1], 200))
            found["bare_delay"].append(await _delay(bare, 200))
    return {name: statistics.median(values) for name, values in found.items()}


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main(json.loads(sys.argv[1])))))
