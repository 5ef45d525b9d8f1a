"""Modal as its SDK sees it: the gRPC control plane, and the router to what runs in a sandbox.

Sandboxes of both of Modal's backends: those with a GPU are made, watched and read by other calls.
"""

# ruff: noqa: N802 -- the calls have the names that the protocol gives them
from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import time
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

import grpclib.events
import grpclib.server
import modal
from grpclib import GRPCError, Status
from modal_proto import api_pb2 as pb
from modal_proto.api_grpc import ModalClientBase
from modal_proto.task_command_router_grpc import TaskCommandRouterBase

from tests.clouds.machines import Machine, Machines
from tests.clouds.modal_router import Program, Router
from tests.clouds.serving import listening_socket

TOKEN_ID, TOKEN_SECRET = "ak-0123456789abcdef", "as-fedcba9876543210"
APP_ID, APP_NAME = "ap-0123456789abcdefABCDEF", "hud"
# With the number of the sandbox, an id of the shape that the SDK knows the older backend by.
_V1_PREFIX = "sb-GPUGPUGPUGPUGPUGPU"

Stream = grpclib.server.Stream[Any, Any]
Served = TypeVar("Served", ModalClientBase, TaskCommandRouterBase)


@dataclass
class ModalServer:
    """The account.

    Attributes:
        refusals: Answered instead, to the next calls of a name: status, message.
        building: Set once images of the name `slow` are built.
        cut: Make the next sandboxes, and then cut the call instead of answering.
        token_life_s: For how long a token of a sandbox is good.
        expired: Sandboxes whose lifetime the vendor found to be over.
        calls: Names of the calls, in order.
    """

    machines: Machines
    url: str = ""
    refusals: dict[str, list[tuple[Status, str]]] = field(
        default_factory=dict[str, list[tuple[Status, str]]]
    )
    building: asyncio.Event = field(default_factory=asyncio.Event)
    cut: int = 0
    token_life_s: float = 3_600.0
    expired: set[str] = field(default_factory=set[str])
    calls: list[str] = field(default_factory=list[str])
    main: dict[str, Program] = field(default_factory=dict[str, Program])
    programs: dict[str, Program] = field(default_factory=dict[str, Program])
    secrets: dict[str, dict[str, str]] = field(default_factory=dict[str, dict[str, str]])
    answered: dict[str, Any] = field(default_factory=dict[str, Any])
    created_at: dict[str, float] = field(default_factory=dict[str, float])
    _called: asyncio.Event = field(default_factory=asyncio.Event)
    _wake: asyncio.Event = field(default_factory=asyncio.Event)

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncGenerator[ModalServer]:
        listening = listening_socket()
        self.url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        handlers = [_whole(_ControlPlane, self), _whole(Router, self)]
        server = grpclib.server.Server(handlers)
        grpclib.events.listen(server, grpclib.events.RecvRequest, self._received)
        await server.start(sock=listening)
        try:
            yield self
        finally:
            server.close()
            await server.wait_closed()
            await self.machines.aclose()
            running = [*self.main.values(), *self.programs.values()]
            await asyncio.gather(*(it.recording for it in running if it.recording))

    async def _received(self, event: grpclib.events.RecvRequest) -> None:
        name = event.method_name.rpartition("/")[2]
        self.calls.append(name)
        self._called.set()
        self._called = asyncio.Event()
        headers = cast("Mapping[str, str]", event.metadata)
        if "TaskCommandRouter" in event.method_name:
            if not headers.get("authorization", "").startswith("Bearer "):
                raise GRPCError(Status.UNAUTHENTICATED, "no token")
        else:
            secret = headers.get("x-modal-token-secret")
            if (headers.get("x-modal-token-id"), secret) != (TOKEN_ID, TOKEN_SECRET):
                raise GRPCError(Status.UNAUTHENTICATED, "Token validation failed")
            if name.endswith("V2") and headers.get("x-modal-auth-token") != _jwt("account"):
                raise GRPCError(Status.UNAUTHENTICATED, "no auth token")
        if self.refusals.get(name):
            raise GRPCError(*self.refusals[name].pop(0))

    async def make(
        self, asked: pb.Sandbox, tags: Mapping[str, str], env: Mapping[str, str]
    ) -> Machine:
        image = asked.image_id.removeprefix("im-")
        machine = self.machines.make(
            image,
            labels=tags,
            env=env,
            life_s=asked.timeout_secs,
            asked={"definition": asked},
            prefix=_V1_PREFIX if asked.resources.gpu_config.gpu_type else "sb-",
        )
        self.created_at[machine.id] = time.time()
        await self.start(machine, asked.entrypoint_args)
        return machine

    async def start(self, machine: Machine, command: Iterable[str]) -> None:
        process = await machine.run(list(command))
        self.main[machine.id] = Program(process).start()

    async def leave(self, image: str, tags: Mapping[str, str], gpu: str = "") -> None:
        """Make a sandbox that nobody here asked for."""
        asked = pb.Sandbox(image_id=f"im-{image}", entrypoint_args=["sleep", "1000"])
        asked.resources.gpu_config.gpu_type = gpu
        await self.make(asked, tags, {})

    def asked(self, machine: Machine) -> pb.Sandbox:
        """Return the definition that a sandbox was made by."""
        return cast("pb.Sandbox", machine.asked["definition"])

    async def called(self) -> None:
        """Wait for the next call."""
        await self._called.wait()

    def wake(self) -> None:
        """Answer at once whoever waits for a sandbox to end: that it has not."""
        self._wake.set()
        self._wake = asyncio.Event()

    def living(self, sandbox_id: str) -> Machine:
        machine = self.machines.living.get(sandbox_id)
        if machine is None:
            raise GRPCError(Status.NOT_FOUND, f"Sandbox {sandbox_id} not found")
        return machine

    def of_task(self, task_id: str) -> Machine:
        return self.living(f"sb-{task_id.removeprefix('ta-').removesuffix('V')}")

    def result_of(self, sandbox_id: str) -> pb.GenericResult:
        """Tell how a sandbox ended; the status is 0 while it has not."""
        result = pb.GenericResult
        if sandbox_id in self.expired:
            return result(status=result.GENERIC_STATUS_TIMEOUT)
        if sandbox_id not in self.machines.living:
            return result(status=result.GENERIC_STATUS_TERMINATED)
        code = self.main[sandbox_id].process.returncode
        if code is None:
            return result()
        ok = result.GENERIC_STATUS_SUCCESS if code == 0 else result.GENERIC_STATUS_FAILURE
        return result(status=ok, exitcode=code if code >= 0 else 128 - code)

    async def until_ended(self, program: Program, timeout_s: float) -> None:
        """Wait until a process ends, the time is over, or `wake` is called."""
        ways = [asyncio.create_task(program.process.wait()), asyncio.create_task(self._wake.wait())]
        try:
            await asyncio.wait(ways, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()

    async def expire(self, sandbox_id: str) -> None:
        """End a sandbox as the vendor does when its lifetime is over."""
        self.expired.add(sandbox_id)
        await self.machines.end(sandbox_id)


class _ControlPlane(ModalClientBase):
    def __init__(self, server: ModalServer) -> None:
        self._server = server

    async def AuthTokenGet(self, stream: Stream) -> None:
        await stream.recv_message()
        await stream.send_message(pb.AuthTokenGetResponse(token=_jwt("account")))

    async def AppGetOrCreate(self, stream: Stream) -> None:
        request = cast("pb.AppGetOrCreateRequest", await stream.recv_message())
        await stream.send_message(
            pb.AppGetOrCreateResponse(
                app_id=APP_ID, handle_metadata=pb.AppHandleMetadata(description=request.app_name)
            )
        )

    async def EnvironmentGetOrCreate(self, stream: Stream) -> None:
        await stream.recv_message()
        settings = pb.EnvironmentSettings(image_builder_version="2025.06")
        metadata = pb.EnvironmentMetadata(name="main", settings=settings)
        reply = pb.EnvironmentGetOrCreateResponse(environment_id="en-main", metadata=metadata)
        await stream.send_message(reply)

    async def ImageGetByTag(self, stream: Stream) -> None:
        request = cast("pb.ImageGetByTagRequest", await stream.recv_message())
        name = request.tag.rpartition("/")[2].partition(":")[0]
        if name not in self._server.machines.images:
            raise GRPCError(Status.NOT_FOUND, f"Image {request.tag} not found")
        await stream.send_message(pb.ImageGetByTagResponse(image_id=f"im-{name}"))

    async def ImageFromId(self, stream: Stream) -> None:
        request = cast("pb.ImageFromIdRequest", await stream.recv_message())
        if request.image_id.removeprefix("im-") not in self._server.machines.images:
            raise GRPCError(Status.NOT_FOUND, f"Image {request.image_id} not found")
        await stream.send_message(pb.ImageFromIdResponse(image_id=request.image_id))

    async def ImageGetOrCreate(self, stream: Stream) -> None:
        request = cast("pb.ImageGetOrCreateRequest", await stream.recv_message())
        name = request.image.dockerfile_commands[0].split()[1].rpartition("/")[2]
        await stream.send_message(pb.ImageGetOrCreateResponse(image_id=f"im-{name}"))

    async def ImageJoinStreaming(self, stream: Stream) -> None:
        request = cast("pb.ImageJoinStreamingRequest", await stream.recv_message())
        if request.image_id == "im-slow":
            await self._server.building.wait()
        result = pb.GenericResult(status=pb.GenericResult.GENERIC_STATUS_SUCCESS)
        if request.image_id.removeprefix("im-") not in self._server.machines.images:
            result = pb.GenericResult(status=pb.GenericResult.GENERIC_STATUS_FAILURE)
        await stream.send_message(
            pb.ImageJoinStreamingResponse(entry_id="1", task_logs=[pb.TaskLogs(data="pulling\n")])
        )
        await stream.send_message(pb.ImageJoinStreamingResponse(result=result, eof=True))

    async def ImageBuildChainGet(self, stream: Stream) -> None:
        request = cast("pb.ImageBuildChainGetRequest", await stream.recv_message())
        step = pb.ImageBuildStep(image_id=request.image_id, builder_app_id="ap-build")
        step.started_at.GetCurrentTime()
        step.finished_at.GetCurrentTime()
        await stream.send_message(pb.ImageBuildChainGetResponse(build_steps=[step]))

    async def AppFetchLogs(self, stream: Stream) -> None:
        await stream.recv_message()
        lines = [pb.TaskLogs(data="pulling\n"), pb.TaskLogs(data="manifest unknown\n")]
        await stream.send_message(pb.AppFetchLogsResponse(batches=[pb.TaskLogsBatch(items=lines)]))

    async def SecretGetOrCreate(self, stream: Stream) -> None:
        request = cast("pb.SecretGetOrCreateRequest", await stream.recv_message())
        secret_id = f"st-{len(self._server.secrets)}"
        self._server.secrets[secret_id] = dict(request.env_dict)
        await stream.send_message(pb.SecretGetOrCreateResponse(secret_id=secret_id))

    async def SandboxCreateV2(self, stream: Stream) -> None:
        request = cast("pb.SandboxCreateV2Request", await stream.recv_message())
        env = {
            name: value
            for source in request.secret_sources
            for name, value in source.env.contents.items()
        }

        async def make() -> pb.SandboxCreateV2Response:
            machine = await self._server.make(request.definition, _tags(request.tags), env)
            task_id = f"ta-{machine.id.removeprefix('sb-')}V"
            access = pb.CommandRouterAccess(url=self._server.url, jwt=self._token(task_id))
            return pb.SandboxCreateV2Response(
                sandbox_id=machine.id,
                task_id=task_id,
                command_router_access=access,
                sandbox_token="token-of-the-sandbox",
            )

        await self._create(stream, make)

    async def SandboxCreate(self, stream: Stream) -> None:
        request = cast("pb.SandboxCreateRequest", await stream.recv_message())
        env: dict[str, str] = {}
        for secret_id in request.definition.secret_ids:
            env |= self._server.secrets[secret_id]

        async def make() -> pb.SandboxCreateResponse:
            machine = await self._server.make(request.definition, _tags(request.tags), env)
            return pb.SandboxCreateResponse(sandbox_id=machine.id)

        await self._create(stream, make)

    async def _create(self, stream: Stream, make: Callable[[], Coroutine[Any, Any, Any]]) -> None:
        server = self._server
        key = str(cast("Mapping[str, str]", stream.metadata)["x-idempotency-key"])
        if key not in server.answered:
            server.answered[key] = await make()
        if server.cut:
            server.cut -= 1
            await stream.cancel()
            return
        await stream.send_message(server.answered[key])

    def _token(self, about: str) -> str:
        return _jwt(about, expires_at=time.time() + self._server.token_life_s)

    async def SandboxGetTaskId(self, stream: Stream) -> None:
        request = cast("pb.SandboxGetTaskIdRequest", await stream.recv_message())
        machine = self._server.living(request.sandbox_id)
        task_id = f"ta-{machine.id.removeprefix('sb-')}"
        await stream.send_message(pb.SandboxGetTaskIdResponse(task_id=task_id))

    async def SandboxGetCommandRouterAccess(self, stream: Stream) -> None:
        request = cast("pb.SandboxGetCommandRouterAccessRequest", await stream.recv_message())
        self._server.living(request.sandbox_id)
        reply = pb.SandboxGetCommandRouterAccessResponse
        await stream.send_message(reply(url=self._server.url, jwt=self._token(request.sandbox_id)))

    async def TaskGetCommandRouterAccess(self, stream: Stream) -> None:
        request = cast("pb.TaskGetCommandRouterAccessRequest", await stream.recv_message())
        self._server.of_task(request.task_id)
        reply = pb.TaskGetCommandRouterAccessResponse
        await stream.send_message(reply(url=self._server.url, jwt=self._token(request.task_id)))

    async def SandboxWaitV2(self, stream: Stream) -> None:
        request = cast("pb.SandboxWaitRequest", await stream.recv_message())
        program = self._server.main.get(request.sandbox_id)
        if program is None:
            raise GRPCError(Status.NOT_FOUND, f"Sandbox {request.sandbox_id} not found")
        if request.timeout:
            await self._server.until_ended(program, request.timeout)
        result = self._server.result_of(request.sandbox_id)
        await stream.send_message(pb.SandboxWaitResponse(result=result))

    SandboxWait = SandboxWaitV2

    async def SandboxTerminateV2(self, stream: Stream) -> None:
        request = cast("pb.SandboxTerminateRequest", await stream.recv_message())
        await self._server.machines.end(request.sandbox_id)
        await stream.send_message(pb.SandboxTerminateResponse())

    SandboxTerminate = SandboxTerminateV2

    async def SandboxListV2(self, stream: Stream) -> None:
        request = cast("pb.SandboxListRequest", await stream.recv_message())
        server, wanted = self._server, _tags(request.tags)
        if request.app_id != APP_ID:
            raise GRPCError(Status.NOT_FOUND, "no such app")
        before = request.before_timestamp or float("inf")
        rows = [
            pb.SandboxInfo(id=machine.id, app_id=APP_ID, created_at=server.created_at[machine.id])
            for machine in server.machines.living.values()
            if wanted.items() <= machine.labels.items()
            and server.created_at[machine.id] < before
            and not server.result_of(machine.id).status
        ]
        rows.sort(key=lambda row: -row.created_at)
        await stream.send_message(pb.SandboxListResponse(sandboxes=rows[:2]))

    async def SandboxTagsGetV2(self, stream: Stream) -> None:
        request = cast("pb.SandboxTagsGetRequest", await stream.recv_message())
        labels = self._server.living(request.sandbox_id).labels
        tags = [pb.SandboxTag(tag_name=name, tag_value=value) for name, value in labels.items()]
        await stream.send_message(pb.SandboxTagsGetResponse(tags=tags))

    SandboxTagsGet = SandboxTagsGetV2

    async def SandboxGetLogs(self, stream: Stream) -> None:
        request = cast("pb.SandboxGetLogsRequest", await stream.recv_message())
        tape = self._server.main[request.sandbox_id].stdout
        async for piece in tape.follow(int(request.last_entry_id or 0)):
            items = [pb.TaskLogs(data=piece.decode())]
            await stream.send_message(pb.TaskLogsBatch(entry_id=str(len(tape.data)), items=items))
        await stream.send_message(pb.TaskLogsBatch(eof=True))


def _whole(kind: type[Served], server: ModalServer) -> Served:
    """Return a `kind` whose other calls answer that they are not implemented."""

    async def unimplemented(self: object, stream: Stream) -> None:
        raise GRPCError(Status.UNIMPLEMENTED, "not in this stand-in")

    missing = dict.fromkeys(cast("Any", kind).__abstractmethods__, unimplemented)
    return cast("Served", type(kind.__name__, (kind,), missing)(server))


def _tags(tags: Any) -> dict[str, str]:
    return {tag.tag_name: tag.tag_value for tag in tags}


def _jwt(about: str, expires_at: float = 4_000_000_000) -> str:
    claims = json.dumps({"sub": about, "exp": expires_at}).encode()
    return f"e30.{base64.urlsafe_b64encode(claims).decode().rstrip('=')}.signature"


async def close_client() -> None:
    """Close the client that the SDK keeps for the whole process, so that it reads its keys anew."""
    client = await cast("Any", modal.Client).from_env.aio()
    await client.close.aio()


def assert_nothing_is_left(server: ModalServer) -> None:
    """Check that every sandbox was ended, and once."""
    machines = server.machines
    assert not machines.living
    assert sorted(machines.ended) == sorted(machine.id for machine in machines.made)
