"""Running a stranger's build steps behind a wall: one program over one folder, line by line.

Nothing of this machine is seen inside but the system's programs, this Python and the folder: not
the platform's home, not its socket, not another build.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncGenerator, Mapping, Sequence
from pathlib import Path

from hud._core.errors import CapabilityFault, EnvironmentFault
from hud.platform.builds.builder import BuildFailed, Say
from hud.sandbox import files
from hud.sandbox.process import Process
from hud.sandbox.sandbox import Sandbox
from hud.sandbox.spec import Limits, Mount, SandboxSpec
from hud.sandbox.watch import watches_of

GUEST = "/build"
LIMITS = Limits(
    memory_mb=4096, cpus=2.0, processes=1024, file_mb=4096, disk_mb=8192, disk_files=400_000
)
_LINE_AT_MOST = 64 * 1024
_DRAIN_S = 2.0


class Confined:
    """A sandbox over a folder, which belongs to it until it has ended.

    Attributes:
        limit_hit: Which limit ended it, as a sentence; empty for none.
    """

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self.limit_hit = ""

    async def run(self, argv: Sequence[str], *, env: Mapping[str, str], say: Say) -> int:
        """Run a program to its end, its output told line by line, and return its exit code.

        Raises:
            BuildFailed: when a limit ended it.
        """
        read, write = os.pipe2(os.O_CLOEXEC)
        process: Process | None = None
        async with _lines_of(read, say) as drained:
            try:
                process = await self._sandbox.spawn(
                    argv, env=env, cwd=GUEST, stdout=write, stderr=write
                )
            finally:
                os.close(write)
            try:
                code = await process.wait()
            finally:
                if process.exit_code is None:
                    process.kill()
                self._sandbox.hang_up([process])
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_DRAIN_S):
                    await drained.wait()
        if self.limit_hit:
            raise BuildFailed(f"the build was ended: {self.limit_hit}")
        if code == -9:
            # A limit on memory kills a process of the sandbox, or all of it.
            why = await self._sandbox.ended_because()
            if "memory" in why:
                raise BuildFailed(f"the build was ended: {why}")
        return code

    async def over(self, reason: str) -> None:
        """End everything inside because of a limit."""
        self.limit_hit = reason
        await self._sandbox.sweep()


@contextlib.asynccontextmanager
async def confined(
    folder: Path,
    *,
    mounts: tuple[Mount, ...] = (),
    network: bool = True,
    private: tuple[Path, ...] = (),
    limits: Limits = LIMITS,
) -> AsyncGenerator[Confined]:
    """Yield a sandbox whose only writable folder is `folder`, seen inside as `/build`.

    Nothing of it runs any more when the block has ended.

    Args:
        folder: Whose files are given to the sandbox's own uid.
        mounts: What else is seen inside.
        network: Whether the public internet is reached, through a proxy.
        private: What must not be seen in any case.
        limits: How much it may use.

    Raises:
        EnvironmentFault: when no wall can be made on this machine.
    """
    sandbox = Sandbox(
        SandboxSpec(
            root=folder,
            guest_path=GUEST,
            mounts=mounts,
            network=network,
            limits=limits,
            python=True,
            private=private,
            user="builder",
        )
    )
    inside = Confined(sandbox)
    try:
        try:
            await sandbox.start()
        except CapabilityFault as error:
            raise EnvironmentFault(
                f"builds cannot be kept apart on this machine: {error.message}",
                hint=error.hint or "install bubblewrap",
            ) from error
        if os.geteuid() == 0:
            await asyncio.to_thread(files.hand_over, folder, sandbox.uid, sandbox.gid)
        watches = watches_of(sandbox, inside.over, what="the build")
        try:
            for watch in watches:
                watch.start()
            yield inside
        finally:
            for watch in watches:
                await watch.aclose()
    finally:
        await sandbox.stop()


@contextlib.asynccontextmanager
async def _lines_of(read: int, say: Say) -> AsyncGenerator[asyncio.Event]:
    """Tell the lines of a pipe while the block runs; the event says that it was closed."""
    loop = asyncio.get_running_loop()
    lines = _Lines(say)
    transport, _ = await loop.connect_read_pipe(lambda: lines, os.fdopen(read, "rb", buffering=0))
    try:
        yield lines.closed
    finally:
        lines.finish()
        transport.close()


class _Lines(asyncio.Protocol):
    """Cuts what a pipe carries into lines."""

    def __init__(self, say: Say) -> None:
        self.closed = asyncio.Event()
        self._say = say
        self._rest = b""

    def data_received(self, data: bytes) -> None:
        *whole, rest = (self._rest + data).split(b"\n")
        self._rest = rest
        for line in whole:
            self._tell(line)
        if len(self._rest) > _LINE_AT_MOST:
            self.finish()

    def connection_lost(self, exc: Exception | None) -> None:
        self.finish()
        self.closed.set()

    def finish(self) -> None:
        """Tell what has no newline yet."""
        rest, self._rest = self._rest, b""
        if rest:
            self._tell(rest)

    def _tell(self, line: bytes) -> None:
        # Programs that draw progress end a line with a carriage return alone; the last one counts.
        text = line.decode("utf-8", "replace").rstrip("\r").rpartition("\r")[2]
        if text.strip():
            self._say(text.rstrip())
