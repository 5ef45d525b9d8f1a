"""What stands behind a stand-in of a cloud: sandboxes that are processes of this machine.

A sandbox's control port is another one here than the program was told, as behind a router.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

PORT = 8765

SOURCE = """
import os
from hud import Environment

env = Environment(name="clouds")

@env.template()
async def ask(word: str = "yes"):
    answer = yield f"say {os.environ.get('SAY', word)}"
    yield float(answer == word)
"""
BROKEN = f"{SOURCE}\n@env.initialize\nasync def fail():\n    raise OSError('no disk')\n"


def free_port() -> int:
    """Return a port that nothing has yet."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@dataclass(eq=False)
class Machine:
    """One sandbox: its folder, its processes, its own port for 8765."""

    id: str
    image: str
    folder: Path
    labels: dict[str, str]
    env: dict[str, str]
    life_s: float
    asked: dict[str, object] = field(default_factory=dict[str, object])
    port: int = field(default_factory=free_port)
    processes: list[asyncio.subprocess.Process] = field(
        default_factory=list[asyncio.subprocess.Process]
    )

    async def run(
        self, command: list[str], *, env: Mapping[str, str] | None = None, merged: bool = False
    ) -> asyncio.subprocess.Process:
        """Start a program, with pipes."""
        process = await asyncio.create_subprocess_exec(
            *(part.replace(str(PORT), str(self.port)) for part in command),
            cwd=self.folder,
            env={**_surroundings(self.folder), **self.env, **(env or {})},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT if merged else asyncio.subprocess.PIPE,
            start_new_session=True,
            limit=1 << 20,
        )
        self.processes.append(process)
        return process

    async def end(self) -> None:
        """Kill everything in it."""
        for process in self.processes:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        await asyncio.gather(*(process.wait() for process in self.processes))


@dataclass
class Machines:
    """All sandboxes of an account, and what went wrong on purpose.

    Attributes:
        images: Folder of each image, template or snapshot that the account has.
        made: How many were ever made.
        ended: Ids in the order they were ended; one ended twice is there twice.
    """

    images: dict[str, Path]
    living: dict[str, Machine] = field(default_factory=dict[str, Machine])
    made: list[Machine] = field(default_factory=list[Machine])
    ended: list[str] = field(default_factory=list[str])
    gone: asyncio.Event = field(default_factory=asyncio.Event)

    def make(
        self,
        image: str,
        *,
        labels: Mapping[str, str],
        env: Mapping[str, str],
        life_s: float,
        asked: dict[str, object] | None = None,
        prefix: str = "sb-",
    ) -> Machine:
        number = len(self.made) + 1
        machine = Machine(
            f"{prefix}{number:04}",
            image,
            self.images[image],
            dict(labels),
            dict(env),
            life_s,
            asked or {},
        )
        self.made.append(machine)
        self.living[machine.id] = machine
        return machine

    async def end(self, machine_id: str) -> bool:
        machine = self.living.pop(machine_id, None)
        if machine is None:
            return False
        self.ended.append(machine_id)
        self.gone.set()
        await machine.end()
        return True

    async def aclose(self) -> None:
        for machine_id in list(self.living):
            await self.end(machine_id)


def images(folder: Path) -> dict[str, Path]:
    """Write two images, one whose environment cannot start, and return their folders."""
    made: dict[str, Path] = {}
    for name, source in (("good", SOURCE), ("broken", BROKEN)):
        made[name] = folder / name
        (made[name] / "bin").mkdir(parents=True)
        (made[name] / "env.py").write_text(source)
        program = made[name] / "bin" / "hud"
        program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m hud "$@"\n')
        program.chmod(0o755)
        (made[name] / "bin" / "python3").symlink_to(sys.executable)
    return made


def _surroundings(folder: Path) -> dict[str, str]:
    source = Path(__file__).parents[2] / "src"
    return {
        "PATH": f"{folder / 'bin'}:/usr/bin:/bin",
        "PYTHONPATH": str(source),
        "HUD_HOME": str(folder / "home"),
        "HOME": str(folder),
    }
