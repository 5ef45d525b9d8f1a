"""Serve a bridge for the life of this process: the simulator on the main thread, the rest beside.

Started by a `RobotEndpoint`, two inherited sockets lead to it: one for control, one over which it
hands connections of agents; when it dies they end, and so does this process. Started by anybody
else, control listens on TCP and the port is told on stdout.
"""

from __future__ import annotations

import array
import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
import threading
import traceback

from hud._core.errors import HudError
from hud.environment.robot.bridge import RobotBridge
from hud.environment.robot.control import LINE_LIMIT, ControlServer, serve_tcp
from hud.environment.robot.simthread import SimThread

logger = logging.getLogger(__name__)

FDS = "HUD_ROBOT_FDS"
"""Environment variable with the two descriptors, `control,agents`."""

ANNOUNCE = "HUD_SIM_PORT="
READY = b"\n"
LEAVE_S = 10.0
TRACEBACK_FRAMES = 3


def serve_bridge(bridge: RobotBridge, *, host: str = "127.0.0.1", port: int = 0) -> None:
    """Serve `bridge` until told to stop; the calling (main) thread becomes the simulator's.

    Args:
        host: Where control listens when no endpoint started this process.
        port: Its port; 0 is any free one, printed on stdout as `HUD_SIM_PORT=<port>`.
    """
    sim = SimThread()
    serving = _Serving(bridge, sim, host, port)
    thread = threading.Thread(target=serving.run, name="robot-serve", daemon=True)
    thread.start()
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, serving.on_signal)
    sim.run()
    thread.join(LEAVE_S)
    if serving.failure is not None:
        raise SystemExit(f"the robot cannot be served: {serving.failure}")


class _Serving:
    """The loop beside the simulator."""

    def __init__(self, bridge: RobotBridge, sim: SimThread, host: str, port: int) -> None:
        self._bridge, self._sim = bridge, sim
        self._address = (host, port)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopped: asyncio.Event | None = None
        self.failure: str | None = None

    def run(self) -> None:
        try:
            asyncio.run(self._run())
        except Exception as error:
            if isinstance(error, HudError):
                self.failure = error.message + (f" ({error.hint})" if error.hint else "")
                return
            traceback.print_exception(error, limit=-TRACEBACK_FRAMES)
            self.failure = f"{type(error).__qualname__}: {error}"
        finally:
            self._sim.end()

    def on_signal(self, number: int, frame: object) -> None:
        """Stop serving; a simulator that does not come back within 10 s is left without it."""
        loop, stopped = self._loop, self._stopped
        if loop is None or stopped is None:
            os._exit(143)
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(stopped.set)

    async def _run(self) -> None:
        self._stopped = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        bridge = self._bridge
        fds = os.environ.pop(FDS, None)
        try:
            await bridge.open(self._sim)
            if fds is None:
                await self._serve_tcp()
            else:
                control, agents = (socket.socket(fileno=int(fd)) for fd in fds.split(","))
                control.set_inheritable(False)
                agents.set_inheritable(False)
                await self._serve_owner(control, agents)
        finally:
            guard = self._loop.call_later(LEAVE_S, os._exit, 1)
            await bridge.stop()
            guard.cancel()

    async def _serve_tcp(self) -> None:
        assert self._stopped is not None
        await self._bridge.start()
        server = await serve_tcp(self._bridge, *self._address)
        async with server:
            sys.stdout.write(f"{ANNOUNCE}{server.sockets[0].getsockname()[1]}\n")
            sys.stdout.flush()
            await self._stopped.wait()

    async def _serve_owner(self, control: socket.socket, agents: socket.socket) -> None:
        assert self._stopped is not None
        loop = asyncio.get_running_loop()
        agents.setblocking(False)
        accepting: set[asyncio.Task[None]] = set()

        def arrive() -> None:
            for sock in _received(agents):
                task = loop.create_task(self._bridge.accept(sock))
                accepting.add(task)
                task.add_done_callback(accepting.discard)

        loop.add_reader(agents, arrive)
        reader, writer = await asyncio.open_connection(sock=control, limit=LINE_LIMIT)
        writer.write(READY)
        serving = loop.create_task(ControlServer(self._bridge).serve(reader, writer))
        stopping = loop.create_task(self._stopped.wait())
        try:
            await asyncio.wait([serving, stopping], return_when=asyncio.FIRST_COMPLETED)
            if not self._stopped.is_set():
                # Whoever owned this is gone. A simulator in the middle of a long call goes too.
                loop.call_later(LEAVE_S, os._exit, 1)
        finally:
            loop.remove_reader(agents)
            for task in (serving, stopping, *accepting):
                task.cancel()
            await asyncio.gather(serving, stopping, *accepting, return_exceptions=True)
            agents.close()


def _received(sock: socket.socket) -> list[socket.socket]:
    """Return the connections handed over."""
    size = array.array("i").itemsize
    try:
        _, messages, _, _ = sock.recvmsg(1, socket.CMSG_LEN(size))
    except (BlockingIOError, OSError):
        return []
    found: list[socket.socket] = []
    for level, kind, data in messages:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds = array.array("i")
            fds.frombytes(data[: len(data) - len(data) % size])
            found.extend(socket.socket(fileno=fd) for fd in fds)
    return found
