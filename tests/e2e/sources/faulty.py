"""An environment whose tasks break, hang, leak and look around, as they are told."""

import asyncio
import os
import random
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator
from typing import Any

from hud.environment import Environment

env = Environment(name="faulty")
calls = 0


def fail(how: str) -> None:
    sys.stdout.write(f"about to {how}\n")
    match how:
        case "abort":
            os.abort()
        case "exit":
            os._exit(3)
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "raise":
            raise RuntimeError("told to")
        case _:
            pass


@env.template()
async def broken(start: str = "", grade: str = "") -> AsyncGenerator[Any, Any]:
    fail(start)
    yield "break"
    fail(grade)
    yield 1.0


@env.template()
async def count() -> AsyncGenerator[Any, Any]:
    global calls  # noqa: PLW0603 -- what is looked at
    calls += 1
    answer = yield f"{os.getpid()} {calls}"
    yield float(answer == "ok")


@env.template()
async def draw() -> AsyncGenerator[Any, Any]:
    numpy: Any = sys.modules.get("numpy")
    numbers = [random.random()]
    if numpy is not None:
        numbers.append(float(numpy.random.random()))
    yield " ".join(map(str, numbers))
    yield 1.0


@env.template()
async def leak() -> AsyncGenerator[Any, Any]:
    """Leave behind processes of the own group, of an own session, and an orphan of an own."""
    sleep = ["sleep", "1000"]
    processes = [
        subprocess.Popen(sleep),  # noqa: ASYNC220
        subprocess.Popen(sleep, start_new_session=True),  # noqa: ASYNC220
    ]
    orphan = ["sh", "-c", "setsid sleep 1000 >/dev/null 2>&1 & echo $!"]
    pid = subprocess.check_output(orphan, text=True).strip()  # noqa: ASYNC221
    yield " ".join([*(str(process.pid) for process in processes), pid, str(os.getpid())])
    yield 1.0


@env.template()
async def stubborn() -> AsyncGenerator[Any, Any]:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    yield str(os.getpid())
    yield 1.0


@env.template()
async def wait() -> AsyncGenerator[Any, Any]:
    yield str(os.getpid())
    await asyncio.sleep(1000)
    yield 1.0
