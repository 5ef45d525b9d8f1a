"""The router to what runs in a sandbox of Modal, as its SDK speaks to it: commands and their stdio.

Making sandboxes and the rest of the account is `modal_server`'s.
"""

# ruff: noqa: N802 -- the calls have the names that the protocol gives them
from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import grpclib.server
from grpclib import GRPCError, Status
from modal_proto import task_command_router_pb2 as tr
from modal_proto.task_command_router_grpc import TaskCommandRouterBase

if TYPE_CHECKING:
    from tests.clouds.modal_server import ModalServer

_PIECE_BYTES = 65_536

Stream = grpclib.server.Stream[Any, Any]


class Tape:
    """What a process printed, for readers that come when they like."""

    def __init__(self) -> None:
        self.data = b""
        self._ended = False
        self._changed = asyncio.Event()

    async def record(self, reader: asyncio.StreamReader) -> None:
        while piece := await reader.read(_PIECE_BYTES):
            self.data += piece
            self._tell()
        self._ended = True
        self._tell()

    def _tell(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def follow(self, offset: int) -> AsyncIterator[bytes]:
        while True:
            changed = self._changed
            while piece := self.data[offset : offset + _PIECE_BYTES]:
                offset += len(piece)
                yield piece
            if self._ended:
                return
            await changed.wait()


@dataclass(eq=False)
class Program:
    """A process in a sandbox, and the tapes of its output."""

    process: asyncio.subprocess.Process
    stdout: Tape = field(default_factory=Tape)
    stderr: Tape = field(default_factory=Tape)
    written: int = 0
    recording: asyncio.Task[Any] | None = None

    def start(self) -> Program:
        assert self.process.stdout is not None and self.process.stderr is not None
        self.recording = asyncio.gather(  # pyright: ignore[reportAttributeAccessIssue]
            self.stdout.record(self.process.stdout), self.stderr.record(self.process.stderr)
        )
        return self


class Router(TaskCommandRouterBase):
    def __init__(self, server: ModalServer) -> None:
        self._server = server

    def _program(self, request: Any) -> Program:
        self._server.of_task(request.task_id)
        program = self._server.programs.get(request.exec_id)
        if program is None:
            raise GRPCError(Status.NOT_FOUND, f"exec {request.exec_id} not found")
        return program

    async def TaskExecStart(self, stream: Stream) -> None:
        request = cast("tr.TaskExecStartRequest", await stream.recv_message())
        machine = self._server.of_task(request.task_id)
        if request.exec_id not in self._server.programs:
            process = await machine.run(list(request.command_args))
            self._server.programs[request.exec_id] = Program(process).start()
        await stream.send_message(tr.TaskExecStartResponse())

    async def TaskExecStdinWrite(self, stream: Stream) -> None:
        request = cast("tr.TaskExecStdinWriteRequest", await stream.recv_message())
        program = self._program(request)
        stdin = program.process.stdin
        assert stdin is not None
        if program.process.returncode is not None:
            raise GRPCError(Status.FAILED_PRECONDITION, "the process has exited")
        fresh = request.data[program.written - request.offset :]
        program.written += len(fresh)
        with contextlib.suppress(OSError):
            stdin.write(fresh)
            if request.eof:
                stdin.close()
            else:
                await stdin.drain()
        await stream.send_message(tr.TaskExecStdinWriteResponse())

    async def TaskExecStdioRead(self, stream: Stream) -> None:
        request = cast("tr.TaskExecStdioReadRequest", await stream.recv_message())
        program = self._program(request)
        stdout = tr.TASK_EXEC_STDIO_FILE_DESCRIPTOR_STDOUT
        tape = program.stdout if request.file_descriptor == stdout else program.stderr
        async for piece in tape.follow(request.offset):
            await stream.send_message(tr.TaskExecStdioReadResponse(data=piece))

    async def SandboxStdioReadV2(self, stream: Stream) -> None:
        request = cast("tr.SandboxStdioReadV2Request", await stream.recv_message())
        machine = self._server.of_task(request.task_id)
        offset = request.offset
        async for piece in self._server.main[machine.id].stdout.follow(offset):
            await stream.send_message(
                tr.SandboxStdioReadV2Response(data=piece, starting_offset=offset)
            )
            offset += len(piece)
