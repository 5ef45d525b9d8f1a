"""Take pictures of a page and of a desktop, with our clients and with bare drivers, in turn."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import importlib
import io
import json
import os
import random
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from typing import Any, cast

from websockets.asyncio.client import connect as open_websocket

from benchmarks.programs.relays import in_process, relay
from hud import connect
from hud.capabilities import CDPClient, RFBClient
from hud.runtimes.base import Runtime

CHROMIUM = (
    *("chromium", "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic"),
    *("--no-first-run", "--disable-background-networking", "--disable-component-update"),
    *("--disable-sync", "--window-size=1280,720", "--remote-debugging-port=0"),
)
# Names differ from picture to picture, so that no side can hand out an old one.
Way = Callable[[], Awaitable[Any]]
PAGE = "data:text/html,<title>t</title><h1 style='font-size:80px'>Benchmark</h1>" + "<p>text " * 200

_TWO_FRAMES_S = 2 / 60


@contextlib.contextmanager
def _running(command: list[str], said: str, stream: str) -> Generator[str]:
    """Run a server, and yield what it said when it was there."""
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command,
        text=True,
        start_new_session=True,
        stdout=pipe if stream == "stdout" else None,
        stderr=pipe if stream == "stderr" else None,
    ) as process:
        out = process.stdout if stream == "stdout" else process.stderr
        assert out is not None
        try:
            for line in out:
                found = re.search(said, line)
                if found is not None:
                    yield found[1]
                    break
        finally:
            os.killpg(process.pid, signal.SIGKILL)


@contextlib.asynccontextmanager
async def _ways(protocol: str, target: int) -> AsyncGenerator[tuple[int, Any]]:
    """Yield a port behind two bare relays, and a client of an environment that leads there."""
    async with (
        in_process("relay", str(target)) as second,
        in_process(protocol, str(target)) as environment,
        relay(second) as bare,
        connect(Runtime(f"tcp://127.0.0.1:{environment}")) as client,
    ):
        yield bare, client


async def _measure(
    rounds: int, ways: dict[str, Callable[[], Awaitable[Any]]], change: Callable[[], Awaitable[Any]]
) -> dict[str, float]:
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds + 2):
        for name, way in ways.items():
            await change()
            # At any moment of the screen's frames: else each begins where the other one ended.
            await asyncio.sleep(random.uniform(0, _TWO_FRAMES_S))
            began = time.perf_counter()
            await way()
            if number >= 2:
                taken[name].append(time.perf_counter() - began)
    return {name: statistics.median(values) for name, values in taken.items()}


async def _pages(rounds: int) -> dict[str, float]:
    with (
        tempfile.TemporaryDirectory() as profile,
        _running(
            [*CHROMIUM, f"--user-data-dir={profile}", PAGE], r"ws://127\.0\.0\.1:(\d+)/", "stderr"
        ) as port,
    ):
        async with _ways("browser", int(port)) as (bare, client):
            listed = await asyncio.to_thread(_read, f"http://127.0.0.1:{bare}/json/list")
            page = next(row for row in json.loads(listed) if row["type"] == "page")
            address = f"ws://127.0.0.1:{bare}/devtools/page/{page['id']}"
            ours = await client.open("cdp", CDPClient)
            async with open_websocket(address, max_size=None, compression=None) as socket:
                number = 0

                async def call(method: str, **params: Any) -> dict[str, Any]:
                    nonlocal number
                    number += 1
                    await socket.send(
                        json.dumps({"id": number, "method": method, "params": params})
                    )
                    while True:
                        reply = json.loads(await socket.recv())
                        if reply.get("id") == number:
                            return cast("dict[str, Any]", reply["result"])

                async def plain() -> bytes:
                    shot = await call("Page.captureScreenshot", format="png", optimizeForSpeed=True)
                    return base64.b64decode(shot["data"])

                async def change() -> None:
                    await call("Runtime.evaluate", expression=f"document.body.append({number})")

                ways: dict[str, Way] = {"bare": plain, "ours": ours.screenshot}
                return await _measure(rounds, ways, change)


async def _desktops(rounds: int) -> dict[str, float]:
    asyncvnc: Any = importlib.import_module("asyncvnc")
    from PIL import Image

    command = [
        *("Xtigervnc", "-displayfd", "1", "-geometry", "1024x768", "-depth", "24"),
        *("-SecurityTypes", "None", "-localhost", "1", "-AlwaysShared"),
    ]
    # A terminal that goes on writing, so that every picture is another one.
    busy = "while :; do date +%N; sleep 0.01; done"
    with (
        _running(command, r"^(\d+)$", "stdout") as display,
        subprocess.Popen(  # noqa: ASYNC220 -- before anything is measured
            ["xterm", "-display", f":{display}", "-e", "sh", "-c", busy], start_new_session=True
        ) as terminal,
    ):
        async with _ways("screen", 5900 + int(display)) as (bare, client):
            ours = await client.open("rfb", RFBClient)
            async with asyncvnc.connect("127.0.0.1", bare) as theirs:

                async def plain() -> bytes:
                    image = Image.fromarray(await theirs.screenshot()).convert("RGB")
                    encoded = io.BytesIO()
                    await asyncio.to_thread(image.save, encoded, "PNG", compress_level=1)
                    return encoded.getvalue()

                async def change() -> None:
                    await asyncio.sleep(0.05)

                ways: dict[str, Way] = {"bare": plain, "ours": ours.screenshot}
                try:
                    return await _measure(rounds, ways, change)
                finally:
                    os.killpg(terminal.pid, signal.SIGKILL)


def _read(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=10) as reply:
        return cast("bytes", reply.read())


async def main(work: dict[str, Any]) -> dict[str, float]:
    page, desktop = await _pages(work["rounds"]), await _desktops(work["rounds"])
    return {f"page_{key}": page[key] for key in page} | {
        f"desktop_{key}": desktop[key] for key in desktop
    }


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main(json.loads(sys.argv[1])))))
