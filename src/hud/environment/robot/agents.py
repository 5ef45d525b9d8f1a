"""Connections of agents: the claim, then actions in and observations out.

An agent reaches a slot it holds the token of, and nothing else: resets and results are `control`.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from typing import Any

from hud._core.errors import HudError, bounded
from hud.capabilities.robot.line import Line
from hud.environment.robot.floor import Floor
from hud.environment.robot.slots import Slot
from hud.protocol.openpi import REJECTED, BadFrame, load_numpy, pack, unpack

logger = logging.getLogger(__name__)

CLAIM_TIMEOUT_S = 30.0
MAX_AGENTS = 256
MAX_QUEUED = 100_000
"""Actions a slot may have before it."""


class AgentConnection:
    """One connection, from the claim on."""

    def __init__(self, floor: Floor, metadata: dict[str, Any]) -> None:
        self._floor = floor
        self._slot: Slot | None = None
        self._numpy = load_numpy()
        self.line = Line.server(self._receive)
        loop = asyncio.get_running_loop()
        self._patience = loop.call_later(CLAIM_TIMEOUT_S, self._refuse, "no claim came")
        self.line.opened.add_done_callback(
            lambda opened: self._greet(metadata) if opened.exception() is None else None
        )
        self.line.closed.add_done_callback(lambda _: self._left())

    def _greet(self, metadata: dict[str, Any]) -> None:
        self.line.send(pack({**metadata, "claim_required": True}))

    def _left(self) -> None:
        self._patience.cancel()
        if self._slot is not None and self._slot.peer is self.line:
            self._slot.peer = None
            self._slot.queue.clear()
            self._floor.wake()

    def _refuse(self, reason: str) -> None:
        self.line.send(reason)
        self.line.close(1008, "refused")

    def _receive(self, message: bytes | str) -> None:
        try:
            if isinstance(message, str):
                raise BadFrame("a text frame")
            frame = unpack(message)
        except BadFrame as error:
            if self._slot is None:
                self._refuse(error.message)
            else:
                self.line.send(REJECTED + error.message)
            return
        if self._slot is None:
            self._claim(frame)
        elif self._slot.peer is self.line:
            self._act(self._slot, frame)

    def _claim(self, frame: dict[str, Any]) -> None:
        if "claim" not in frame:
            self._refuse(f"claim a slot first, not {bounded(list(frame))}")
            return
        try:
            slot = self._floor.table.find(frame["claim"])
        except HudError as error:
            self._refuse(f"{error.message} ({error.hint})" if error.hint else error.message)
            return
        if slot.is_frozen:
            self._refuse("the episode has ended")
            return
        self._patience.cancel()
        slot.cut("another connection took the slot over")
        slot.peer = self.line
        self._slot = slot
        self._floor.greet(slot)

    def _act(self, slot: Slot, frame: dict[str, Any]) -> None:
        try:
            rows = self._rows(frame.get("actions"))
        except ValueError as error:
            self.line.send(f"{REJECTED}{error}")
            return
        if len(slot.queue) + len(rows) > MAX_QUEUED and not self._floor.is_realtime:
            self.line.send(f"{REJECTED}{len(slot.queue)} actions are still to be carried out")
            return
        index = frame.get("obs_index")
        self._floor.act(slot, rows, index if isinstance(index, int) else None)

    def _rows(self, value: Any) -> Any:
        """Return actions as `[T, D]`."""
        numpy = self._numpy
        if not isinstance(value, numpy.ndarray):
            raise ValueError(f"'actions' is no array but {bounded(value, 60)}")
        array: Any = value
        wanted = self._floor.action_shape
        shape = tuple(array.shape)
        if array.dtype.kind not in "fiub":
            raise ValueError(f"'actions' of dtype {array.dtype}")
        if shape == wanted:
            array = array[None]
        elif shape[1:] != wanted or shape[:1] == (0,):
            raise ValueError(f"'actions' of shape {list(shape)}, the contract says {list(wanted)}")
        array = array.astype(numpy.float32)
        if not numpy.isfinite(array).all():
            raise ValueError("'actions' that are not finite")
        return array


class AgentServer:
    """Accepts agents, on a TCP address or on sockets handed over."""

    def __init__(self, floor: Floor, metadata: dict[str, Any]) -> None:
        self._floor = floor
        self._metadata = metadata
        self._server: asyncio.Server | None = None
        self._lines: set[Line] = set()

    @property
    def address(self) -> tuple[str, int] | None:
        """Where it listens."""
        if self._server is None:
            return None
        host, port = self._server.sockets[0].getsockname()[:2]
        return host, port

    async def listen(self, host: str, port: int) -> None:
        """Accept agents on a TCP address; port 0 is any free one."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._line, host, port)

    async def accept(self, sock: socket.socket) -> None:
        """Accept the agent at the other end of a connected socket."""
        loop = asyncio.get_running_loop()
        await loop.connect_accepted_socket(self._line, sock)

    def _line(self) -> Line:
        line = AgentConnection(self._floor, self._metadata).line
        self._lines.add(line)
        line.closed.add_done_callback(lambda _: self._lines.discard(line))
        if len(self._lines) > MAX_AGENTS:
            logger.warning("more than %d agents are connected; one is dropped", MAX_AGENTS)
            asyncio.get_running_loop().call_soon(line.abort)
        return line

    async def close(self) -> None:
        """Stop listening and end every connection."""
        server, self._server = self._server, None
        if server is not None:
            server.close()
        lines = list(self._lines)
        for line in lines:
            line.close(1001, "the robot is stopping")
        if lines:
            await asyncio.wait([line.closed for line in lines])
