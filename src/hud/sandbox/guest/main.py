"""The supervisor inside a sandbox: starts, signals and reaps processes as the host asks.

Pid 1 of its namespaces, or a trusted process beside the agent's uid where there are none. It holds
one socket to the host and no secret; what the host asks for is `requests`' business. Packets are
one JSON object each, with descriptors beside them.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import resource
import select
import signal
import socket
import struct
from typing import Any

from . import packets
from .requests import Requests

_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PR_SET_CHILD_SUBREAPER = 36
_PR_CAPBSET_DROP = 24
_PR_SET_NO_NEW_PRIVS = 38
_MAX_CAPABILITY = 64
_CAPABILITY_VERSION_3 = 0x20080522


def main(control: int) -> None:
    """Serve the host on the descriptor `control` until it hangs up."""
    _close_all_but(control)
    with socket.socket(fileno=control) as host:
        settings = json.loads(packets.receive(host)[0])
        if settings.get("confine") is not None:
            from . import confine as _  # noqa: F401 -- loaded once, for every fork
        _settle(settings)
        host.send(json.dumps({"ready": os.getpid()}).encode())
        _serve(host, Requests(host, settings))
    os._exit(0)


def _serve(host: socket.socket, requests: Requests) -> None:
    wake, waker = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, _noted)
    ignored = [signal.SIGINT, signal.SIGHUP, signal.SIGPIPE]
    if requests.is_signalled_by_agent:
        ignored.append(signal.SIGTERM)
    else:
        signal.signal(signal.SIGTERM, requests.terminate)
    for number in ignored:
        signal.signal(number, signal.SIG_IGN)
    poll = select.poll()
    poll.register(host, select.POLLIN)
    poll.register(wake, select.POLLIN)
    while True:
        for fd, _ in poll.poll():
            if fd == wake:
                with contextlib.suppress(BlockingIOError):
                    os.read(wake, 4096)
                requests.reap()
            elif not _receive(host, requests):
                requests.end()
                return


def _receive(host: socket.socket, requests: Requests) -> bool:
    try:
        data, fds = packets.receive(host)
    except ConnectionResetError:
        return False
    if not data:
        return False
    try:
        requests.handle(json.loads(data), fds)
    finally:
        packets.close_all(fds)
    return True


def _noted(number: int, frame: object) -> None:
    """Be a handler, so that the signal reaches the wake-up pipe."""


def _close_all_but(control: int) -> None:
    """Close what was inherited; the standard streams become the null device."""
    null = os.open(os.devnull, os.O_RDWR)
    for fd in range(3):
        if fd != control:
            os.dup2(null, fd)
    os.closerange(3, control)
    os.closerange(control + 1, 1 << 16)
    os.set_inheritable(control, False)


def _settle(settings: dict[str, Any]) -> None:
    """Take the identity and the limits that everything started from here inherits."""
    libc = ctypes.CDLL(None, use_errno=True)

    def prctl(option: int, *arguments: int) -> None:
        if libc.prctl(option, *[*arguments, 0, 0, 0, 0][:4]) != 0:
            number = ctypes.get_errno()
            raise OSError(number, f"prctl({option}): {os.strerror(number)}")

    # When memory runs out this and what it starts goes first, the environment's processes last.
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:  # noqa: PTH123
        file.write("500")
    if settings["mode"] != "bwrap":
        prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        prctl(_PR_SET_CHILD_SUBREAPER, 1)
        if os.getppid() != settings["parent"]:
            os._exit(1)
        os.setsid()
    identity = settings.get("become")
    if identity is not None:
        for name in ("user", "mnt", "net", "pid"):
            with (
                contextlib.suppress(OSError),
                open(  # noqa: PTH123
                    f"/proc/sys/user/max_{name}_namespaces", "w"
                ) as file,
            ):
                file.write("0")
        for capability in range(_MAX_CAPABILITY):
            with contextlib.suppress(OSError):
                prctl(_PR_CAPBSET_DROP, capability)
        uid, gid = identity
        os.setgroups([])
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)
        _drop_capabilities(libc)
        if os.getresuid() != (uid, uid, uid) or os.getresgid() != (gid, gid, gid):
            os._exit(1)
    if settings["mode"] == "bwrap":
        prctl(_PR_SET_NO_NEW_PRIVS, 1)
    # The agent's processes may neither trace this one nor look into its descriptors.
    prctl(_PR_SET_DUMPABLE, 0)
    os.umask(settings.get("umask", 0o022))
    if settings["mode"] != "uid":
        for name, value in settings["limits"].items():
            number = getattr(resource, name)
            hard = resource.getrlimit(number)[1]
            value = value if hard == resource.RLIM_INFINITY else min(value, hard)
            resource.setrlimit(number, (value, value))


def _drop_capabilities(libc: ctypes.CDLL) -> None:
    """Clear what may be inherited too, which changing the uid leaves alone (capset(2))."""
    header = struct.pack("=Ii", _CAPABILITY_VERSION_3, 0)
    if libc.capset(header, bytes(24)) != 0:
        raise OSError(ctypes.get_errno(), "capset")
