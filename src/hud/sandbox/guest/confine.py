"""Take everything from a forked child that what it is about to execute must not have.

For where no namespaces are to be had: another uid, no capabilities, a list of readable files, a
filter of system calls. Every step is looked at after it was taken; a child for which one failed
ends instead of running with less.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import resource
import signal
import stat
import struct
from collections.abc import Callable, Iterable
from enum import IntEnum
from typing import Any, NoReturn

from . import landlock, seccomp

SYSTEM_TREES = (
    *("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/etc"),
    *("/var/cache/fontconfig", "/var/lib/dpkg", "/var/lib/xkb"),
    *("/sys/devices/system/cpu", "/sys/devices/system/node", "/sys/kernel/mm"),
)
DEVICE_FILES = (
    *("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"),
    *("/dev/tty", "/dev/ptmx", "/dev/pts", "/dev/shm"),
)
# What tells about the machine; entries of processes tell who else runs here, and are not among it.
PROC_FILES = tuple(
    f"/proc/{name}"
    for name in (
        *("cpuinfo", "meminfo", "stat", "loadavg", "version", "uptime", "filesystems"),
        *("devices", "vmstat", "diskstats", "swaps", "cgroups", "sys"),
    )
)
# Which pids exist is known from asking to signal them; their files stay closed. Programs that close
# what they inherited list their own folder there, and Chromium does not start without.
LISTED = ("/proc",)
RESOLVER_FILES = ("/etc/resolv.conf", "/etc/hosts", "/etc/localtime")

_RULES = frozenset(
    (
        *("uid", "gid", "read", "write", "list_only", "tcp_connect", "tcp_bind", "deny_inet"),
        *("landlock", "keep_fds", "parent"),
    )
)
_PR_GET_PDEATHSIG = 2
_PR_SET_PDEATHSIG = 1
_PR_GET_DUMPABLE = 3
_PR_SET_DUMPABLE = 4
_PR_CAPBSET_READ = 23
_PR_CAPBSET_DROP = 24
_PR_SET_NO_NEW_PRIVS = 38
_PR_GET_NO_NEW_PRIVS = 39
_PR_CAP_AMBIENT = 47
_PR_CAP_AMBIENT_CLEAR_ALL = 4
_CAPABILITY_VERSION_3 = 0x2008_0522
_CAPABILITIES_AT_MOST = 64
_CLOSE_RANGE = 436
_CLOSE_RANGE_CLOEXEC = 4
_NO_ID = 0xFFFF_FFFF
_FIRST_FREE_FD = 3
_PTY_SLAVES = range(136, 144)
_LAST_FD = 0xFFFF_FFFF


class Step(IntEnum):
    """What can fail, and the exit status of a child that ends because of it."""

    LIMITS = 201
    DESCRIPTORS = 202
    CAPABILITIES = 203
    GROUPS = 204
    IDENTITY = 205
    NO_NEW_PRIVILEGES = 206
    FILES = 207
    SYSTEM_CALLS = 208
    PARENT = 209
    RULES = 210
    STREAMS = 211


class ConfineError(Exception):
    """A step that failed."""

    def __init__(self, step: Step, message: str) -> None:
        super().__init__(step, message)
        self.step = step
        self.message = message

    def __str__(self) -> str:
        return f"cannot confine the process: {self.message}"


def uid_rules(
    *,
    uid: int,
    gid: int,
    read: Iterable[str] = (),
    write: Iterable[str] = (),
    tcp_connect: list[int] | None = None,
    tcp_bind: list[int] | None = None,
    parent: int | None = None,
) -> dict[str, Any]:
    """Return the rules of uid isolation, as plain data: the system plus these files and trees.

    Args:
        read: Extra files and trees to read.
        write: Files and trees to write: the workspace, the sandbox's own temporary folder.
        tcp_connect: Ports that TCP may connect to, at whatever address. None: no Internet socket
            of any kind, unless `tcp_bind` is given.
        tcp_bind: Ports that TCP may listen on, likewise.
        parent: Pid of the process whose death is to kill the child.
    """
    resolver = [real for path in RESOLVER_FILES if (real := os.path.realpath(path)) != path]
    has_tcp = tcp_connect is not None or tcp_bind is not None
    return {
        "uid": uid,
        "gid": gid,
        "read": [*SYSTEM_TREES, *PROC_FILES, *resolver, *read],
        "write": [*DEVICE_FILES, *write],
        "list_only": list(LISTED),
        "tcp_connect": (tcp_connect or []) if has_tcp else None,
        "tcp_bind": (tcp_bind or []) if has_tcp else None,
        "deny_inet": not has_tcp,
        "parent": parent,
    }


def confine(rules: dict[str, Any]) -> None:
    """Confine this process by `rules`, or end it with the status of the step that failed.

    Call it in a single-threaded forked child, before exec, its standard streams in place.
    """
    _or_end(lambda: apply_rules(rules))


def set_limits(limits: dict[str, int]) -> None:
    """Set resource limits, soft and hard alike, or end this process.

    Args:
        limits: Names as `resource` has them, with or without `RLIMIT_`. A hard limit that is
            already lower stays.
    """
    _or_end(lambda: apply_limits(limits))


def apply_rules(rules: dict[str, Any]) -> None:
    """Do what `confine` does, raising where that ends the process.

    Args:
        rules: `uid` and `gid` (not root), and optionally `read`, `write` (paths), `tcp_connect`,
            `tcp_bind` (ports or None), `deny_inet` (True), `landlock` (True; False leaves files
            to their permissions, where a kernel has no Landlock), `keep_fds`, `parent` (pid).

    Raises:
        ConfineError: when a step failed; the process is then confined in part and must end.
    """
    unknown = rules.keys() - _RULES
    if unknown:
        raise ConfineError(Step.RULES, f"unknown rules {sorted(unknown)}")
    uid, gid = rules.get("uid", 0), rules.get("gid", 0)
    if not all(type(number) is int and 0 < number < _NO_ID for number in (uid, gid)):
        raise ConfineError(Step.IDENTITY, f"uid {uid!r} and gid {gid!r} are not those of an agent")
    libc = ctypes.CDLL(None, use_errno=True)
    has_tcp = rules.get("tcp_connect") is not None or rules.get("tcp_bind") is not None
    code = _taken(
        Step.SYSTEM_CALLS,
        lambda: seccomp.program(deny_inet=rules.get("deny_inet", True), tcp_only=has_tcp),
    )
    _taken(Step.DESCRIPTORS, lambda: _close_on_exec(libc, rules.get("keep_fds") or []))
    _taken(Step.STREAMS, lambda: _own_streams(uid))
    _taken(Step.CAPABILITIES, lambda: _drop_bounding_set(libc))
    _taken(Step.GROUPS, _leave_groups)
    _taken(Step.IDENTITY, lambda: _become(uid, gid))
    _taken(Step.CAPABILITIES, lambda: _drop_capabilities(libc))
    _taken(Step.NO_NEW_PRIVILEGES, lambda: _forbid_new_privileges(libc))
    if rules.get("landlock", True):
        _taken(Step.FILES, lambda: _restrict_files(rules))
    elif has_tcp:
        raise ConfineError(Step.FILES, "TCP ports cannot be limited without Landlock")
    _taken(Step.SYSTEM_CALLS, lambda: seccomp.install(code))
    _taken(Step.PARENT, lambda: _die_with(libc, rules.get("parent")))


def apply_limits(limits: dict[str, int]) -> None:
    """Do what `set_limits` does, raising where that ends the process.

    Raises:
        ConfineError: when a limit is unknown, or does not hold.
    """
    for name, value in limits.items():
        number = getattr(resource, f"RLIMIT_{name.removeprefix('RLIMIT_')}", None)
        if not isinstance(number, int) or type(value) is not int or value < 0:
            raise ConfineError(Step.LIMITS, f"{name}={value!r} is no resource limit")
        _taken(Step.LIMITS, lambda number=number, value=value: _limit(number, value))


def _or_end(take: Callable[[], None]) -> None:
    try:
        take()
    except ConfineError as error:
        _end(error.step, str(error))
    except BaseException as error:
        _end(Step.RULES, f"cannot confine the process: {type(error).__name__}: {error}")


def _end(step: Step, message: str) -> NoReturn:
    with contextlib.suppress(OSError):
        os.write(2, f"hud: {message}\n".encode()[:2000])
    os._exit(step)


def _taken(step: Step, take: Callable[[], Any]) -> Any:
    """Take a step; whatever goes wrong is that step's failure."""
    try:
        return take()
    except ConfineError:
        raise
    except Exception as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        text = f"{step.name.lower().replace('_', ' ')}: {reason or type(error).__name__}"
        raise ConfineError(step, text) from error


def _must(holds: bool, message: str) -> None:
    if not holds:
        raise OSError(errno.EPERM, message)


def _prctl(libc: ctypes.CDLL, option: int, *arguments: int) -> int:
    words = [ctypes.c_ulong(value) for value in (*arguments, 0, 0, 0, 0)[:4]]
    result: int = libc.prctl(option, *words)
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"prctl({option}): {os.strerror(number)}")
    return result


def _limit(number: int, value: int) -> None:
    hard = resource.getrlimit(number)[1]
    if hard != resource.RLIM_INFINITY:
        value = min(value, hard)
    resource.setrlimit(number, (value, value))
    _must(resource.getrlimit(number) == (value, value), f"resource limit {number} does not hold")


def _close_on_exec(libc: ctypes.CDLL, keep: list[int]) -> None:
    """Let no descriptor but the standard streams and `keep` through the coming exec."""
    first = _FIRST_FREE_FD
    for fd in [*sorted(fd for fd in keep if fd >= _FIRST_FREE_FD), _LAST_FD + 1]:
        if fd > first and _mark_range(libc, first, fd - 1) != 0:
            raise OSError(ctypes.get_errno(), "inherited descriptors cannot be closed")
        first = fd + 1
    for fd in keep:
        os.set_inheritable(fd, True)


def _mark_range(libc: ctypes.CDLL, first: int, last: int) -> int:
    result: int = libc.syscall(
        ctypes.c_long(_CLOSE_RANGE),
        *(ctypes.c_uint(first), ctypes.c_uint(last), ctypes.c_uint(_CLOSE_RANGE_CLOEXEC)),
    )
    if result == 0 or ctypes.get_errno() not in (errno.ENOSYS, errno.EINVAL):
        return result
    for fd in range(first, min(last + 1, os.sysconf("SC_OPEN_MAX"))):
        with contextlib.suppress(OSError):
            fcntl.fcntl(fd, fcntl.F_SETFD, fcntl.FD_CLOEXEC)
    return 0


def _own_streams(uid: int) -> None:
    """Let the agent open its own pipes and terminal again by name (/dev/stderr, `tty`)."""
    for fd in range(_FIRST_FREE_FD):
        found = os.fstat(fd)
        is_pipe = stat.S_ISFIFO(found.st_mode)
        is_terminal = stat.S_ISCHR(found.st_mode) and os.major(found.st_rdev) in _PTY_SLAVES
        if (is_pipe or is_terminal) and found.st_uid != uid:
            os.fchown(fd, uid, -1)


def _drop_bounding_set(libc: ctypes.CDLL) -> None:
    for capability in range(_CAPABILITIES_AT_MOST):
        try:
            if _prctl(libc, _PR_CAPBSET_READ, capability) == 0:
                continue
        except OSError:
            return  # past the last one this kernel knows
        _prctl(libc, _PR_CAPBSET_DROP, capability)
        _must(_prctl(libc, _PR_CAPBSET_READ, capability) == 0, f"{capability} is still bounding")


def _leave_groups() -> None:
    os.setgroups([])
    _must(os.getgroups() == [], "supplementary groups are left")


def _become(uid: int, gid: int) -> None:
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)
    _must(os.getresuid() == (uid, uid, uid), "the uid is another")
    _must(os.getresgid() == (gid, gid, gid), "the gid is another")
    with contextlib.suppress(PermissionError):
        os.setuid(0)
        raise OSError(errno.EPERM, "the way back to root is open")


def _drop_capabilities(libc: ctypes.CDLL) -> None:
    _prctl(libc, _PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL)
    header = ctypes.create_string_buffer(struct.pack("=Ii", _CAPABILITY_VERSION_3, 0), 8)
    none = ctypes.create_string_buffer(24)
    _must(libc.capset(header, none) == 0, "capabilities cannot be dropped")
    held = ctypes.create_string_buffer(b"\xff" * 24, 24)
    _must(libc.capget(header, held) == 0 and not any(held.raw), "capabilities are left")


def _forbid_new_privileges(libc: ctypes.CDLL) -> None:
    _prctl(libc, _PR_SET_NO_NEW_PRIVS, 1)
    _must(_prctl(libc, _PR_GET_NO_NEW_PRIVS) == 1, "no_new_privs does not hold")
    # Until exec this memory is still the supervisor's: nobody of the same uid may look into it.
    _prctl(libc, _PR_SET_DUMPABLE, 0)
    _must(_prctl(libc, _PR_GET_DUMPABLE) == 0, "the process can be traced")


def _restrict_files(rules: dict[str, Any]) -> None:
    landlock.restrict(
        read=rules.get("read") or (),
        write=rules.get("write") or (),
        list_only=rules.get("list_only") or (),
        tcp_connect=rules.get("tcp_connect"),
        tcp_bind=rules.get("tcp_bind"),
    )
    # "/" as a tree would allow everything, and no set of rules that confines anything holds it.
    try:
        os.close(os.open("/", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
    except PermissionError:
        return
    raise OSError(errno.EPERM, "the root folder can still be read")


def _die_with(libc: ctypes.CDLL, parent: int | None) -> None:
    _prctl(libc, _PR_SET_PDEATHSIG, signal.SIGKILL)
    held = ctypes.c_int()
    _must(libc.prctl(_PR_GET_PDEATHSIG, ctypes.byref(held), 0, 0, 0) == 0, "cannot be read back")
    _must(held.value == signal.SIGKILL, "the parent's death would go unnoticed")
    if parent is not None:
        _must(os.getppid() == parent, "the parent is gone already")
