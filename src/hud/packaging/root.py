"""The wall around a bundle: bubblewrap with the system, this Python and the bundle, all read-only.

What runs behind it sees no file of the host beyond those, has no network unless asked, and is one
unprivileged user with pids of its own. Inspecting and running bundles both start here.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from hud._core import machine
from hud._core.errors import HudError, InputError, RuntimeFault
from hud._core.paths import hud_home
from hud.environment.browser_process import find_chromium
from hud.packaging import inside
from hud.sandbox import bwrap, identity, launch
from hud.sandbox.guest import seccomp
from hud.sandbox.spec import SANDBOX_UID, Limits, Mount, SandboxSpec, base_environment

if TYPE_CHECKING:
    from hud.sandbox.cgroup import Cgroup

_MEMORY_MB = 8192
# Behind the wall there are no variables until the order is read, so none names the path.
_BOOT = (
    f"import sys,runpy;sys.path[:0]=[{inside.HUD!r},{inside.PACKAGES!r}];"
    "sys.argv=sys.argv[1:];runpy.run_module(sys.argv[0],run_name='__main__',alter_sys=True)"
)


@dataclass(frozen=True, slots=True)
class Ask:
    """How a bundle is to run.

    Attributes:
        memory_mb, cpus, processes: For everything behind the wall together.
        ceiling_mb: Its memory where none was asked for: half of this machine's when left out. Where
            it cannot be enforced, it is not.
        is_strict: Whether a limit that cannot be enforced here is refused, or left out.
        disk_mb: How much one rollout may write, in memory.
        network: Whether it has this machine's network.
        env: Variables of the environment.
    """

    memory_mb: int | None = None
    ceiling_mb: int | None = None
    cpus: float | None = None
    processes: int | None = 4096
    is_strict: bool = True
    disk_mb: int = 1024
    network: bool = False
    env: Mapping[str, str] | None = None


def problem() -> str | None:
    """Say why no bundle can run on this machine, or None when one can."""
    if not sys.platform.startswith("linux"):
        return f"bundles run on Linux, and this is {sys.platform}"
    return bwrap.problem()


def _browser_elsewhere() -> Path | None:
    """Return this machine's browser where it is not among the system's programs, shown anyhow.

    Its folder is shown as a whole, so not one that holds somebody's home.
    """
    try:
        found = Path(find_chromium(None)).resolve()
    except InputError:
        return None
    homes = (Path.home(), hud_home(create=False))
    is_private = any(home.resolve().is_relative_to(found.parent) for home in homes)
    return None if found.is_relative_to("/usr") or is_private else found


def write_files(folder: Path) -> None:
    """Write into a folder what of `/etc` says who and where one is behind the wall."""
    folder.mkdir()
    for path, text in bwrap.files(SandboxSpec()):
        (folder / Path(path).name).write_text(text, "utf-8")


class Root:
    """One wall with a process behind it. `start`, then `aclose` in every case.

    Attributes:
        applied: Which limits hold: of "memory", "cpu" and "pids".
    """

    def __init__(self, folder: Path, ask: Ask) -> None:
        self._folder = folder
        self._ask = ask
        self._process: subprocess.Popen[bytes] | None = None
        self._cgroup: Cgroup | None = None
        self._identity: identity.Identity | None = None
        self._browser = _browser_elsewhere()
        self._memory_mb = ask.memory_mb or ask.ceiling_mb or machine.fair_share_mb()
        self._kills_told = 0
        self.applied: frozenset[str] = frozenset()

    @property
    def pid(self) -> int:
        """Pid, on the host, of what holds the wall."""
        assert self._process is not None
        return self._process.pid

    async def start(self, module: list[str], fds: list[int], output: int) -> None:
        """Start `python -m module… ORDER`, which begins with `inside.enter(ORDER)`.

        Args:
            module: Name and arguments; the order's descriptor comes first among these.
            fds: Descriptors it inherits.
            output: Where it prints to.

        Raises:
            RuntimeFault: when it cannot be started, with the reason.
        """
        if (reason := problem()) is not None:
            raise RuntimeFault(
                f"a bundle cannot run here: {reason}",
                hint="install bubblewrap (Debian: apt-get install bubblewrap)",
            )
        try:
            await asyncio.to_thread(launch.sweep_orphans, os.getpid())
            who = self._identity = identity.take()
            self._cgroup = await asyncio.to_thread(self._limit)
            order = self._order(None if who.is_own else SANDBOX_UID)
            try:
                name, *further = module
                flags = ["-s", "-P", "-X", "utf8", "-c", _BOOT]
                program = [sys.executable, *flags, name, str(order), *further]
                self._process = await launch.wall_in(
                    self._spec(),
                    who,
                    program,
                    [*fds, order],
                    self._cgroup,
                    seccomp.program(deny_inet=False, nests=True),
                    output=output,
                    network=self._ask.network,
                    nests=True,
                )
            finally:
                os.close(order)
        except BaseException as error:
            await asyncio.shield(self.aclose())
            if isinstance(error, HudError | OSError | ValueError | TimeoutError):
                text = error.message if isinstance(error, HudError) else str(error)
                raise RuntimeFault(f"the wall around a bundle was not made: {text}") from error
            raise

    async def wait(self) -> int:
        """Wait for its end and return the status, negative for a signal."""
        assert self._process is not None
        await launch.exited(self._process, None)
        status = self._process.poll()
        return -signal.SIGKILL if status is None else status if status < 128 else 128 - status

    def kill(self) -> None:
        """Kill everything behind the wall; what is gone is no error."""
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)

    async def aclose(self) -> None:
        """Kill what is left and give back what was taken; again is no error."""
        self.kill()
        if self._process is not None:
            await launch.exited(self._process, None)
        cgroup, self._cgroup = self._cgroup, None
        if cgroup is not None:
            await asyncio.to_thread(launch.remove, cgroup)
        who, self._identity = self._identity, None
        if who is not None:
            who.release()

    def ended_because(self) -> str | None:
        """Say which limit ended a process behind the wall, if one did; each end is told once."""
        if self._cgroup is not None and self._cgroup.oom_kills() > self._kills_told:
            self._kills_told += 1
            return f"it used more than its {self._memory_mb} MB of memory"
        return None

    def _limit(self) -> Cgroup | None:
        from hud.sandbox.cgroup import Cgroup

        ask = self._ask
        made = Cgroup.create(
            "bundle",
            memory_bytes=self._memory_mb << 20,
            cpus=ask.cpus,
            pids=ask.processes,
        )
        self.applied = frozenset(made.applied) if made is not None else frozenset()
        for name, asked in (("memory", ask.memory_mb), ("cpu", ask.cpus)):
            if ask.is_strict and asked is not None and name not in self.applied:
                if made is not None:
                    launch.remove(made)
                raise RuntimeFault(
                    f"a limit on {name} was asked for, and cannot be enforced on this machine",
                    hint="it takes a control group that can be written, as root's can",
                )
        return made

    def _spec(self) -> SandboxSpec:
        mounts = [
            Mount("ro", str(self._folder / "source"), inside.ORIGINAL),
            Mount("tmpfs", dst=inside.SOURCE, mode=0o755),
            Mount("ro", str(self._folder / "hud"), inside.HUD),
            Mount("tmpfs", dst=inside.LAYERS, mode=0o1777),
        ]
        if (self._folder / "packages").is_dir():
            mounts.append(Mount("ro", str(self._folder / "packages"), inside.PACKAGES))
        if self._browser is not None:
            mounts.append(Mount("ro", str(self._browser.parent), inside.BROWSER))
        mounts += [
            Mount("ro", str(file), f"/etc/{file.name}")
            for file in sorted((self._folder / "etc").glob("*"))
            if Path("/etc", file.name).exists()
        ]
        return SandboxSpec(
            mounts=tuple(mounts),
            python=True,
            limits=Limits(memory_mb=self._ask.memory_mb or _MEMORY_MB),
            private=(hud_home(create=False),),
        )

    def _order(self, uid: int | None) -> int:
        """Return a file that holds the order, at its beginning."""
        ask = self._ask
        paths = f"{inside.HUD}:{inside.PACKAGES}"
        env = {
            **base_environment(self._spec(), inside.HOME),
            "PYTHONPATH": paths,
            "PYTHONDONTWRITEBYTECODE": "1",
            "HUD_HOME": f"{inside.HOME}/.hud",
        }
        if self._browser is not None:
            env["HUD_CHROMIUM"] = f"{inside.BROWSER}/{self._browser.name}"
        env.update(ask.env or {})
        order = inside.Order(uid, env, ask.disk_mb, ask.network)
        fd = os.memfd_create("hud-order", os.MFD_CLOEXEC)
        os.write(fd, msgspec.json.encode(order))
        os.lseek(fd, 0, os.SEEK_SET)
        return fd
