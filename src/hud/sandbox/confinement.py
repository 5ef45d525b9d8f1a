"""What a sandbox by uid alone may read, write and connect to.

There is no view of the file system of its own here: Landlock narrows the machine's, and without
it nothing but permissions keeps the agent from what is private, which is then checked.
"""

from __future__ import annotations

import socket
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from hud._core.errors import CapabilityFault
from hud.sandbox import interpreter
from hud.sandbox.guest import landlock
from hud.sandbox.guest.confine import uid_rules
from hud.sandbox.spec import SandboxSpec


def rules(spec: SandboxSpec, uid: int, gid: int, home: Path, proxy_port: int) -> dict[str, Any]:
    """Return what `confine` is told for every process of the sandbox.

    Raises:
        CapabilityFault: when something private could be read all the same, or ports are needed
            and cannot be limited.
    """
    read = [mount.src for mount in spec.mounts if mount.kind == "ro"]
    write = [str(home), *(mount.src for mount in spec.mounts if mount.kind == "rw")]
    if spec.root is not None:
        (write if spec.writable else read).append(str(spec.root))
    if spec.python:
        read += [mount.src for mount in interpreter.package_mounts()]
    needs_tcp = spec.has_egress or bool(spec.peers) or bool(spec.ports) or bool(spec.served)
    # The kernel compares numbers alone: each is open towards every address, so no more than these.
    ports = [*spec.ports, *(peer.port for peer in spec.peers)]
    if spec.has_egress:
        ports.append(proxy_port)
    made = uid_rules(
        uid=uid,
        gid=gid,
        read=read,
        write=write,
        tcp_connect=ports if needs_tcp else None,
        tcp_bind=[*spec.ports, *spec.served] if needs_tcp else None,
    )
    abi = landlock.abi()
    if abi == 0:
        if needs_tcp:
            raise CapabilityFault(
                "a sandbox by uid cannot limit the network here: this kernel has no Landlock",
                hint="leave network, peers and ports out",
            )
        _check_private(spec.private, uid)
        made["landlock"] = False
    elif needs_tcp and abi < 4:
        raise CapabilityFault(
            f"a sandbox by uid cannot limit the network here: Landlock is at version {abi}, not 4",
            hint="leave network, peers and ports out",
        )
    return made


def free_port() -> int:
    """Return a port of this machine's loopback that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _check_private(paths: Iterable[Path], uid: int) -> None:
    for path in paths:
        if _is_readable(path, uid):
            raise CapabilityFault(
                f"uid {uid}, which the agent's commands get, could read {path}",
                hint=f"make it unreadable for others (chmod o-r {path}), or allow user namespaces",
            )


def _is_readable(path: Path, uid: int) -> bool:
    try:
        for parent in path.parents:
            found = parent.stat()
            if not found.st_mode & stat.S_IXOTH and found.st_uid != uid:
                return False
        found = path.stat()
    except OSError:
        return False
    return found.st_uid == uid or bool(found.st_mode & stat.S_IROTH)
