"""What the first process behind a bundle's wall does before any code of the environment runs.

It takes on the unprivileged identity it was given, reads its order (variables included, so that
none stands on a command line), and lays a writable layer over the source. A rollout forked from it
then gets a layer of its own over all that may be written, in memory that goes with the process.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import re
import shutil
import socket
import struct
from collections.abc import Callable
from typing import Any

import msgspec

from hud._core.errors import RuntimeFault
from hud._core.processes import die_with_parent

TOP = "/bundle"
SOURCE = f"{TOP}/source"
HUD = f"{TOP}/hud"
PACKAGES = f"{TOP}/packages"
BROWSER = f"{TOP}/browser"
ORIGINAL = f"{TOP}/original"
LAYERS = f"{TOP}/layers"
HOME = "/home/agent"
_SHARED, _OWN = f"{LAYERS}/shared", f"{LAYERS}/own"
_WRITABLE = ("/tmp", HOME)

_NEW_MOUNTS, _NEW_IPC, _NEW_USER, _NEW_NET = 0x2_0000, 0x800_0000, 0x1000_0000, 0x4000_0000
_MS_NOSUID, _MS_NODEV, _MS_BIND, _MS_REC, _MS_PRIVATE = 2, 4, 0x1000, 0x4000, 0x4_0000
_MNT_DETACH = 2
_PR_SET_DUMPABLE, _PR_CAP_AMBIENT, _CLEAR_ALL = 4, 47, 4
_CAPABILITY_VERSION_3 = 0x2008_0522
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 1
_ORDER_BYTES = 4 << 20


class Order(msgspec.Struct, frozen=True):
    """What the first process is told.

    Attributes:
        uid: Whom to become, None where the process is that already.
        env: The environment's variables.
        disk_mb: How much one rollout may write.
        has_network: Whether the network is the machine's, and shared.
    """

    uid: int | None = None
    env: dict[str, str] = {}
    disk_mb: int = 1024
    has_network: bool = False


_order = Order()


def enter(fd: int) -> Order:
    """Become what the order in the file `fd` says, and return the order.

    Raises:
        OSError: when the kernel allows a step of it not.
    """
    global _order  # noqa: PLW0603 -- one process has one order
    with os.fdopen(fd, "rb") as file:
        order = msgspec.json.decode(file.read(_ORDER_BYTES), type=Order)
    _uncover_proc()
    if order.uid is not None:
        os.setgroups([])
        os.setresgid(order.uid, order.uid, order.uid)
        os.setresuid(order.uid, order.uid, order.uid)
    _drop_capabilities()
    die_with_parent()
    os.environ.update(order.env)
    os.umask(0o022)
    _order = order
    return order


def lay_source() -> None:
    """Make the source writable for the import, without changing the bundle's own."""
    _separate(0)
    for folder in (_SHARED, _OWN):
        os.makedirs(folder, exist_ok=True)  # noqa: PTH103
    _memory(_SHARED, _order.disk_mb)
    _layer(0, _SHARED, ORIGINAL, SOURCE)
    os.chdir(SOURCE)
    _drop_capabilities()


def separate_rollout() -> None:
    """Give this forked process a view of its own: whatever it writes is gone with it.

    Raises:
        RuntimeFault: when the kernel allows a step of it not.
    """
    try:
        _separate(_NEW_IPC | (0 if _order.has_network else _NEW_NET))
        if not _order.has_network:
            _raise_loopback()
        _memory(_OWN, _order.disk_mb)
        _layer(0, _OWN, _lowest(), SOURCE)
        for number, place in enumerate(_WRITABLE, 1):
            _layer(number, _OWN, place, place)
        _memory("/dev/shm", _order.disk_mb, mode="1777")
        os.chdir(SOURCE)
        _drop_capabilities()
    except OSError as error:
        raise RuntimeFault(f"a rollout's own view of the bundle cannot be made: {error}") from error


def _uncover_proc() -> None:
    """Take away what bubblewrap lays over parts of /proc.

    The kernel shows a /proc to walls further inside only where nothing of the outer one is covered.
    What lies below may be written by the machine's root alone, whom nobody here can become.
    """
    for place in reversed(_mounts_below("/proc")):
        _call("umount2", os.fsencode(place), _MNT_DETACH)


def _mounts_below(place: str) -> list[str]:
    """Return what is mounted below a place, in the order of mounting."""
    with open("/proc/self/mountinfo", "rb") as file:  # noqa: PTH123
        lines = file.read(_ORDER_BYTES).splitlines()
    # The kernel writes a blank, a tab, a line's end and a backslash as three octal digits.
    names = [
        re.sub(rb"\\([0-7]{3})", lambda found: bytes([int(found[1], 8)]), line.split(b" ")[4])
        for line in lines
    ]
    return [os.fsdecode(name) for name in names if name.startswith(f"{place}/".encode())]


def _lowest() -> str:
    upper = f"{_SHARED}/0/upper"
    return f"{upper}:{ORIGINAL}" if os.path.isdir(upper) else SOURCE  # noqa: PTH112


def _separate(further: int) -> None:
    uid, gid = os.getuid(), os.getgid()
    _call("unshare", _NEW_USER | _NEW_MOUNTS | further)
    for name, text in (
        ("setgroups", "deny"),
        ("uid_map", f"{uid} {uid} 1"),
        ("gid_map", f"{gid} {gid} 1"),
    ):
        fd = os.open(f"/proc/self/{name}", os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(fd, text.encode())
        finally:
            os.close(fd)
    _mount("none", "/", None, _MS_REC | _MS_PRIVATE, None)


def _memory(place: str, size_mb: int, *, mode: str = "0755") -> None:
    _mount("tmpfs", place, "tmpfs", _MS_NOSUID | _MS_NODEV, f"mode={mode},size={size_mb}m")


def _layer(number: int, top: str, lower: str, place: str) -> None:
    """Lay a writable folder over `lower` and show both at `place`."""
    upper, work = f"{top}/{number}/upper", f"{top}/{number}/work"
    os.makedirs(upper)  # noqa: PTH103
    os.mkdir(work)  # noqa: PTH102
    os.chmod(upper, 0o1777 if place == "/tmp" else 0o755)  # noqa: PTH101
    options = f"lowerdir={lower},upperdir={upper},workdir={work},userxattr"
    below = _mounts_below(place) if lower == place else []
    if not below:
        with contextlib.suppress(OSError):
            _mount("overlay", place, "overlay", _MS_NOSUID | _MS_NODEV, options)
            return
    # Layers cannot be stacked any higher here, or would hide what is mounted below, as a Python
    # that lies in /tmp is: a copy does the same, more slowly.
    copy = f"{top}/{number}/copy"
    for folder in reversed(lower.split(":")):
        shutil.copytree(folder, copy, symlinks=True, dirs_exist_ok=True, ignore=_all_of(below))
    os.chmod(copy, 0o1777 if place == "/tmp" else 0o755)  # noqa: PTH101
    shutil.rmtree(upper)
    for mounted in below:
        if not any(mounted.startswith(f"{other}/") for other in below):
            target = copy + mounted.removeprefix(place)
            if os.path.isdir(mounted):  # noqa: PTH112
                os.makedirs(target, exist_ok=True)  # noqa: PTH103
            else:
                os.close(os.open(target, os.O_CREAT | os.O_CLOEXEC, 0o600))
            _mount(mounted, target, None, _MS_BIND | _MS_REC, None)
    _mount(copy, place, None, _MS_BIND | _MS_REC, None)


def _all_of(paths: list[str]) -> Callable[[str, list[str]], set[str]]:
    """Return what tells `copytree` to leave these out."""
    left_out = set(paths)
    return lambda folder, names: {name for name in names if f"{folder}/{name}" in left_out}


def _raise_loopback() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        request = struct.pack("16sh14x", b"lo", 0)
        answer = fcntl.ioctl(any_socket, _SIOCGIFFLAGS, request)
        (flags,) = struct.unpack_from("h", answer, 16)
        request = struct.pack("16sh14x", b"lo", flags | _IFF_UP)
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, request)


def _drop_capabilities() -> None:
    """Be an ordinary process again; what it executes would be one anyhow."""
    with contextlib.suppress(OSError):
        _call("prctl", _PR_CAP_AMBIENT, _CLEAR_ALL, 0, 0, 0)
    header = ctypes.create_string_buffer(struct.pack("Ii", _CAPABILITY_VERSION_3, 0))
    nothing = ctypes.create_string_buffer(bytes(24))
    _call("capset", header, nothing)
    _call("prctl", _PR_SET_DUMPABLE, 1, 0, 0, 0)


_libc = ctypes.CDLL(None, use_errno=True)


def _mount(what: str, place: str, kind: str | None, flags: int, options: str | None) -> None:
    arguments: list[Any] = [
        None if text is None else text.encode() for text in (what, place, kind, options)
    ]
    what_, place_, kind_, options_ = arguments
    try:
        _call("mount", what_, place_, kind_, ctypes.c_ulong(flags), options_)
    except OSError as error:
        raise OSError(error.errno, f"mount {kind or what} at {place}: {error.strerror}") from None


def _call(name: str, *arguments: Any) -> None:
    if getattr(_libc, name)(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")
