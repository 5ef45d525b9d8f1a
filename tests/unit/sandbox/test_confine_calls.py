"""The filter of system calls: real calls in a filtered child, and its logic for both machines."""

from __future__ import annotations

import ctypes
import errno
import os
import resource
import socket
import struct
import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from hud.sandbox.guest import seccomp
from tests.needs import need_program
from tests.unit.sandbox.confined import (
    LIBC,
    attempt,
    called,
    forbid_new_privileges,
    in_child,
    need_filter,
)

X86_64, AARCH64 = 0xC000_003E, 0xC000_00B7
ALLOW, KILL = 0x7FFF_0000, 0x8000_0000
EPERM, ENOSYS = 0x5_0000 | errno.EPERM, 0x5_0000 | errno.ENOSYS
CLONE_NEWUSER = 0x1000_0000
NETLINK_ROUTE, NETLINK_SOCK_DIAG = 0, 4


def filtered(do: Callable[[], Any], *, deny_inet: bool = False) -> Any:
    """Return what `do` returns in a child under the filter."""
    need_filter()

    def body() -> Any:
        forbid_new_privileges()
        seccomp.install(seccomp.program(deny_inet=deny_inet))
        return do()

    return in_child(body)


def verdict(code: bytes, arch: int, number: int, *arguments: int) -> int:
    """Run a filter program over one system call, as the kernel would."""
    words = [*arguments, 0, 0, 0, 0, 0, 0][:6]
    data = struct.pack("<IIQ6Q", number, arch, 0, *words)
    program = list(struct.iter_unpack("<HBBI", code))
    at = value = 0
    while True:
        operation, true, false, constant = program[at]
        at += 1
        if operation == 0x20:
            value = struct.unpack_from("<I", data, constant)[0]
        elif operation == 0x54:
            value &= constant
        elif operation == 0x06:
            return constant
        else:
            holds = {
                0x15: value == constant,
                0x35: value >= constant,
                0x45: bool(value & constant),
            }[operation]
            at += true if holds else false


MACHINES = [("x86_64", X86_64, 0), ("aarch64", AARCH64, 1)]


@pytest.mark.parametrize(("machine", "arch", "column"), MACHINES)
@pytest.mark.parametrize("deny_inet", [False, True])
@pytest.mark.parametrize("tcp_only", [False, True])
def test_every_path_through_the_filter_returns_what_it_should(
    machine: str, arch: int, column: int, deny_inet: bool, tcp_only: bool
) -> None:
    code = seccomp.program(deny_inet=deny_inet, tcp_only=tcp_only, machine=machine)
    run = partial(verdict, code, arch)
    numbers: dict[str, tuple[int | None, int | None]] = seccomp._REFUSED  # pyright: ignore[reportPrivateUsage]
    for pair in numbers.values():
        number = pair[column]
        if number is not None:
            assert run(number) == EPERM
    clone, ioctl, personality, make_socket, pair_, sendto, read = [
        (56, 220), (16, 29), (135, 92), (41, 198), (53, 199), (44, 206), (0, 63)
    ]  # fmt: skip
    assert run(read[column]) == ALLOW
    assert run(435) == ENOSYS
    assert run(clone[column], 0x11) == ALLOW
    assert run(clone[column], CLONE_NEWUSER | 0x11) == EPERM
    assert run(ioctl[column], 0, 0x5412) == EPERM
    assert run(ioctl[column], 0, (1 << 32) | 0x5412) == EPERM
    assert run(ioctl[column], 0, 0x5413) == ALLOW
    assert run(personality[column], 0xFFFF_FFFF) == ALLOW
    assert run(personality[column], 0x40_0000) == EPERM
    inet = EPERM if deny_inet else ALLOW
    limited = EPERM if deny_inet or tcp_only else ALLOW
    for family in (2, 10):
        assert run(make_socket[column], family, 1, 0) == inet
        assert run(make_socket[column], (1 << 32) | family, 1 | 0x80800, 6) == inet
        assert run(make_socket[column], family, 2, 0) == limited
        assert run(make_socket[column], family, 1, 262) == limited
        assert run(make_socket[column], family, 3, 1) == EPERM
        assert run(make_socket[column], family, 10, 0) == EPERM
    assert run(make_socket[column], 1, 1, 0) == ALLOW
    assert run(make_socket[column], 16, 3, NETLINK_ROUTE) == ALLOW
    assert run(make_socket[column], 16, 3, NETLINK_SOCK_DIAG) == EPERM
    for family in (0, 3, 17, 38, 40, 44):
        assert run(make_socket[column], family, 1, 0) == EPERM
    assert run(pair_[column], 1, 1, 0) == ALLOW
    assert run(pair_[column], 30, 1, 0) == EPERM
    fast_open = EPERM if tcp_only and not deny_inet else ALLOW
    assert run(sendto[column], 0, 0, 0, 0x2000_0000) == fast_open
    assert run(sendto[column], 0, 0, 0, 0x4000) == ALLOW


def test_other_calling_conventions_get_nowhere() -> None:
    code = seccomp.program(deny_inet=False, machine="x86_64")
    assert verdict(code, 0x4000_0003, 1) == KILL
    assert verdict(code, AARCH64, 1) == KILL
    assert verdict(code, X86_64, 0x4000_0000 | 1) == ENOSYS
    assert verdict(code, X86_64, 0xFFFF_FFFF) == ALLOW


def test_a_machine_whose_numbers_are_unknown_is_refused() -> None:
    with pytest.raises(OSError, match="riscv64"):
        seccomp.program(deny_inet=True, machine="riscv64")


def test_calls_no_agent_needs_are_refused_even_to_root() -> None:
    machine = os.uname().machine
    column = 0 if machine == "x86_64" else 1
    numbers: dict[str, tuple[int | None, int | None]] = seccomp._REFUSED  # pyright: ignore[reportPrivateUsage]

    def tries() -> dict[str, str]:
        return {
            name: called(number, 0, 0, 0, 0, 0, 0)
            for name, pair in numbers.items()
            if (number := pair[column]) is not None
        }

    seen = filtered(tries)
    assert len(seen) > 40
    assert set(seen.values()) == {"EPERM"}, seen


def test_new_namespaces_are_refused_by_every_way_to_ask() -> None:
    clone = 56 if os.uname().machine == "x86_64" else 220

    def tries() -> list[str]:
        return [called(clone, CLONE_NEWUSER | 17, 0, 0, 0, 0), called(435, 0, 0)]

    assert filtered(tries) == ["EPERM", "ENOSYS"]
    done = _filtered_program([need_program("unshare"), "-Ur", "true"])
    assert done.returncode != 0
    assert "Operation not permitted" in done.stderr


def test_a_mount_is_refused() -> None:
    done = _filtered_program([need_program("mount"), "-t", "tmpfs", "none", "/mnt"])
    assert done.returncode != 0


def test_threads_processes_and_unix_sockets_still_work() -> None:
    def tries() -> list[Any]:
        import threading

        said: list[str] = []
        thread = threading.Thread(target=lambda: said.append("thread"))
        thread.start()
        thread.join()
        pid = os.fork()
        if pid == 0:
            os._exit(7)
        left, right = socket.socketpair()
        left.sendall(b"x")
        names = [name for _, name in socket.if_nameindex()]
        return [
            *said,
            os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]),
            right.recv(1),
            "lo" in names,
            resource.getrlimit(resource.RLIMIT_NOFILE)[0] > 0,
        ]

    assert filtered(tries) == ["thread", 7, b"x", True, True]


def test_sockets_the_agent_has_no_business_with_are_refused() -> None:
    families = [socket.AF_PACKET, socket.AF_VSOCK, socket.AF_ALG, socket.AF_CAN, socket.AF_TIPC]

    def tries() -> list[str]:
        return [
            attempt(partial(socket.socket, family, kind, protocol))
            for family, kind, protocol in [
                *((family, socket.SOCK_SEQPACKET, 0) for family in families),
                (socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP),
                (socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_SOCK_DIAG),
            ]
        ]

    assert filtered(tries) == ["EPERM"] * 7


def test_the_internet_is_there_unless_it_is_denied() -> None:
    def tries() -> list[str]:
        return [attempt(lambda: socket.socket(socket.AF_INET).close())]

    assert filtered(tries) == ["done"]
    assert filtered(tries, deny_inet=True) == ["EPERM"]


def test_installing_needs_no_new_privileges_or_root_and_says_so() -> None:
    need_filter()

    def body() -> str:
        if os.geteuid() == 0:
            os.setresuid(64_301, 64_301, 64_301)
        return attempt(lambda: seccomp.install(seccomp.program(deny_inet=True)))

    is_given = "NoNewPrivs:\t1" in Path("/proc/self/status").read_text()
    assert in_child(body) == ("done" if is_given else "EACCES")


def test_a_filter_that_lets_through_what_it_should_refuse_is_noticed() -> None:
    need_filter()

    def body() -> str:
        forbid_new_privileges()
        return attempt(lambda: seccomp.install(struct.pack("<HBBI", 0x06, 0, 0, ALLOW)))

    assert in_child(body) == "EPERM"


def test_bubblewrap_takes_the_program_as_it_is() -> None:
    bwrap = need_program("bwrap")
    need_filter()
    fd = os.memfd_create("filter")
    try:
        os.write(fd, seccomp.program(deny_inet=True))
        os.lseek(fd, 0, os.SEEK_SET)
        script = "unshare -r true 2>&1; echo ' and more'"
        done = subprocess.run(
            [bwrap, "--unshare-user", "--ro-bind", "/", "/", "--proc", "/proc", "--dev", "/dev",
             "--add-seccomp-fd", str(fd), "sh", "-c", script],
            pass_fds=[fd],
            capture_output=True,
            text=True,
        )  # fmt: skip
    finally:
        os.close(fd)
    if "No permissions to create" in done.stderr or "setting up uid map" in done.stderr:
        pytest.skip("this machine forbids user namespaces")
    assert "Operation not permitted" in done.stdout, done.stderr
    assert done.stdout.endswith(" and more\n")


def _filtered_program(argv: list[str]) -> subprocess.CompletedProcess[str]:
    need_filter()

    def before_exec() -> None:
        assert LIBC.prctl(38, 1, 0, 0, 0) == 0, os.strerror(ctypes.get_errno())
        seccomp.install(seccomp.program(deny_inet=False))

    return subprocess.run(argv, capture_output=True, text=True, preexec_fn=before_exec)
