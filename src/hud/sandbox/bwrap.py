"""Which arguments bubblewrap gets for a sandbox, and whether it works here at all.

Starting it and everything after is `launch`.
"""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from hud._core.errors import InputError
from hud.sandbox import interpreter
from hud.sandbox.spec import HOME, SANDBOX_UID, Mount, SandboxSpec

_PROBE_S = 10.0
# Folders with permissions of their own.
_SHARED = ("/tmp", "/var/tmp", "/run", "/var", "/home", "/home/agent")
_NAMESPACES = (
    "--unshare-user",
    "--unshare-pid",
    "--unshare-ipc",
    "--unshare-uts",
    "--unshare-net",
    "--unshare-cgroup-try",
)


@dataclass
class Arguments:
    """A command line with the descriptors it names. `close` it once the command has started."""

    argv: list[str]
    fds: list[int] = field(default_factory=list[int])

    def data(self, text: str) -> int:
        """Hold `text` where a new process can read it, and return the descriptor."""
        fd = os.memfd_create("hud-sandbox")
        self.fds.append(fd)
        os.write(fd, text.encode())
        os.lseek(fd, 0, os.SEEK_SET)
        return fd

    def close(self) -> None:
        fds, self.fds = self.fds, []
        for fd in fds:
            os.close(fd)


@functools.cache
def executable() -> str | None:
    """Return the path of bubblewrap, or None."""
    return shutil.which("bwrap")


@functools.cache
def problem() -> str | None:
    """Say why namespaces cannot be used here, or None when they can; asked of the kernel once."""
    bwrap = executable()
    if bwrap is None:
        return "bubblewrap (the program bwrap) is not installed"
    argv = [bwrap, *_NAMESPACES, "--ro-bind", "/", "/", "--proc", "/proc", "--dev", "/dev", "true"]
    try:
        done = subprocess.run(argv, check=False, capture_output=True, timeout=_PROBE_S, env={})
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"bubblewrap does not work here: {error}"
    if done.returncode != 0:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()
        why = _meaning(said[-1]) if said else f"exit code {done.returncode}"
        return f"bubblewrap does not work here: {why}"
    return None


def _meaning(said: str) -> str:
    """Explain the two complaints that containers cause; return any other as it is."""
    if "mount proc" in said:
        return (
            "parts of /proc are hidden, as container engines do, and the kernel then lets nobody "
            "mount a whole one"
        )
    if "new namespace" in said:
        return "user namespaces are forbidden, as they are by the usual profile of containers"
    return said


def arguments(
    spec: SandboxSpec,
    *,
    info: int,
    block: int,
    is_root: bool,
    seccomp: bytes | None,
    network: bool = False,
    nests: bool = False,
) -> Arguments:
    """Return the command line up to where the program to run follows.

    Args:
        info: Descriptor that bubblewrap writes the pid of the sandbox to.
        block: Descriptor it waits on before it goes on.
        is_root: Whether this process writes the uid map, which only root may for another uid.
        seccomp: Filter program every process inside gets.
        network: Whether the network is this machine's.
        nests: Whether the program itself makes walls inside, which it begins by opening /proc.
    """
    namespaces = [name for name in _NAMESPACES if not (network and name == "--unshare-net")]
    built = Arguments([executable() or "bwrap", *namespaces])
    argv = built.argv
    if is_root:
        argv += ["--userns-block-fd", str(block)]
        for capability in ("SETUID", "SETGID", "SETPCAP", "SYS_RESOURCE"):
            argv += ["--cap-add", f"CAP_{capability}"]
    else:
        argv += ["--block-fd", str(block), "--uid", str(SANDBOX_UID), "--gid", str(SANDBOX_UID)]
    if nests:
        argv += ["--cap-add", "CAP_SYS_ADMIN"]
    argv += ["--info-fd", str(info), "--die-with-parent", "--as-pid-1", "--clearenv"]
    argv += ["--hostname", "sandbox", "--chdir", "/"]
    memory_mb = spec.limits.memory_mb
    for mount in _mounts(spec):
        if mount.kind == "tmpfs" and memory_mb is not None:
            argv += ["--size", str(memory_mb << 20)]
        argv += mount.to_bwrap_args()
    argv += _open_parents(spec)
    # A file that is only held open can be laid over once, but nothing over it further inside.
    for path, text in () if nests else files(spec):
        argv += ["--perms", "0444", "--ro-bind-data", str(built.data(text)), path]
    if spec.root is not None:
        kind = "--bind" if spec.writable else "--ro-bind"
        root = os.path.realpath(spec.root)
        argv += [kind, root, spec.guest_path]
        if root != spec.guest_path and _may_appear_at(root):
            argv += [kind, root, root]
    for mount in spec.mounts:
        argv += mount.to_bwrap_args()
    argv += _masks(spec)
    if seccomp is not None:
        fd = os.memfd_create("hud-seccomp")
        built.fds.append(fd)
        os.write(fd, seccomp)
        os.lseek(fd, 0, os.SEEK_SET)
        argv += ["--add-seccomp-fd", str(fd)]
    argv.append("--")
    return built


def _mounts(spec: SandboxSpec) -> Iterable[Mount]:
    for mount in spec.system_mounts:
        if mount.kind != "tmpfs" or not mount.dst.startswith("/etc/") or Path(mount.dst).is_dir():
            yield mount
    yield Mount("tmpfs", dst=HOME, mode=0o1777)
    # Its parents stay closed to the agent: nobody but the supervisor needs it.
    yield from interpreter.supervisor_mounts()
    if spec.python:
        yield from interpreter.package_mounts()


def files(spec: SandboxSpec) -> Iterable[tuple[str, str]]:
    """Yield the files of /etc that say who and where one is."""
    user, uid = spec.user, SANDBOX_UID
    people = (
        "root:x:0:0:root:/root:/usr/sbin/nologin",
        f"{user}:x:{uid}:{uid}:{user}:{HOME}:/bin/bash",
        "nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin",
    )
    yield "/etc/passwd", "\n".join(people) + "\n"
    yield "/etc/group", f"root:x:0:\n{user}:x:{uid}:\ntty:x:5:\nnogroup:x:65534:\n"
    names = " ".join(
        dict.fromkeys(["localhost", "sandbox", *spec.aliases, *(p.name for p in spec.peers)])
    )
    yield "/etc/hosts", f"127.0.0.1 {names}\n::1 localhost\n"
    if Path("/etc/environment").exists():
        yield "/etc/environment", ""


def _open_parents(spec: SandboxSpec) -> list[str]:
    """Make the folders above what the agent is to reach passable, and above nothing else."""
    places = [mount.dst or mount.src for mount in spec.mounts]
    if spec.python:
        places += [mount.dst or mount.src for mount in interpreter.package_mounts()]
    if spec.root is not None:
        places += [spec.guest_path, os.path.realpath(spec.root)]
    argv: list[str] = []
    done: set[str] = set()
    for place in places:
        if not _may_appear_at(place):
            continue
        for parent in reversed(Path(place).parents[:-1]):
            if str(parent) not in done:
                done.add(str(parent))
                argv += ["--perms", "0755", "--dir", str(parent)]
                if str(parent) not in _SHARED:
                    argv += ["--chmod", "0755", str(parent)]
    return argv


def _may_appear_at(path: str) -> bool:
    """Whether a workspace can be shown at its own path without covering what is there."""
    tops = ("/usr", "/bin", "/sbin", "/lib", "/etc", "/proc", "/dev", "/run/hud", "/sys")
    return not any(path == top or path.startswith(f"{top}/") for top in tops)


def _masks(spec: SandboxSpec) -> list[str]:
    """Cover what must not be seen wherever a mount would show it."""
    argv: list[str] = []
    bound = [mount for mount in (*_mounts(spec), *spec.mounts) if mount.kind in ("ro", "rw")]
    for path in spec.private:
        real = os.path.realpath(path)
        for mount in bound:
            source = os.path.realpath(mount.src)
            if real != source and not real.startswith(source.rstrip("/") + "/"):
                continue
            place = (mount.dst or mount.src) + real[len(source) :]
            if Path(real).is_dir():
                argv += ["--tmpfs", place]
            elif Path(real).exists():
                argv += ["--ro-bind", "/dev/null", place]
    return argv


def check_root(root: Path, guest_path: str) -> None:
    """Refuse a workspace folder that is a part of the system.

    Raises:
        InputError: when it is, or is no folder.
    """
    real = os.path.realpath(root)
    if not Path(real).is_dir():
        raise InputError(f"workspace root {str(root)!r} is not a folder")
    system = (
        "/",
        "/usr",
        "/etc",
        "/proc",
        "/dev",
        "/sys",
        "/home",
        "/root",
        "/tmp",
        "/var",
        "/run",
    )
    if real in system or real.startswith(("/proc/", "/sys/", "/dev/", "/usr/", "/etc/")):
        raise InputError(
            f"workspace root {real!r} belongs to the system",
            hint="give the workspace a folder of its own",
        )
    _ = guest_path
