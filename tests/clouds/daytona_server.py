"""Daytona as its SDK sees it: the REST API, the toolbox of every sandbox, and the SSH gateway."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import asyncssh
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.clouds.machines import PORT, Machine, Machines
from tests.clouds.serving import serving

KEY = "dtn_0123456789abcdef0123456789abcdef"


@dataclass
class DaytonaServer:
    """The account.

    Attributes:
        refusals: Sent instead of an answer to the next requests of a method: status, message.
        cut: Make the next sandboxes and then cut the connection instead of answering.
        fail: How many sandboxes will say that they could not be started.
    """

    machines: Machines
    url: str = ""
    ssh_host: str = ""
    refusals: dict[str, list[tuple[int, str]]] = field(
        default_factory=dict[str, list[tuple[int, str]]]
    )
    cut: int = 0
    fail: int = 0
    tokens: dict[str, Machine] = field(default_factory=dict[str, Machine])
    output: dict[int, bytes] = field(default_factory=dict[int, bytes])
    failed: set[str] = field(default_factory=set[str])

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncGenerator[DaytonaServer]:
        box, tool = "/sandbox/{id}", "/toolbox/{id}/process/session"
        app = Starlette(
            routes=[
                Route("/sandbox", self._create, methods=["POST"]),
                Route("/sandbox", self._list, methods=["GET"]),
                Route(box, self._get, methods=["GET"]),
                Route(box, self._delete, methods=["DELETE"]),
                Route(f"{box}/ssh-access", self._ssh_access, methods=["POST"]),
                Route(tool, self._session, methods=["POST"]),
                Route(f"{tool}/{{session}}/exec", self._exec, methods=["POST"]),
                Route(f"{tool}/{{session}}/command/{{pid}}", self._command, methods=["GET"]),
                Route(f"{tool}/{{session}}/command/{{pid}}/logs", self._logs, methods=["GET"]),
            ]
        )
        gateway = await asyncssh.listen(
            "127.0.0.1",
            0,
            server_factory=lambda: _Gateway(self.tokens),
            server_host_keys=[cast("Any", asyncssh).generate_private_key("ssh-ed25519")],
        )
        self.ssh_host = f"127.0.0.1:{gateway.get_port()}"
        readers: set[asyncio.Task[None]] = set()
        self._readers = readers
        try:
            async with serving(app) as self.url:
                try:
                    yield self
                finally:
                    await self.machines.aclose()
                    await asyncio.gather(*readers)
        finally:
            gateway.close()
            await gateway.wait_closed()

    def _refusal(self, request: Request) -> Response | None:
        if request.headers.get("authorization") != f"Bearer {KEY}":
            return _refused(401, "Invalid credentials")
        waiting = self.refusals.get(request.method)
        return _refused(*waiting.pop(0)) if waiting else None

    def _row(self, machine: Machine) -> dict[str, Any]:
        now = datetime.now(UTC).isoformat()
        failed = machine.id in self.failed
        return {
            "id": machine.id,
            "organizationId": "org",
            "name": machine.id,
            "snapshot": machine.image,
            "user": "daytona",
            "env": machine.env,
            "labels": machine.labels,
            "public": False,
            "networkBlockAll": False,
            "kvm": False,
            "target": "us",
            "cpu": 1,
            "gpu": 0,
            "memory": 1,
            "disk": 3,
            "state": "error" if failed else "started",
            "errorReason": "no runner could start it" if failed else None,
            "createdAt": now,
            "autoDestroyAt": (datetime.now(UTC) + timedelta(seconds=machine.life_s)).isoformat(),
            "toolboxProxyUrl": f"{self.url}/toolbox",
        }

    async def _create(self, request: Request) -> Response:
        if refusal := self._refusal(request):
            return refusal
        body = await request.json()
        image = body.get("snapshot")
        if image is None:
            image = body["buildInfo"]["dockerfileContent"].split()[1]
        if image not in self.machines.images:
            return _refused(404, f"Snapshot {image} not found")
        machine = self.machines.make(
            image,
            labels=body["labels"],
            env=body["env"],
            life_s=body["ttlMinutes"] * 60,
            asked=body,
        )
        if self.cut:
            self.cut -= 1
            raise ConnectionResetError("cut on purpose")
        if self.fail:
            self.fail -= 1
            self.failed.add(machine.id)
        return JSONResponse(self._row(machine))

    async def _list(self, request: Request) -> Response:
        if refusal := self._refusal(request):
            return refusal
        wanted = json.loads(request.query_params.get("labels") or "{}")
        rows = [
            self._row(machine)
            for machine in self.machines.living.values()
            if wanted.items() <= machine.labels.items()
        ]
        return JSONResponse({"items": rows, "nextCursor": None})

    async def _get(self, request: Request) -> Response:
        if refusal := self._refusal(request):
            return refusal
        machine = self._machine(request)
        return _refused(404, "Sandbox not found") if machine is None else self._told(machine)

    async def _delete(self, request: Request) -> Response:
        if refusal := self._refusal(request):
            return refusal
        machine = self._machine(request)
        if machine is None:
            return _refused(404, "Sandbox not found")
        await self.machines.end(machine.id)
        return JSONResponse({**self._row(machine), "state": "destroyed"})

    def _told(self, machine: Machine) -> Response:
        return JSONResponse(self._row(machine))

    async def _ssh_access(self, request: Request) -> Response:
        if refusal := self._refusal(request):
            return refusal
        machine = self._machine(request)
        if machine is None:
            return _refused(404, "Sandbox not found")
        token = f"ssh-token-of-{machine.id}"
        self.tokens[token] = machine
        now = datetime.now(UTC).isoformat()
        return JSONResponse(
            {
                "id": "access",
                "sandboxId": machine.id,
                "token": token,
                "expiresAt": now,
                "createdAt": now,
                "updatedAt": now,
                "sshCommand": f"ssh {token}@{self.ssh_host}",
            }
        )

    async def _session(self, request: Request) -> Response:
        if self._machine(request) is None:
            return _refused(404, "Sandbox not found")
        return Response(status_code=201)

    async def _exec(self, request: Request) -> Response:
        machine = self._machine(request)
        if machine is None:
            return _refused(404, "Sandbox not found")
        body = await request.json()
        process = await machine.run(["/bin/sh", "-c", body["command"]], merged=True)
        assert process.stdout is not None
        self._readers.add(asyncio.create_task(self._keep(process.pid, process.stdout)))
        return JSONResponse({"cmdId": str(process.pid)}, 202)

    async def _keep(self, pid: int, reader: asyncio.StreamReader) -> None:
        self.output[pid] = b""
        while data := await reader.read(65_536):
            self.output[pid] += data

    async def _command(self, request: Request) -> Response:
        machine = self._machine(request)
        if machine is None:
            return _refused(404, "Sandbox not found")
        pid = int(request.path_params["pid"])
        process = next(process for process in machine.processes if process.pid == pid)
        row: dict[str, Any] = {"id": str(pid), "command": "serve"}
        if process.returncode is not None:
            row["exitCode"] = process.returncode
        return JSONResponse(row)

    async def _logs(self, request: Request) -> Response:
        text = self.output[int(request.path_params["pid"])].decode()
        return JSONResponse({"output": text, "stdout": text, "stderr": ""})

    def _machine(self, request: Request) -> Machine | None:
        return self.machines.living.get(request.path_params["id"])


class _Gateway(asyncssh.SSHServer):
    """Takes a token as the user, and opens connections inside that sandbox."""

    def __init__(self, tokens: dict[str, Machine]) -> None:
        self._tokens = tokens
        self._machine: Machine | None = None

    def begin_auth(self, username: str) -> bool:
        self._machine = self._tokens.get(username)
        return self._machine is None

    def connection_requested(self, dest_host: str, dest_port: int, orig_host: str, orig_port: int):
        machine = self._machine
        if machine is None or dest_port != PORT:
            return False

        async def forward(
            reader: asyncssh.SSHReader[bytes], writer: asyncssh.SSHWriter[bytes]
        ) -> None:
            try:
                near, far = await asyncio.open_connection("127.0.0.1", machine.port)
            except OSError:
                writer.close()
                return

            async def back() -> None:
                while data := await near.read(65_536):
                    writer.write(data)
                writer.close()

            returning = asyncio.create_task(back())
            try:
                while data := await reader.read(65_536):
                    far.write(data)
            except asyncssh.Error:
                pass
            finally:
                far.close()
                returning.cancel()

        return forward


def _refused(status: int, message: str) -> Response:
    return JSONResponse({"statusCode": status, "message": message, "error": "error"}, status)
