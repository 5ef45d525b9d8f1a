"""A simulator's process and the sockets to it: started, waited for, watched and ended."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
from collections import deque
from collections.abc import Sequence
from typing import Any, Final

from hud._core.errors import CapabilityFault
from hud._core.processes import describe_exit, signal_group
from hud.environment.robot.control import ControlClient
from hud.environment.robot.serve import ANNOUNCE, FDS, READY
from hud.environment.robot.sim import PARENT

logger = logging.getLogger(__name__)

TAIL_LINES: Final = 40
TAIL_CHARS: Final = 1_600
LINE_LIMIT: Final = 64 * 1024
STOP_GRACE_S: Final = 10.0


class SimProcess:
    """One running simulator. `stop` ends it with everything it started.

    Attributes:
        control: Calls to it.
    """

    def __init__(self, process: asyncio.subprocess.Process, agents: socket.socket) -> None:
        self._process = process
        self._agents: socket.socket | None = agents
        self._tail: deque[str] = deque(maxlen=TAIL_LINES)
        self._port: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._reading = asyncio.create_task(self._read())
        self._control: ControlClient | None = None

    @property
    def control(self) -> ControlClient:
        if self._control is None:
            raise CapabilityFault("the robot's simulator is not ready")
        return self._control

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        control = self._control
        return self._process.returncode is None and control is not None and control.is_open

    @classmethod
    async def start(cls, cmd: Sequence[str], stdin: bytes, timeout_s: float) -> SimProcess:
        """Start `cmd` and return once it serves.

        Raises:
            CapabilityFault: when it ends, or takes too long, before; with the last lines it said.
        """
        near, far = socket.socketpair()
        giving, taking = socket.socketpair()
        sim: SimProcess | None = None
        try:
            giving.setblocking(False)
            process = await _spawn(cmd, far.fileno(), taking.fileno())
            sim = cls(process, giving)
            far.close()
            taking.close()
            await sim._get_ready(near, stdin, timeout_s)
        except BaseException:
            for sock in (near, far, taking, giving):
                sock.close()
            if sim is not None:
                await asyncio.shield(asyncio.ensure_future(sim.stop(grace_s=0.0)))
            raise
        return sim

    def dial(self) -> socket.socket:
        """Return a new agent's connection to it, non-blocking.

        Raises:
            CapabilityFault: when it is gone.
        """
        if self._agents is None or not self.is_alive:
            raise CapabilityFault("the robot's simulator is gone")
        near, far = socket.socketpair()
        with far:
            try:
                socket.send_fds(self._agents, [b"\0"], [far.fileno()])
            except OSError as error:
                near.close()
                raise CapabilityFault(f"the robot's simulator is gone: {error}") from error
        near.setblocking(False)
        return near

    async def stop(self, *, grace_s: float = STOP_GRACE_S) -> None:
        """Ask it to end, then make it; safe to call twice."""
        control, self._control = self._control, None
        if control is not None:
            await control.aclose()
        agents, self._agents = self._agents, None
        if agents is not None:
            agents.close()
        process = self._process
        if process.returncode is None and grace_s > 0:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(grace_s):
                    await process.wait()
        signal_group(process.pid, signal.SIGKILL)
        await process.wait()
        await self._reading
        self._port.cancel()

    async def _get_ready(self, near: socket.socket, stdin: bytes, timeout_s: float) -> None:
        control = await ControlClient.over(near)
        self._control = control
        await self._feed(stdin)
        ready = asyncio.create_task(control.ready(READY))
        ended = asyncio.create_task(self._process.wait())
        waits: list[asyncio.Future[Any]] = [ready, ended, self._port]
        try:
            done, _ = await asyncio.wait(
                waits, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED
            )
            if self._port in done:
                await control.aclose()
                self._control = await ControlClient.dial("127.0.0.1", self._port.result())
            elif not (ready in done and ready.result()):
                if done:
                    await asyncio.wait([ended, self._reading], timeout=STOP_GRACE_S)
                raise CapabilityFault(self._why(timeout_s))
        finally:
            for task in (ready, ended):
                task.cancel()
            await asyncio.gather(ready, ended, return_exceptions=True)

    async def _feed(self, stdin: bytes) -> None:
        pipe = self._process.stdin
        assert pipe is not None
        with contextlib.suppress(OSError):
            pipe.write(stdin)
            await pipe.drain()
        pipe.close()

    def _why(self, timeout_s: float) -> str:
        code = self._process.returncode
        if code is None:
            what = f"the robot's simulator is not ready after {timeout_s:g} s"
        else:
            what = f"the robot's simulator did not start: {describe_exit(self._process.pid, code)}"
        said = self.last_words()
        return f"{what}; it said last:\n{said}" if said else f"{what}; it said nothing"

    def last_words(self) -> str:
        """Return the last of what it printed, as much as fits into a message."""
        return "\n".join(self._tail)[-TAIL_CHARS:]

    async def _read(self) -> None:
        """Keep the last lines of what it prints, and see the port it may announce."""
        stream = self._process.stdout
        assert stream is not None
        while True:
            try:
                line = await stream.readline()
            except ValueError:
                continue  # a line over the limit: its rest comes as the next
            if not line:
                return
            text = line.decode("utf-8", "replace").rstrip()
            self._tail.append(text[:1_000])
            logger.debug("robot simulator: %s", text)
            if text.startswith(ANNOUNCE) and not self._port.done():
                with contextlib.suppress(ValueError):
                    self._port.set_result(int(text.removeprefix(ANNOUNCE)))


async def _spawn(cmd: Sequence[str], control: int, agents: int) -> asyncio.subprocess.Process:
    env = {**os.environ, FDS: f"{control},{agents}", PARENT: str(os.getpid())}
    env["PYTHONUNBUFFERED"] = "1"
    try:
        return await asyncio.create_subprocess_exec(
            *cmd,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env=env,
            pass_fds=(control, agents),
            start_new_session=True,
            limit=LINE_LIMIT,
        )
    except OSError as error:
        raise CapabilityFault(f"the robot's simulator cannot be started: {error}") from error
