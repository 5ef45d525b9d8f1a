"""The host's end of the socket to a sandbox's supervisor: requests, replies, exits.

Everything that arrives is treated as written by the agent: bounded, checked, never trusted.
"""

from __future__ import annotations

import asyncio
import errno
import json
import os
import socket
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hud._core.errors import CapabilityFault
from hud.sandbox.guest import packets

_BUFFER_BYTES = 1 << 20
_REPLY_S = 30.0


class SandboxGone(CapabilityFault):
    """The sandbox ended, by its limits, by the agent's doing or because it was stopped."""

    code = "sandbox_gone"


class CannotStart(Exception):
    """A program could not be started inside, for a reason the agent can cause or mend."""

    def __init__(self, number: int, text: str) -> None:
        super().__init__(text)
        self.errno = number

    @property
    def is_exhaustion(self) -> bool:
        """Whether a limit of processes, memory or descriptors was in the way."""
        return self.errno in (errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE)


@dataclass
class Reply:
    """What the supervisor answered, with descriptors that are the caller's to close."""

    body: dict[str, Any]
    fds: list[int] = field(default_factory=list[int])


def pair() -> tuple[socket.socket, socket.socket]:
    """Return the host's and the supervisor's end of a new control socket."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    for end in (ours, theirs):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER_BYTES)
    ours.setblocking(False)
    return ours, theirs


class Link:
    """Requests to one supervisor. Close it to end the sandbox."""

    def __init__(self, sock: socket.socket) -> None:
        self._loop = asyncio.get_running_loop()
        self._socket = sock
        self._numbers = 0
        self._replies: dict[int, asyncio.Future[Reply]] = {}
        self._exits: dict[int, asyncio.Future[int]] = {}
        self._outgoing: deque[tuple[bytes, list[int]]] = deque()
        self.lost: asyncio.Future[None] = self._loop.create_future()
        self.ready: asyncio.Future[None] = self._loop.create_future()
        self._loop.add_reader(sock, self._receive)

    @property
    def is_open(self) -> bool:
        return not self.lost.done()

    def configure(self, settings: Mapping[str, Any]) -> None:
        """Send the first packet, which is not answered but with `ready`."""
        self._send(json.dumps(settings).encode(), [])

    async def request(self, op: str, fds: Sequence[int] = (), **body: Any) -> Reply:
        """Ask and wait for the answer.

        Raises:
            CannotStart: when the supervisor could not do it.
            SandboxGone: when the sandbox ended meanwhile, or does not answer.
        """
        number = self._next()
        return await self._ask(number, {"op": op, "id": number, **body}, fds)

    async def spawn(self, body: Mapping[str, Any], fds: Sequence[int]) -> tuple[int, Reply]:
        """Start a process; its exit is `exit_of` the number returned."""
        number = self._next()
        self._exits[number] = self._loop.create_future()
        try:
            return number, await self._ask(number, {"op": "spawn", "id": number, **body}, fds)
        except BaseException:
            exit = self._exits.pop(number, None)
            if exit is not None:
                exit.cancel()
                # It may have started all the same: nobody will wait for it.
                self.tell("hangup", targets=[number])
            raise

    def exit_of(self, number: int) -> asyncio.Future[int]:
        """Return the future of a process's exit status (minus the signal that ended it)."""
        return self._exits[number]

    def forget(self, number: int) -> None:
        self._exits.pop(number, None)

    def tell(self, op: str, **body: Any) -> None:
        """Ask for something that is not answered."""
        if self.is_open:
            self._send(json.dumps({"op": op, **body}).encode(), [])

    def close(self) -> None:
        """Hang up: the supervisor ends everything and itself."""
        if self._socket.fileno() != -1:
            self._loop.remove_reader(self._socket)
            self._loop.remove_writer(self._socket)
            self._socket.close()
        for _, fds in self._outgoing:
            packets.close_all(fds)
        self._outgoing.clear()
        self._fail()

    def _next(self) -> int:
        self._numbers += 1
        return self._numbers

    async def _ask(self, number: int, body: Mapping[str, Any], fds: Sequence[int]) -> Reply:
        if not self.is_open:
            raise SandboxGone("the sandbox has ended")
        data = json.dumps(body).encode()
        if len(data) > packets.MAX_PACKET_BYTES:
            raise CannotStart(errno.E2BIG, "Argument list too long")
        reply: asyncio.Future[Reply] = self._loop.create_future()
        self._replies[number] = reply
        try:
            self._send(data, [os.dup(fd) for fd in fds])
            async with asyncio.timeout(_REPLY_S):
                answer = await reply
        except TimeoutError:
            raise SandboxGone(f"the sandbox did not answer within {_REPLY_S:g} s") from None
        except BaseException:
            if reply.done() and not reply.cancelled() and reply.exception() is None:
                packets.close_all(reply.result().fds)
            raise
        finally:
            self._replies.pop(number, None)
        if "errno" in answer.body:
            packets.close_all(answer.fds)
            raise CannotStart(int(answer.body["errno"]), str(answer.body.get("error"))[:1000])
        return answer

    def _send(self, data: bytes, fds: list[int]) -> None:
        self._outgoing.append((data, fds))
        if len(self._outgoing) == 1:
            self._flush()

    def _flush(self) -> None:
        while self._outgoing:
            data, fds = self._outgoing[0]
            try:
                packets.send(self._socket, data, fds)
            except BlockingIOError:
                self._loop.add_writer(self._socket, self._flush)
                return
            except OSError:
                self.close()
                return
            self._outgoing.popleft()
            packets.close_all(fds)
        self._loop.remove_writer(self._socket)

    def _receive(self) -> None:
        try:
            data, fds = packets.receive(self._socket)
        except BlockingIOError:
            return
        except OSError:
            self.close()
            return
        if not data:
            packets.close_all(fds)
            self.close()
            return
        try:
            taken = self._dispatch(json.loads(data), fds)
        except (ValueError, TypeError, KeyError, RecursionError):
            taken = False
        if not taken:
            packets.close_all(fds)

    def _dispatch(self, body: Any, fds: list[int]) -> bool:
        """Hand a packet to who waits for it; return whether the descriptors have an owner."""
        if "ready" in body:
            if not self.ready.done():
                self.ready.set_result(None)
            return False
        if "exit" in body:
            exit = self._exits.get(int(body["exit"]))
            if exit is not None and not exit.done():
                exit.set_result(int(body["status"]))
            return False
        reply = self._replies.get(int(body["id"]))
        if reply is None or reply.done():
            return False
        reply.set_result(Reply(dict(body), list(fds)))
        return True

    def _fail(self) -> None:
        if not self.lost.done():
            self.lost.set_result(None)
        for future in (self.ready, *self._replies.values()):
            if not future.done():
                future.set_exception(SandboxGone("the sandbox has ended"))
                future.exception()
        for exit in self._exits.values():
            if not exit.done():
                exit.set_result(-9)
