"""The floor under a rollout in its own process: fork a parent that has imported the source.

`bare` forks children that exit at once. `echo` lets each run an event loop and answer the four
messages of a rollout over a socket pair. Up to `concurrent` children live at once; all are reaped.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import os
import runpy
import selectors
import socket
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks import proc
from benchmarks.programs import spec
from benchmarks.programs.echo import REQUESTS, Server

LETTERS = Path(__file__).resolve().parent.parent / "sources" / "letters.py"


@dataclass(frozen=True)
class Work:
    """What to run."""

    does: str
    rollouts: int
    concurrent: int


def bare(work: Work) -> None:
    living = 0
    for _ in range(work.rollouts):
        if living == work.concurrent:
            os.wait()
            living -= 1
        if os.fork() == 0:
            os._exit(0)
        living += 1
    for _ in range(living):
        os.wait()


def echo(work: Work) -> None:
    with selectors.DefaultSelector() as selector:
        left, living = work.rollouts, 0
        while left or living:
            while left and living < work.concurrent:
                ours, theirs = socket.socketpair()
                if os.fork() == 0:
                    serve(theirs, ours)
                theirs.close()
                selector.register(ours, selectors.EVENT_READ, iter(enumerate(REQUESTS)))
                ask(ours, selector.get_key(ours).data)
                left, living = left - 1, living + 1
            for key, _ in selector.select():
                ours = key.fileobj
                assert isinstance(ours, socket.socket)
                json.loads(ours.recv(65_536))
                if not ask(ours, key.data):
                    selector.unregister(ours)
                    ours.close()
                    os.wait()
                    living -= 1


def ask(end: socket.socket, requests: enumerate[tuple[str, dict[str, object]]]) -> bool:
    """Send the next request; False when there is none left."""
    for number, (method, params) in requests:
        end.sendall(json.dumps({"id": number, "method": method, "params": params}).encode() + b"\n")
        return True
    return False


def serve(end: socket.socket, others: socket.socket) -> None:
    """Answer in the child until the goodbye, then exit."""

    async def run() -> None:
        done = asyncio.Event()

        class UntilBye(Server):
            left = len(REQUESTS)

            def data_received(self, data: bytes) -> None:
                super().data_received(data)
                self.left -= 1
                if self.left == 0:
                    done.set()

        await asyncio.get_running_loop().connect_accepted_socket(UntilBye, end)
        await done.wait()

    with contextlib.suppress(BaseException):
        others.close()
        asyncio.run(run())
    os._exit(0)


def main(work: Work) -> None:
    import hud.environment.server

    runpy.run_path(str(LETTERS))
    assert hud.environment.server
    gc.collect()
    gc.freeze()
    cpu_s, began = proc.cpu_s(os.getpid()), time.perf_counter()
    (bare if work.does == "bare" else echo)(work)
    spec.write({"wall_s": time.perf_counter() - began, "cpu_s": proc.cpu_s(os.getpid()) - cpu_s})


if __name__ == "__main__":
    main(spec.read(Work))
