"""What a sandbox is to be, as plain data: mounts, limits, network, identity.

Building it is `sandbox`; which arguments bubblewrap gets is `bwrap`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from hud._core.errors import InputError

Isolation = Literal["bwrap", "uid", "none"]
MountKind = Literal["ro", "rw", "tmpfs", "symlink", "proc", "dev"]

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
HOME = "/home/agent"
SANDBOX_UID = 1000


@dataclass(frozen=True)
class Mount:
    """One thing at one place in a sandbox's file system.

    Attributes:
        kind: `ro` and `rw` bind the host's `src` at `dst`; `symlink` makes `dst` point to `src`;
            `tmpfs`, `proc` and `dev` need a `dst` alone.
        optional: A `src` that does not exist is left out instead of being an error.
        mode: Permissions of a `tmpfs`, as in `chmod`.
    """

    kind: MountKind
    src: str = ""
    dst: str = ""
    optional: bool = False
    mode: int | None = None

    def to_bwrap_args(self, *, bind_devices: bool = False) -> list[str]:
        """Return the arguments that have bubblewrap make this mount.

        Args:
            bind_devices: Bind the host's `/dev` instead of making a minimal one.
        """
        tried = "-try" if self.optional else ""
        match self.kind:
            case "ro":
                return [f"--ro-bind{tried}", self.src, self.dst or self.src]
            case "rw":
                return [f"--bind{tried}", self.src, self.dst or self.src]
            case "symlink":
                return ["--symlink", self.src, self.dst]
            case "tmpfs":
                perms = [] if self.mode is None else ["--perms", f"{self.mode:o}"]
                return [*perms, "--tmpfs", self.dst]
            case "proc":
                return ["--proc", self.dst]
            case "dev":
                return ["--dev-bind", "/dev", self.dst] if bind_devices else ["--dev", self.dst]


def _root_links() -> list[Mount]:
    """Return `/bin`, `/lib`… as this system has them: links into `/usr`, or folders."""
    mounts: list[Mount] = []
    for name in ("bin", "sbin", "lib", "lib32", "lib64", "libx32"):
        path = Path("/", name)
        if path.is_symlink():
            mounts.append(Mount("symlink", str(path.readlink()), str(path)))
        elif path.is_dir():
            mounts.append(Mount("ro", str(path), str(path)))
    return mounts


DEFAULT_SYSTEM_MOUNTS: tuple[Mount, ...] = (
    Mount("ro", "/usr", "/usr"),
    *_root_links(),
    Mount("ro", "/etc", "/etc"),
    # Single files and folders of /etc that may hold secrets for everybody to read.
    Mount("tmpfs", dst="/etc/ssh", mode=0o755),
    Mount("tmpfs", dst="/etc/kubernetes", mode=0o755),
    Mount("proc", dst="/proc"),
    Mount("dev", dst="/dev"),
    Mount("tmpfs", dst="/dev/shm", mode=0o1777),
    Mount("tmpfs", dst="/tmp", mode=0o1777),
    Mount("tmpfs", dst="/var/tmp", mode=0o1777),
    Mount("tmpfs", dst="/run", mode=0o755),
)


@dataclass(frozen=True)
class Limits:
    """How much one sandbox may use. None leaves a resource to what the machine allows.

    Where cgroups can be written (as root, or delegated) memory, CPU and processes are limited for
    the sandbox as a whole; elsewhere per process and per uid, through rlimits.

    Attributes:
        memory_mb: Memory, swap and memory-backed files.
        cpus: CPU time per wall time: 1.5 is one and a half cores.
        processes: Processes and threads.
        open_files: Descriptors per process.
        file_mb: Size of one file.
        disk_mb: Size of the workspace; see `disk_files`.
        disk_files: Files in the workspace. A watcher ends what runs when either is exceeded.
    """

    memory_mb: int | None = 4096
    cpus: float | None = None
    processes: int | None = 2048
    open_files: int | None = 4096
    file_mb: int | None = 4096
    disk_mb: int | None = 10240
    disk_files: int | None = 1_000_000


@dataclass(frozen=True)
class Peer:
    """A service outside that a sandbox may reach under a name of its own.

    Attributes:
        name: Host name inside the sandbox.
        port: Port inside the sandbox, 1024 or above.
        target: Host and port outside, or what returns them when the sandbox starts; the name and
            port themselves when None.
    """

    name: str
    port: int
    target: tuple[str, int] | Callable[[], tuple[str, int]] | None = None

    @property
    def address(self) -> tuple[str, int]:
        """Where connections go."""
        target = self.target() if callable(self.target) else self.target
        return target or (self.name, self.port)


@dataclass(frozen=True)
class SandboxSpec:
    """One sandbox.

    Attributes:
        root: Folder of the host that is writable inside; None for a sandbox without one.
        guest_path: Where `root` appears inside.
        mounts: Further mounts, after the system's.
        system_mounts: What the rest of the file system is.
        env: Variables every process gets, over the built-in ones.
        cwd: Working directory; `guest_path` otherwise, or the home without a root.
        network: False for loopback alone; True for the public internet through the egress proxy.
        allowed_hosts: Hosts the egress proxy lets through; makes `network` a matter of this list.
        peers: Services outside that are reachable by name.
        ports: Ports that programs inside listen on and reach each other at; needed only where
            isolation is by uid, which has no loopback of its own.
        served: Ports that programs inside listen on for this process alone; likewise.
        aliases: Further names of its own loopback; needs a loopback of its own.
        limits: How much it may use.
        isolation: None takes the strongest there is of "bwrap" and "uid"; "none" must be asked
            for in so many words.
        uid, gid: Identity on the host, when this process may choose (it is root); None picks an
            unused one.
        user: Name inside.
        writable: Whether `root` may be written.
        python: Whether this Python with its packages is visible and first on PATH.
        private: Files and folders that must be unreadable inside in any case.
    """

    root: Path | None = None
    guest_path: str = "/workspace"
    mounts: tuple[Mount, ...] = ()
    system_mounts: tuple[Mount, ...] = DEFAULT_SYSTEM_MOUNTS
    env: Mapping[str, str] = field(default_factory=dict[str, str])
    cwd: str | None = None
    network: bool = False
    allowed_hosts: Collection[str] | None = None
    peers: tuple[Peer, ...] = ()
    ports: tuple[int, ...] = ()
    served: tuple[int, ...] = ()
    aliases: tuple[str, ...] = ()
    limits: Limits = field(default_factory=Limits)
    isolation: Isolation | None = None
    uid: int | None = None
    gid: int | None = None
    user: str = "agent"
    writable: bool = True
    python: bool = False
    private: tuple[Path, ...] = ()

    def __post_init__(self) -> None:
        if not self.guest_path.startswith("/") or os.path.normpath(self.guest_path) == "/":
            raise InputError(f"guest_path must be absolute and not the root: {self.guest_path!r}")
        for port in self.ports:
            if not 1024 <= port <= 65535:
                raise InputError(
                    f"ports: {port} cannot be listened on in a sandbox",
                    hint="use ports from 1024 to 65535",
                )
        for peer in self.peers:
            if not 1024 <= peer.port <= 65535:
                raise InputError(
                    f"peer {peer.name!r}: port {peer.port} cannot be listened on in a sandbox",
                    hint="use a port from 1024 to 65535 inside, with `target` for the real one",
                )

    @property
    def has_egress(self) -> bool:
        """Whether anything outside is reachable through the egress proxy."""
        return self.network or bool(self.allowed_hosts)


def base_environment(spec: SandboxSpec, home: str) -> dict[str, str]:
    """Return the variables of every process: nothing of this process's own environment."""
    own = f"{Path(sys.executable).parent}:" if spec.python else ""
    return {
        "PATH": own + DEFAULT_PATH,
        "HOME": home,
        "USER": spec.user,
        "LOGNAME": spec.user,
        "SHELL": "/bin/bash",
        "LANG": "C.UTF-8",
        "TERM": "dumb",
        **spec.env,
    }
