"""Start a supervisor behind a wall, and end it: bubblewrap, a second uid, or no wall at all.

What is done with it afterwards is `sandbox`.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import logging
import os
import signal
import socket
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hud._core import processes
from hud._core.errors import CapabilityFault
from hud.sandbox import bwrap, folders, interpreter
from hud.sandbox.guest import seccomp
from hud.sandbox.identity import Identity
from hud.sandbox.leftovers import remove_shared
from hud.sandbox.link import Link, SandboxGone, pair
from hud.sandbox.spec import SANDBOX_UID, Isolation, SandboxSpec

if TYPE_CHECKING:
    from hud.sandbox.cgroup import Cgroup

_START_S = 30.0
_END_S = 5.0
_LOG_BYTES = 8192
# What a command is likely to start itself.
_ROOM_PROCESSES = 16
_OWNER = "HUD_SANDBOX_OWNER"
# Set by runtimes for everything that belongs to one of their scopes.
_SCOPE = "HUD_RUNTIME_SCOPE"

logger = logging.getLogger(__name__)


def choose(spec: SandboxSpec) -> Isolation:
    """Return the isolation a sandbox gets here.

    Raises:
        CapabilityFault: when what was asked for, or any at all, is not to be had.
    """
    if spec.isolation == "none":
        return "none"
    problem = bwrap.problem() if spec.isolation != "uid" else "isolation 'uid' was asked for"
    if problem is None:
        return "bwrap"
    if spec.isolation == "bwrap":
        raise CapabilityFault(f"isolation 'bwrap' is not possible: {problem}", hint=_INSTALL)
    if os.geteuid() == 0:
        if spec.isolation is None:
            _tell(problem)
        return "uid"
    raise CapabilityFault(
        f"nothing here can isolate the agent: {problem}, and a second uid takes root",
        hint=f"{_INSTALL}, or accept none with isolation='none'",
    )


@functools.cache
def _tell(problem: str) -> None:
    logger.warning("the agent is isolated by a second uid, without namespaces: %s", problem)


_INSTALL = "install bubblewrap (Debian: apt-get install bubblewrap) and allow user namespaces"


class Launched:
    """A supervisor that runs, and everything that must be taken down with it."""

    def __init__(
        self,
        link: Link,
        process: subprocess.Popen[bytes],
        identity: Identity,
        cgroup: Cgroup | None,
        mode: Isolation,
        *,
        is_grouped: bool = False,
    ) -> None:
        self.link = link
        self.process = process
        self.identity = identity
        self.cgroup = cgroup
        self.mode: Isolation = mode
        self._is_grouped = is_grouped

    async def end(self) -> None:
        """Kill everything inside and wait, bounded; again is no error."""
        self.link.close()
        if not await exited(self.process, _END_S if self.cgroup is None else 0.5):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.kill()  # which has no group of its own at first
            if not await exited(self.process, _END_S):
                raise CapabilityFault("a sandbox is still there after SIGKILL")
        if self.process.stderr is not None:
            self.process.stderr.close()
        cgroup, self.cgroup = self.cgroup, None
        if cgroup is not None:
            await asyncio.to_thread(remove, cgroup)
        # What shares its uid with others is ended by parentage or as a group, and only where
        # neither could be as that uid.
        is_left = not self._is_grouped and self.process.returncode != 0
        if self.mode == "uid" and (self.identity.is_exclusive or is_left):
            await asyncio.to_thread(_kill_all_of, self.identity)
        if self.mode == "uid" and self.identity.is_exclusive:
            await asyncio.to_thread(remove_shared, self.identity.uid)
        self.identity.release()


def room_of(processes: int) -> int:
    """Return how many further processes a command needs to find room for."""
    return min(_ROOM_PROCESSES, processes // 10)


def remove(cgroup: Cgroup) -> None:
    """Kill everything in a control group and take it away. Blocks."""
    cgroup.kill()
    cgroup.remove()


def _kill_all_of(identity: Identity) -> None:
    """Kill what a supervisor that was killed itself has left: nothing else ends it by uid."""
    if identity.is_own or identity.uid == 0:
        return
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        subprocess.run(
            ["/bin/sh", "-c", "kill -9 -1"],
            user=identity.uid,
            group=identity.gid,
            extra_groups=[],
            env={},
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=_END_S,
            check=False,
        )


async def start(
    spec: SandboxSpec, mode: Isolation, identity: Identity, settings: dict[str, Any]
) -> Launched:
    """Start a supervisor and wait until it answers. It owns `identity` from here on.

    Raises:
        CapabilityFault: when it does not come up, with what it said.
    """
    cgroup: Cgroup | None = None
    ours, theirs = pair()
    link = Link(ours)
    process: subprocess.Popen[bytes] | None = None
    is_grouped = False
    try:
        await asyncio.to_thread(sweep_orphans, os.getpid())
        if mode != "none":
            cgroup = _cgroup(spec)
        settings = {**settings, "mode": mode, "parent": os.getpid()}
        if mode == "bwrap":
            if not identity.is_own:
                settings["become"] = [SANDBOX_UID, SANDBOX_UID]
            argv = interpreter.supervisor_argv(theirs.fileno(), inside=True)
            process = await wall_in(
                spec, identity, argv, [theirs.fileno()], cgroup, seccomp.program(deny_inet=False)
            )
        else:
            process = _start_bare(theirs)
            is_grouped = cgroup is not None and cgroup.add(process.pid)
            settings |= {"owns_uid": identity.is_exclusive, "is_grouped": is_grouped}
        if spec.limits.processes is not None and (cgroup is None or "pids" not in cgroup.applied):
            settings["crowded_at"] = spec.limits.processes - room_of(spec.limits.processes)
        theirs.close()
        link.configure(settings)
        async with asyncio.timeout(_START_S):
            await link.ready
        return Launched(link, process, identity, cgroup, mode, is_grouped=is_grouped)
    except BaseException as error:
        theirs.close()
        said = _last_words(process)
        if process is None:
            link.close()
            identity.release()
            if cgroup is not None:
                remove(cgroup)
        else:
            begun = Launched(link, process, identity, cgroup, mode, is_grouped=is_grouped)
            await asyncio.shield(begun.end())
        if isinstance(error, OSError | TimeoutError | SandboxGone | ValueError):
            raise CapabilityFault(
                f"the sandbox did not start: {said or error or type(error).__name__}"
            ) from error
        raise


def _cgroup(spec: SandboxSpec) -> Cgroup | None:
    from hud.sandbox.cgroup import Cgroup

    limits = spec.limits
    return Cgroup.create(
        "sandbox",
        memory_bytes=None if limits.memory_mb is None else limits.memory_mb << 20,
        cpus=limits.cpus,
        pids=limits.processes,
    )


async def wall_in(
    spec: SandboxSpec,
    identity: Identity,
    program: list[str],
    fds: list[int],
    cgroup: Cgroup | None,
    filter: bytes | None,
    *,
    output: int | None = None,
    network: bool = False,
    nests: bool = False,
) -> subprocess.Popen[bytes]:
    """Start a program as the first process behind bubblewrap, in a process group of its own.

    As root it begins as the namespace's root and has to become `SANDBOX_UID` itself.

    Args:
        fds: Descriptors it inherits.
        cgroup: Where it is put before it runs.
        filter: Its filter of system calls.
        output: Where it prints to; otherwise stdout goes nowhere and stderr is a pipe.
        network: Whether it has this machine's network instead of a loopback of its own.
        nests: Whether it makes walls inside; it begins with the capability for that.

    Raises:
        CapabilityFault: when bubblewrap says why it cannot.
        OSError, ValueError, TimeoutError: when it just ended, or did not begin.
    """
    is_root = not identity.is_own
    info, informer = os.pipe2(os.O_CLOEXEC)
    blocked, release = os.pipe2(os.O_CLOEXEC)
    built = None
    process = None
    try:
        built = bwrap.arguments(
            spec,
            info=informer,
            block=blocked,
            is_root=is_root,
            seccomp=filter,
            network=network,
            nests=nests,
        )
        argv = built.argv + program
        # From this thread: bubblewrap dies with the thread that started it.
        process = subprocess.Popen(  # noqa: ASYNC220
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL if output is None else output,
            stderr=subprocess.PIPE if output is None else output,
            env=_labels(),
            pass_fds=[informer, blocked, *fds, *built.fds],
            start_new_session=True,
        )
        os.close(informer)
        informer = -1
        async with asyncio.timeout(_START_S):
            pid = await _child_pid(info)
        if cgroup is not None and not (cgroup.add(process.pid) and cgroup.add(pid)):
            logger.warning("a sandbox is not limited as a whole: its control group takes nobody")
        if is_root:
            for name, number in (("uid_map", identity.uid), ("gid_map", identity.gid)):
                line = f"0 0 1\n{SANDBOX_UID} {number} 1\n"
                Path(f"/proc/{pid}/{name}").write_text(line)
        os.write(release, b"x")
        return process
    except BaseException as error:
        if process is not None:
            # The group, because what bubblewrap forked waits for it and would wait for ever.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            said = _last_words(process)
            process.wait()
            if process.stderr is not None:
                process.stderr.close()
            if said and isinstance(error, OSError | ValueError):
                raise CapabilityFault(f"the sandbox did not start: {said}") from error
        raise
    finally:
        if built is not None:
            built.close()
        for fd in (info, informer, blocked, release):
            if fd != -1:
                os.close(fd)


def _labels() -> dict[str, str]:
    """Return the variables of bubblewrap itself, which nothing inside gets to see.

    They say whose it is, for whoever sweeps up after an owner that was killed.
    """
    labels = {_OWNER: processes.label_of(os.getpid())}
    scope = os.environ.get(_SCOPE)
    return labels if scope is None else {**labels, _SCOPE: scope}


@functools.cache
def sweep_orphans(owner: int) -> None:
    """Clear up after owners that were killed, once in the life of a process.

    Bubblewrap dies with its parent only from a moment after its start on, and folders stay.
    """
    from hud.sandbox import cgroup

    killed = processes.kill_orphans("bwrap", _OWNER)
    if killed:
        logger.warning("%d sandboxes of owners that are gone were ended", killed)
    removed = folders.sweep()
    cgroup.sweep()
    if removed:
        logger.info("%d folders of owners that are gone were removed", removed)


def _start_bare(control: socket.socket) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        interpreter.supervisor_argv(control.fileno(), inside=False),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env={},
        cwd="/",
        pass_fds=[control.fileno()],
    )


async def _child_pid(fd: int) -> int:
    """Read the pid that bubblewrap says its sandbox has."""
    loop = asyncio.get_running_loop()
    os.set_blocking(fd, False)
    said = b""
    while b"}" not in said:
        readable: asyncio.Future[None] = loop.create_future()
        loop.add_reader(fd, _set, readable)
        try:
            await readable
        finally:
            loop.remove_reader(fd)
        data = os.read(fd, 4096)
        if not data or len(said) > 65536:
            raise ValueError("bubblewrap ended before it made a sandbox")
        said += data
    return int(json.loads(said)["child-pid"])


def _set(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _last_words(process: subprocess.Popen[bytes] | None) -> str:
    """Return what a process that failed has said, without waiting for more."""
    if process is None or process.stderr is None:
        return ""
    with contextlib.suppress(OSError, ValueError):
        os.set_blocking(process.stderr.fileno(), False)
        text = os.read(process.stderr.fileno(), _LOG_BYTES).decode("utf-8", "replace")
        return text.strip()[-1000:]
    return ""


async def exited(process: subprocess.Popen[bytes], limit_s: float | None) -> bool:
    """Wait for a process without a thread where the kernel tells, and reap it; say if it ended.

    Args:
        limit_s: How long to wait; None for as long as it takes.
    """
    if process.poll() is not None:
        return True
    loop = asyncio.get_running_loop()
    try:
        fd = os.pidfd_open(process.pid)
    except (OSError, AttributeError):
        with contextlib.suppress(subprocess.TimeoutExpired):
            await asyncio.to_thread(process.wait, limit_s)
        return process.poll() is not None
    dead: asyncio.Future[None] = loop.create_future()
    loop.add_reader(fd, _set, dead)
    try:
        async with asyncio.timeout(limit_s):
            await dead
    except TimeoutError:
        return False
    finally:
        loop.remove_reader(fd)
        os.close(fd)
    return process.poll() is not None
