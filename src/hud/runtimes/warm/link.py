"""The eval process's end of one warm parent: start it, place rollouts in it, hear of their ends.

When to start another one after it died is decided in `scope`.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import signal
import socket
import sys
import uuid
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from hud._core import processes
from hud._core.errors import EnvironmentFault, HudError, RuntimeFault
from hud._core.redact import redact
from hud.runtimes.warm import guard, wire

if TYPE_CHECKING:
    from hud.packaging.root import Root

logger = logging.getLogger(__name__)

_TAIL_BYTES = 64 * 1024
_READ_BYTES = 64 * 1024
_BACKLOG = 128
_END_S = 20.0
_FULL_PAUSE_S = 0.01  # the kernel says when a socket has room, not when fewer are on their way


class _Process(Protocol):
    """The warm parent, or the wall that it is behind."""

    @property
    def pid(self) -> int: ...

    async def wait(self) -> int: ...


@dataclass(eq=False, slots=True)
class Place:
    """One rollout's process, as the eval process knows it.

    `ready` completes with its pid or with what failed; `gone` when it is reaped.
    """

    id: int
    path: str
    ready: asyncio.Future[int]
    gone: asyncio.Future[None]
    stopping: bool = False
    reason: str | None = None
    output: str = ""


@dataclass(slots=True)
class _Outbox:
    """Packets that did not fit into the socket yet, with the descriptors they carry."""

    packets: deque[tuple[bytes, socket.socket | None]] = field(
        default_factory=deque[tuple[bytes, "socket.socket | None"]]
    )

    def clear(self) -> None:
        for _, carried in self.packets:
            if carried is not None:
                carried.close()
        self.packets.clear()


class Link:
    """One warm parent process and every place in it. `start`, then `aclose` in every case.

    With a `wall` the parent runs behind it, and everything below it ends with it.
    """

    def __init__(self, order: wire.Load, wall: Root | None = None) -> None:
        self._order = order
        self._wall = wall
        self._loop = asyncio.get_running_loop()
        self._marker = uuid.uuid4().hex
        self._places: dict[int, Place] = {}
        self._outbox = _Outbox()
        self._tail = bytearray()
        self._control: socket.socket | None = None
        self._output: int | None = None
        self._alive: int | None = None
        self._process: _Process | None = None
        self._watch: asyncio.Task[None] | None = None
        self._closing = False
        self._hung_up = False
        self._loaded: asyncio.Future[wire.Loaded] = self._loop.create_future()
        self.lost: str | None = None
        self.succeeded = False

    @property
    def is_usable(self) -> bool:
        """Whether places can be asked for: the warm parent still listens."""
        return self.lost is None and self._control is not None and not self._hung_up

    @property
    def pid(self) -> int | None:
        """The warm parent's process id, None before `start`."""
        return None if self._process is None else self._process.pid

    async def start(self, timeout_s: float) -> str | None:
        """Start the process, have it import the source, and return why it must not be forked.

        Raises:
            InputError: when the source cannot be used.
            EnvironmentFault: when the import ends the interpreter or takes too long.
            RuntimeFault: when the process cannot be started or was killed.
        """
        try:
            await self._spawn()
        except OSError as error:
            raise RuntimeFault(f"an interpreter could not be started: {error}") from error
        self._send(self._order)
        await asyncio.wait([self._loaded], timeout=timeout_s)
        if not self._loaded.done():
            self._loaded.cancel()
            raise EnvironmentFault(
                f"{Path(self._order.path).name} did not finish importing within {timeout_s:g} s"
                f"{self._printed()}",
                hint="move slow set-up into @env.initialize, or give a longer ready_timeout",
            )
        return self._loaded.result().unsafe

    def place(self, id: int, path: str, env: str) -> Place:
        """Ask for a rollout's process that serves on a Unix socket at `path`.

        Raises:
            RuntimeFault: when the warm parent is gone, or there is no descriptor left.
        """
        if self.lost is not None:
            raise RuntimeFault(self.lost)
        try:
            listener = _listen(path)
        except OSError as error:
            raise RuntimeFault(f"a rollout's socket could not be made: {error}") from error
        place = Place(id, path, self._loop.create_future(), self._loop.create_future())
        self._places[id] = place
        self._send(wire.Fork(id, env), listener)
        return place

    def stop(self, place: Place) -> None:
        """Ask a place's process to end; `place.gone` completes when it did."""
        if not place.stopping:
            place.stopping = True
            if not place.gone.done():
                self._send(wire.Stop(place.id))

    async def aclose(self) -> None:
        """End the warm parent with everything below it; returns when nothing is left."""
        self._closing = True
        process, watch = self._process, self._watch
        if process is None or watch is None:
            self._end_output()
            return
        if not self._loaded.done() or self._loaded.cancelled() or self._loaded.exception():
            processes.signal_group(process.pid, signal.SIGKILL)
        self._end_control()
        try:
            done, _ = await asyncio.wait([watch], timeout=_END_S)
            if not done:
                processes.signal_group(process.pid, signal.SIGKILL)
                await watch
        except asyncio.CancelledError:
            processes.signal_group(process.pid, signal.SIGKILL)
            await asyncio.wait([watch])
            raise

    async def _spawn(self) -> None:
        near, far = wire.pair()
        read, write = os.pipe()
        lifeline, self._alive = os.pipe()
        inherited = [far.fileno(), lifeline, self._alive]
        near.setblocking(False)
        os.set_blocking(read, False)
        self._control, self._output = near, read
        try:
            process = self._process = await self._start_process(inherited, write)
        finally:
            far.close()
            os.close(write)
            os.close(lifeline)
            if self._process is None:
                self._end_control()
                self._end_output()
                self._end_alive()
        self._loop.add_reader(near, self._receive)
        self._loop.add_reader(read, self._drain)
        self._watch = self._loop.create_task(self._watch_process(process))

    async def _start_process(self, inherited: list[int], output: int) -> _Process:
        words = ["hud.runtimes.warm", *map(str, inherited)]
        if self._wall is not None:
            await self._wall.start(words, inherited, output)
            return self._wall
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", *words),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            pass_fds=inherited,
            start_new_session=True,
            env={**os.environ, wire.MARKER: self._marker},
        )

    async def _watch_process(self, process: _Process) -> None:
        """Wait for the end of the warm parent, then see that nothing of it survives."""
        status = await process.wait()
        self._receive()
        self._drain()
        self._end_control()
        self._end_output()
        how = processes.describe_exit(process.pid, status)
        if self._wall is not None:
            why = self._wall.ended_because()
            how = how if why is None else f"{how}, for {why}"
            await self._wall.aclose()
        elif not self._closing or status != 0:
            left = await asyncio.to_thread(self._sweep)
            if left:
                logger.warning("processes %s of %s could not be killed", left, self._order.path)
        self._end_alive()
        self.lost = f"the parent of the rollouts' processes is gone: {how}{self._printed()}"
        if not self._loaded.done():
            self._loaded.set_exception(self._import_ended(how, status))
            self._loaded.exception()
        for place in list(self._places.values()):
            self._forget(place, self.lost)

    def _sweep(self) -> list[int]:
        """Kill what is left; the guard lives on, to finish should this process be killed too."""
        return processes.kill_marked(wire.MARKER, self._marker, spared=guard.NAME)

    def _import_ended(self, how: str, status: int) -> HudError:
        text = f"{Path(self._order.path).name} ended its interpreter while it was imported: {how}"
        if status == -signal.SIGKILL:
            return RuntimeFault(f"{text}{self._printed()}")
        return EnvironmentFault(f"{text}{self._printed()}")

    def _printed(self) -> str:
        text = redact(wire.tail_text(self._tail[-1_000:]))
        return f"; it last printed: {text}" if text else ""

    def _send(self, message: wire.ToParent, carried: socket.socket | None = None) -> None:
        """Send one packet, now or when there is room; `carried` is closed once it is sent."""
        self._outbox.packets.append((wire.encode(message), carried))
        if len(self._outbox.packets) == 1:
            self._flush()

    def _flush(self) -> None:
        control, packets = self._control, self._outbox.packets
        while packets and control is not None:
            packet, carried = packets[0]
            try:
                if carried is None:
                    control.send(packet)
                else:
                    socket.send_fds(control, [packet], [carried.fileno()])
            except (BlockingIOError, InterruptedError):
                self._loop.add_writer(control, self._flush)
                return
            except OSError as error:
                if error.errno == errno.ETOOMANYREFS:
                    self._loop.call_later(_FULL_PAUSE_S, self._flush)
                    return
                break  # the parent is gone, and its end is being told to every place
            if carried is not None:
                carried.close()
            packets.popleft()
        self._outbox.clear()
        if control is not None:
            self._loop.remove_writer(control)

    def _receive(self) -> None:
        for message in self._packets():
            match message:
                case wire.Loaded() if not self._loaded.done():
                    self._loaded.set_result(message)
                case wire.Failed(None) if not self._loaded.done():
                    self._loaded.set_exception(message.error())
                    self._loaded.exception()
                case wire.Failed(int(id)):
                    self._on_failed(id, message)
                case wire.Ready(id, pid):
                    place = self._places.get(id)
                    self.succeeded = True
                    if place is not None and not place.ready.done():
                        place.ready.set_result(pid)
                case wire.Exited(id):
                    self._on_exited(id, message)
                case _:
                    pass

    def _packets(self) -> Iterator[wire.FromParent]:
        while self._control is not None:
            try:
                packet = self._control.recv(wire.PACKET_BYTES)
            except (BlockingIOError, InterruptedError):
                return
            except OSError:
                packet = b""
            if not packet:
                self._loop.remove_reader(self._control)
                self._hung_up = True
                return
            yield wire.decode_from_parent(packet)

    def _on_failed(self, id: int, message: wire.Failed) -> None:
        """Hand a place its error; without a process it is gone as well."""
        place = self._places.get(id)
        if place is None:
            return
        if not place.ready.done():
            place.ready.set_exception(message.error())
            place.ready.exception()
        if not message.started:
            self._forget(place, None)

    def _on_exited(self, id: int, message: wire.Exited) -> None:
        place = self._places.get(id)
        if place is None:
            return
        place.output = redact(message.output)
        if message.forced:
            logger.warning(
                "process %d did not stop within %g s of being told to, and was killed",
                message.pid,
                self._order.grace_s,
            )
        how = processes.describe_exit(message.pid, message.status)
        if self._wall is not None and message.status == -signal.SIGKILL:
            why = self._wall.ended_because()
            how = how if why is None else f"{how}: {why}"
        if place.stopping and not message.forced and message.status not in (0, -signal.SIGTERM):
            logger.warning("after its rollout, %s; it last printed: %s", how, place.output)
        self._forget(place, None if place.stopping else how)

    def _forget(self, place: Place, reason: str | None) -> None:
        self._places.pop(place.id, None)
        if not place.stopping:
            place.reason = reason
        if not place.ready.done():
            printed = f"; it last printed: {place.output[-1_000:]}" if place.output else ""
            text = f"{reason or 'it was stopped'} before it was ready{printed}"
            place.ready.set_exception(RuntimeFault(text))
            place.ready.exception()
        if not place.gone.done():
            place.gone.set_result(None)
        with contextlib.suppress(OSError):
            Path(place.path).unlink()

    def _drain(self) -> None:
        """Keep the end of what the warm parent prints, so that it never waits for a reader."""
        while self._output is not None:
            try:
                chunk = os.read(self._output, _READ_BYTES)
            except (BlockingIOError, InterruptedError):
                return
            except OSError:
                chunk = b""
            if not chunk:
                self._end_output()
                return
            self._tail += chunk
            del self._tail[:-_TAIL_BYTES]
            if logger.isEnabledFor(logging.DEBUG):
                for line in chunk.decode("utf-8", "replace").splitlines():
                    logger.debug("%s printed: %s", Path(self._order.path).name, line)
            if len(chunk) < _READ_BYTES:
                return

    def _end_output(self) -> None:
        output, self._output = self._output, None
        if output is not None:
            self._loop.remove_reader(output)
            os.close(output)

    def _end_alive(self) -> None:
        """Let the guard go: what it would have swept is gone."""
        alive, self._alive = self._alive, None
        if alive is not None:
            os.close(alive)

    def _end_control(self) -> None:
        control, self._control = self._control, None
        self._outbox.clear()
        if control is not None:
            self._loop.remove_reader(control)
            self._loop.remove_writer(control)
            control.close()


def _listen(path: str) -> socket.socket:
    """Return a Unix socket that listens at `path`, for this user only."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(path)
        os.chmod(path, 0o600)  # noqa: PTH101 -- twice as fast, for every rollout
        listener.listen(_BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener
