"""Many streams at once, read straight from a provider and through what stands before it.

Every way has its turn against the same provider. A piece's delay is from the moment the provider
wrote it to the moment it was read here; the first piece's is from the moment the request was sent.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any, cast

import uvloop

from benchmarks import proc

_STAMP = re.compile(rb"t=(\d+)")
_MODEL = "bench"


class Slot(asyncio.Protocol):
    """One connection that asks for one stream after the other.

    Attributes:
        streams: Per stream the delay of its first piece, then of every other, in nanoseconds.
    """

    def __init__(self, request: bytes, times: int, done: asyncio.Future[None]) -> None:
        self.streams: list[list[int]] = []
        self._request = request
        self._times = times
        self._done = done
        self._sent = 0
        self._tail = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._ask()

    def _ask(self) -> None:
        self.streams.append([])
        self._sent = time.monotonic_ns()
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        now = time.monotonic_ns()
        delays = self.streams[-1]
        for found in _STAMP.findall(data):
            delays.append(now - (int(found) if delays else self._sent))
        self._tail = (self._tail + data)[-8:]
        if self._tail.endswith(b"0\r\n\r\n"):
            self._tail = b""
            if len(self.streams) < self._times:
                self._ask()
            else:
                self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._done.done():
            self._done.set_result(None)


async def read_all(port: int, path: str, key: str, work: dict[str, Any]) -> dict[str, list[int]]:
    """Keep so many streams open, each slot's on its own beat; return what the middle ones saw.

    The first streams of all slots begin one after the other, over the time a stream takes, and so
    do their ends: while middle ones run, every slot is busy.
    """
    loop = asyncio.get_running_loop()
    body = json.dumps(
        {
            "model": _MODEL,
            "stream": True,
            "messages": [{"role": "user", "content": "Hello " * 50}],
            "pieces": work["pieces"],
            "pace_ms": work["pace_ms"],
        }
    ).encode()
    head = f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer {key}\r\n"
    head += f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    request = head.encode() + body
    slots: list[Slot] = []
    waits: list[asyncio.Future[None]] = []
    began, ramp_s = loop.time(), work["pieces"] * work["pace_ms"] / 1000
    for at in range(work["streams"]):
        await asyncio.sleep(began + ramp_s * at / work["streams"] - loop.time())
        done: asyncio.Future[None] = loop.create_future()
        slot = Slot(request, work["times"], done)
        await loop.create_connection(lambda slot=slot: slot, "127.0.0.1", port)
        slots.append(slot)
        waits.append(done)
    async with asyncio.timeout(300):
        await asyncio.gather(*waits)
    if any(len(stream) != work["pieces"] for slot in slots for stream in slot.streams):
        raise SystemExit(f"not every piece came through {path}")
    seen = [stream for slot in slots for stream in slot.streams[1:-1]]
    return {
        "piece": [delay for stream in seen for delay in stream[1:]],
        "first": [stream[0] for stream in seen],
    }


@contextlib.contextmanager
def started(command: Sequence[str], word: str = "PORT=") -> Generator[tuple[int, int]]:
    """Run a program until the block ends; yield its process id and the port it prints."""
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.search(rf"{word}(\d+)", line)
        if found is None:
            raise SystemExit(f"{command} printed {line!r}")
        yield process.pid, int(found.group(1))
    finally:
        process.terminate()
        process.wait()


def prepared(home: Path, upstream: str) -> str:
    """Add the provider to an empty platform and return a key for it."""
    from hud.platform.accounts import keys
    from hud.platform.config import PlatformConfig
    from hud.platform.gateway.providers import ModelWanted, put_provider
    from hud.platform.services import Services

    services = Services.open(PlatformConfig(home=home))
    try:
        with services.database.writing() as connection:
            put_provider(
                connection,
                services.secrets,
                "local",
                name="bench",
                dialect="openai",
                base_url=upstream,
                key="the-key-of-the-provider",
                wanted=[ModelWanted(_MODEL, _MODEL)],
            )
            owner = services.owner_id
            return keys.create_key(connection, team="local", user_id=owner, name="bench")[1]
    finally:
        services.close()


def percentiles(values: list[int]) -> dict[str, float]:
    """Return the median and the 99th percentile, in milliseconds."""
    values = sorted(values)
    return {
        "p50": values[len(values) // 2] / 1e6,
        "p99": values[min(len(values) - 1, int(len(values) * 0.99))] / 1e6,
    }


def main(work: dict[str, Any]) -> dict[str, Any]:
    python, load = sys.executable, os.getloadavg()[0]
    with contextlib.ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        _, far = stack.enter_context(
            started([python, "-m", "benchmarks.programs.streams_upstream"])
        )
        upstream = f"http://127.0.0.1:{far}/v1"
        ways: dict[str, tuple[int, int, str, str]] = {"direct": (0, far, "/v1", "none")}
        for name in work["relays"]:
            module = "benchmarks.programs.streams_relay"
            command = [python, "-m", module, name, upstream, work["loop"]]
            pid, port = stack.enter_context(started(command))
            ways[name] = (pid, port, "/v1", "none")
        key = prepared(home, upstream)
        command = [python, "-m", "hud", "platform", "up", "--port", "0", "--home", str(home)]
        pid, port = stack.enter_context(started(command, r"127\.0\.0\.1:"))
        ways["gateway"] = (pid, port, "/inference", key)
        found: dict[str, dict[str, Any]] = {
            name: {"piece": [], "first": [], "cpu_s": 0.0} for name in ways
        }
        for _ in range(work["rounds"]):
            for name, (pid, port, base, shown) in ways.items():
                before = proc.cpu_s(pid) if pid else 0.0
                seen = uvloop.run(read_all(port, f"{base}/chat/completions", shown, work))
                found[name]["cpu_s"] += proc.cpu_s(pid) - before if pid else 0.0
                for kind, values in seen.items():
                    found[name][kind] += values
        memory = proc.memory_bytes(ways["gateway"][0])
    pieces = work["rounds"] * work["streams"] * work["times"] * work["pieces"]
    rows: dict[str, Any] = {
        name: {
            "piece": percentiles(kinds["piece"]),
            "first": percentiles(kinds["first"]),
            "cpu_us": 1e6 * kinds["cpu_s"] / pieces,
        }
        for name, kinds in found.items()
    }
    return {"ways": rows, "memory_bytes": memory, "load": load}


if __name__ == "__main__":
    print(json.dumps(main(json.loads(sys.argv[1]))))
