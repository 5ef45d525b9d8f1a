"""The floor under a rollout in one process: the messages alone, on bare asyncio.

A rollout is four round trips of newline-delimited JSON (hello, start, grade, bye) on a connection
of its own, over TCP on loopback or handed over in memory. Nothing is checked, kept or recorded.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from dataclasses import dataclass
from typing import Any

from benchmarks import proc
from benchmarks.programs import spec

PROMPT = "How many 'r's are in 'strawberry'? Reply with just the number."
REQUESTS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("hello", {"version": "1"}),
    ("tasks.start", {"id": "count_letter", "args": {"word": "strawberry", "letter": "r"}}),
    ("tasks.grade", {"answer": "3"}),
    ("bye", {}),
)


@dataclass(frozen=True)
class Work:
    """What to run; `wait_s` stands for the agent, between start and grade."""

    over: str
    rollouts: int
    concurrent: int
    wait_s: float = 0.0


class Server(asyncio.Protocol):
    """Answer every line."""

    def __init__(self) -> None:
        self.transport: Any = None
        self.rest = b""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        *lines, self.rest = (self.rest + data).split(b"\n")
        for line in lines:
            request = json.loads(line)
            reply = {"id": request["id"], "result": {"prompt": PROMPT, "score": 1.0}}
            self.transport.write(json.dumps(reply).encode() + b"\n")


class Client(asyncio.Protocol):
    """Send one request at a time and wait for its reply."""

    def __init__(self) -> None:
        self.transport: Any = None
        self.rest = b""
        self.waiting: asyncio.Future[Any] | None = None

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        *lines, self.rest = (self.rest + data).split(b"\n")
        for line in lines:
            if self.waiting is not None and not self.waiting.done():
                self.waiting.set_result(json.loads(line))

    async def ask(self, number: int, method: str, params: dict[str, Any]) -> Any:
        self.waiting = asyncio.get_running_loop().create_future()
        request = {"id": number, "method": method, "params": params}
        self.transport.write(json.dumps(request).encode() + b"\n")
        return await self.waiting


class Handover:
    """The writing end of a pair in memory."""

    def __init__(self, loop: asyncio.AbstractEventLoop, receiver: asyncio.Protocol) -> None:
        self.loop = loop
        self.receiver = receiver

    def write(self, data: bytes) -> None:
        self.loop.call_soon(self.receiver.data_received, data)

    def close(self) -> None:
        pass


async def main(work: Work) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Server, "127.0.0.1", 0, backlog=4096)
    host, port = server.sockets[0].getsockname()

    async def connect() -> Client:
        if work.over == "tcp":
            return (await loop.create_connection(Client, host, port))[1]
        client, other = Client(), Server()
        client.connection_made(Handover(loop, other))
        other.connection_made(Handover(loop, client))
        return client

    async def rollout() -> None:
        client = await connect()
        for number, (method, params) in enumerate(REQUESTS):
            if work.wait_s and method == "tasks.grade":
                await asyncio.sleep(work.wait_s)
            await client.ask(number, method, params)
        client.transport.close()

    left = work.rollouts

    async def worker() -> None:
        nonlocal left
        while left > 0:
            left -= 1
            await rollout()

    cpu_s, began = proc.cpu_s(os.getpid()), time.perf_counter()
    await asyncio.gather(*(worker() for _ in range(min(work.concurrent, work.rollouts))))
    spec.write({"wall_s": time.perf_counter() - began, "cpu_s": proc.cpu_s(os.getpid()) - cpu_s})
    server.close()


if __name__ == "__main__":
    asyncio.run(main(spec.read(Work)))
