"""E2B as its SDK sees it: the REST API of sandboxes, and the Connect RPC of what runs in one."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl, unquote

from connectrpc.code import Code
from connectrpc.errors import ConnectError
from connectrpc.request import RequestContext
from e2b.envd.process import process_pb as pb
from e2b.envd.process.process_connect import Process, ProcessASGIApplication
from protobuf import Oneof
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route

from tests.clouds.machines import Machine, Machines
from tests.clouds.serving import serving

KEY = "e2b_0123456789abcdef0123456789abcdef01234567"
_TOKEN = "token-of-the-sandbox"


@dataclass
class E2BServer:
    """The account.

    Attributes:
        refusals: Sent instead of an answer to the next requests of a method: status, message.
        cut: Make the next sandboxes and then cut the connection instead of answering.
    """

    machines: Machines
    url: str = ""
    refusals: dict[str, list[tuple[int, str]]] = field(
        default_factory=dict[str, list[tuple[int, str]]]
    )
    cut: int = 0

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncGenerator[E2BServer]:
        app = Starlette(
            routes=[
                Route("/v2/sandboxes", self._create, methods=["POST"]),
                Route("/v2/sandboxes", self._list, methods=["GET"]),
                Route("/sandboxes/{id}", self._kill, methods=["DELETE"]),
                Route("/health", self._health, methods=["GET"]),
                Mount("/", ProcessASGIApplication(_Envd(self.machines))),
            ]
        )
        async with serving(app) as self.url:
            try:
                yield self
            finally:
                await self.machines.aclose()

    def _refusal(self, request: Request) -> Response | None:
        if request.headers.get("x-api-key") != KEY:
            return JSONResponse({"code": 401, "message": "Invalid API key"}, 401)
        waiting = self.refusals.get(request.method)
        if waiting:
            status, message = waiting.pop(0)
            return JSONResponse({"code": status, "message": message}, status)
        return None

    async def _create(self, request: Request) -> Response:
        if refusal := self._refusal(request):
            return refusal
        body = await request.json()
        if body["templateID"] not in self.machines.images:
            message = f"template '{body['templateID']}' not found"
            return JSONResponse({"code": 404, "message": message}, 404)
        machine = self.machines.make(
            body["templateID"],
            labels=body["metadata"],
            env=body["envVars"],
            life_s=body["timeout"],
            asked=body,
        )
        if self.cut:
            self.cut -= 1
            raise ConnectionResetError("cut on purpose")
        reply = {
            "templateID": machine.image,
            "sandboxID": machine.id,
            "clientID": "client",
            "envdVersion": "0.6.4",
            "envdAccessToken": _TOKEN,
            "domain": "e2b.invalid",
            "trafficAccessToken": "traffic",
        }
        return JSONResponse(reply, 201)

    async def _list(self, request: Request) -> Response:
        if refusal := self._refusal(request):
            return refusal
        wanted = {
            unquote(key): unquote(value)
            for key, value in parse_qsl(request.query_params.get("metadata", ""))
        }
        now = datetime.now(UTC)
        rows: list[dict[str, Any]] = [
            {
                "templateID": machine.image,
                "sandboxID": machine.id,
                "clientID": "client",
                "startedAt": now.isoformat(),
                "endAt": (now + timedelta(seconds=machine.life_s)).isoformat(),
                "cpuCount": 2,
                "memoryMB": 512,
                "diskSizeMB": 1024,
                "state": "running",
                "envdVersion": "0.6.4",
                "metadata": machine.labels,
            }
            for machine in self.machines.living.values()
            if wanted.items() <= machine.labels.items()
        ]
        return JSONResponse(rows)

    async def _kill(self, request: Request) -> Response:
        if refusal := self._refusal(request):
            return refusal
        if not await self.machines.end(request.path_params["id"]):
            return JSONResponse({"code": 404, "message": "sandbox not found"}, 404)
        return Response(status_code=204)

    async def _health(self, request: Request) -> Response:
        gone = request.headers.get("e2b-sandbox-id") not in self.machines.living
        return Response(status_code=502 if gone else 204)


class _Envd(Process):
    """The daemon in every sandbox."""

    def __init__(self, machines: Machines) -> None:
        self._machines = machines

    def _machine(self, ctx: RequestContext[Any, Any]) -> Machine:
        headers = ctx.request_headers
        if headers.get("x-access-token") != _TOKEN:
            raise ConnectError(Code.UNAUTHENTICATED, "no access token")
        machine = self._machines.living.get(headers.get("e2b-sandbox-id", ""))
        if machine is None:
            raise ConnectError(Code.UNAVAILABLE, "The sandbox was not found")
        return machine

    async def start(
        self, request: pb.StartRequest, ctx: RequestContext[Any, Any]
    ) -> AsyncIterator[pb.StartResponse]:
        machine = self._machine(ctx)
        asked = request.process
        assert asked is not None
        # No login shell: the profile of this machine is not the sandbox's.
        args = [arg for arg in asked.args if arg != "-l"]
        process = await machine.run([asked.cmd, *args], env=asked.envs)
        assert process.stdout is not None and process.stderr is not None
        yield _event(Oneof("start", pb.ProcessEvent.StartEvent(pid=process.pid)))
        pieces: asyncio.Queue[pb.ProcessEvent.DataEvent | None] = asyncio.Queue()

        async def pass_on(reader: asyncio.StreamReader, is_error: bool) -> None:
            while data := await reader.read(65_536):
                if is_error:
                    await pieces.put(pb.ProcessEvent.DataEvent(output=Oneof("stderr", data)))
                else:
                    await pieces.put(pb.ProcessEvent.DataEvent(output=Oneof("stdout", data)))
            await pieces.put(None)

        ways = [
            asyncio.create_task(pass_on(process.stdout, False)),
            asyncio.create_task(pass_on(process.stderr, True)),
        ]
        try:
            for _ in ways:
                while (piece := await pieces.get()) is not None:
                    yield _event(Oneof("data", piece))
            code = await process.wait()
            self._machine(ctx)  # no end is told of what ended with its sandbox
            end = pb.ProcessEvent.EndEvent(exit_code=code, exited=True, status=f"exit {code}")
            yield _event(Oneof("end", end))
        finally:
            for way in ways:
                way.cancel()

    async def send_input(
        self, request: pb.SendInputRequest, ctx: RequestContext[Any, Any]
    ) -> pb.SendInputResponse:
        process = self._find(self._machine(ctx), request.process)
        assert process.stdin is not None and request.input is not None
        match request.input.input:
            case Oneof(field="stdin", value=data):
                process.stdin.write(data)
            case _:
                raise ConnectError(Code.INVALID_ARGUMENT, "only stdin")
        with contextlib.suppress(OSError):
            await process.stdin.drain()
        return pb.SendInputResponse()

    async def send_signal(
        self, request: pb.SendSignalRequest, ctx: RequestContext[Any, Any]
    ) -> pb.SendSignalResponse:
        process = self._find(self._machine(ctx), request.process)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        return pb.SendSignalResponse()

    def _find(
        self, machine: Machine, selector: pb.ProcessSelector | None
    ) -> asyncio.subprocess.Process:
        assert selector is not None
        match selector.selector:
            case Oneof(field="pid", value=pid):
                for process in machine.processes:
                    if process.pid == pid and process.returncode is None:
                        return process
            case _:
                pass
        raise ConnectError(Code.NOT_FOUND, "process not found")


def _event(event: Any) -> pb.StartResponse:
    return pb.StartResponse(event=pb.ProcessEvent(event=event))
