"""The system calls no agent needs, refused by a seccomp filter built instruction by instruction.

The same program is installed by a confined child and handed to `bwrap --add-seccomp-fd`. It looks
at numbers and scalar arguments only, so nothing a caller changes in memory afterwards matters.
System call numbers are those of the kernel's `unistd.h` for x86_64 and aarch64.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from collections.abc import Iterable

_PR_GET_SECCOMP = 21
_PR_SET_SECCOMP = 22
_MODE_FILTER = 2

# Instructions of classic BPF: load a word, jump on a comparison with a constant, return.
_LOAD = 0x20
_EQUAL = 0x15
_AT_LEAST = 0x35
_ANY_BIT = 0x45
_AND = 0x54
_RETURN = 0x06

_ALLOW = 0x7FFF_0000
_ERRNO = 0x0005_0000
_KILL = 0x8000_0000
_EPERM = _ERRNO | errno.EPERM
_ENOSYS = _ERRNO | errno.ENOSYS

# Places in `struct seccomp_data`, little-endian; an argument has two words, and the kernel
# truncates every argument looked at here to its low one.
_NUMBER = 0
_ARCH = 4
_X32_BIT = 0x4000_0000
_NO_CALL = 0xFFFF_FFFF

_MACHINES = {"x86_64": (0xC000_003E, 0), "aarch64": (0xC000_00B7, 1)}

# Name: (x86_64, aarch64), None where there is no such call.
_REFUSED: dict[str, tuple[int | None, int | None]] = {
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fspick": (433, 433),
    "mount_setattr": (442, 442),
    "open_tree_attr": (467, 467),
    "unshare": (272, 97),
    "setns": (308, 268),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    "kexec_load": (246, 104),
    "kexec_file_load": (320, 294),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "userfaultfd": (323, 282),
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "open_by_handle_at": (304, 265),
    "fanotify_init": (300, 262),
    "swapon": (167, 224),
    "swapoff": (168, 225),
    "reboot": (169, 142),
    "settimeofday": (164, 170),
    "clock_settime": (227, 112),
    "clock_adjtime": (305, 266),
    "adjtimex": (159, 171),
    "acct": (163, 89),
    "quotactl": (179, 60),
    "quotactl_fd": (443, 443),
    "syslog": (103, 116),
    "vhangup": (153, 58),
    "sethostname": (170, 161),
    "setdomainname": (171, 162),
    "lookup_dcookie": (212, 18),
    "nfsservctl": (180, 42),
    "iopl": (172, None),
    "ioperm": (173, None),
    "uselib": (134, None),
    "sysfs": (139, None),
    "_sysctl": (156, None),
}
# What it takes to make namespaces, and walls of them, inside of others.
_NESTING = frozenset(
    ("mount", "umount2", "pivot_root", "chroot", "unshare", "sethostname", "setdomainname")
)
_CLONE = (56, 220)
_CLONE3 = (435, 435)
_IOCTL = (16, 29)
_PERSONALITY = (135, 92)
_SOCKET = (41, 198)
_SOCKETPAIR = (53, 199)
# Each with the place of its flags, where MSG_FASTOPEN connects beside what Landlock looks at.
_SENDERS = (((44, 206), 3), ((46, 211), 2), ((307, 269), 3))
_MSG_FASTOPEN = 0x2000_0000

# CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET; NEWTIME is no flag of clone.
_NEW_NAMESPACES = 0x7E02_0000
# TIOCSTI and TIOCLINUX type into a terminal, TIOCSETD changes its line discipline.
_TERMINAL_TRICKS = (0x5412, 0x541C, 0x5423)
# PER_LINUX, PER_LINUX32, both with UNAME26, no address randomisation (debuggers), and the query.
_PERSONALITIES = (0x0, 0x8, 0x2_0000, 0x2_0008, 0x4_0000, 0xFFFF_FFFF)

_AF_UNIX = 1
_AF_INET = 2
_AF_INET6 = 10
_AF_NETLINK = 16
_SOCK_STREAM = 1
_SOCK_RAW = 3
_SOCK_PACKET = 10
_SOCK_TYPE_MASK = 0xF
_IPPROTO_TCP = 6
# NETLINK_ROUTE lists interfaces (getifaddrs), NETLINK_KOBJECT_UEVENT is udev's.
_NETLINK_FAMILIES = (0, 15)

Block = list[tuple[int, int, int, int]]


def program(
    *, deny_inet: bool, tcp_only: bool = False, nests: bool = False, machine: str | None = None
) -> bytes:
    """Return the filter as an array of `struct sock_filter`.

    Args:
        deny_inet: Refuse Internet sockets of every kind. Without it AF_INET and AF_INET6 are
            allowed; raw, packet, VM and exotic families never are.
        tcp_only: Of Internet sockets allow plain TCP only, which is what Landlock's port rules
            govern.
        nests: Allow namespaces of its own, which what runs there needs to wall in others.
        machine: As `uname -m` names it; this machine's by default.

    Raises:
        OSError: for a machine whose system call numbers are not known here.
    """
    name = machine or os.uname().machine
    if name not in _MACHINES:
        raise OSError(errno.EOPNOTSUPP, f"no seccomp filter is known for machine {name!r}")
    arch, column = _MACHINES[name]
    code: Block = [
        (_LOAD, 0, 0, _ARCH),
        (_EQUAL, 1, 0, arch),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, _NUMBER),
    ]
    if name == "x86_64":
        # A tracer that skips a call leaves -1 as its number; x32 calls carry bit 30.
        code += [
            (_EQUAL, 2, 0, _NO_CALL),
            (_AT_LEAST, 0, 1, _X32_BIT),
            (_RETURN, 0, 0, _ENOSYS),
        ]
    for call, numbers in _REFUSED.items():
        number = numbers[column]
        if number is not None and not (nests and call in _NESTING):
            code += [(_EQUAL, 0, 1, number), (_RETURN, 0, 0, _EPERM)]
    # Its flags are in memory, where no filter can look; libraries fall back to clone.
    code += [(_EQUAL, 0, 1, _CLONE3[column]), (_RETURN, 0, 0, _ENOSYS)]
    if not nests:
        code += _when(_CLONE[column], _refuse_bits(0, _NEW_NAMESPACES))
    code += _when(_IOCTL[column], [_argument(1), *_refuse_values(_TERMINAL_TRICKS)])
    code += _when(_PERSONALITY[column], [_argument(0), *_only(_PERSONALITIES)])
    code += _when(_SOCKET[column], _sockets(deny_inet=deny_inet, tcp_only=tcp_only))
    code += _when(_SOCKETPAIR[column], [_argument(0), *_only((_AF_UNIX,))])
    if tcp_only and not deny_inet:
        for numbers, place in _SENDERS:
            code += _when(numbers[column], _refuse_bits(place, _MSG_FASTOPEN))
    code.append((_RETURN, 0, 0, _ALLOW))
    return b"".join(struct.pack("<HBBI", *instruction) for instruction in code)


def _argument(place: int) -> tuple[int, int, int, int]:
    return (_LOAD, 0, 0, 16 + 8 * place)


def _when(number: int, block: Block) -> Block:
    """Run `block`, which returns in every case, for one system call."""
    assert len(block) < 256 and block[-1][0] == _RETURN
    return [(_EQUAL, 0, len(block), number), *block]


def _refuse_bits(place: int, bits: int) -> Block:
    return [
        _argument(place),
        (_ANY_BIT, 0, 1, bits),
        (_RETURN, 0, 0, _EPERM),
        (_RETURN, 0, 0, _ALLOW),
    ]


def _refuse_values(values: Iterable[int]) -> Block:
    block: Block = []
    for value in values:
        block += [(_EQUAL, 0, 1, value), (_RETURN, 0, 0, _EPERM)]
    return [*block, (_RETURN, 0, 0, _ALLOW)]


def _only(values: Iterable[int]) -> Block:
    block: Block = []
    for value in values:
        block += [(_EQUAL, 0, 1, value), (_RETURN, 0, 0, _ALLOW)]
    return [*block, (_RETURN, 0, 0, _EPERM)]


def _sockets(*, deny_inet: bool, tcp_only: bool) -> Block:
    """Allow Unix sockets, harmless netlink, and what is asked for of the Internet."""
    netlink: Block = [_argument(2), *_only(_NETLINK_FAMILIES)]
    block: Block = [
        _argument(0),
        (_EQUAL, 0, 1, _AF_UNIX),
        (_RETURN, 0, 0, _ALLOW),
        (_EQUAL, 0, len(netlink), _AF_NETLINK),
        *netlink,
    ]
    if deny_inet:
        return [*block, (_RETURN, 0, 0, _EPERM)]
    block += [(_EQUAL, 2, 0, _AF_INET), (_EQUAL, 1, 0, _AF_INET6), (_RETURN, 0, 0, _EPERM)]
    block += [_argument(1), (_AND, 0, 0, _SOCK_TYPE_MASK)]
    if tcp_only:
        block += [
            (_EQUAL, 1, 0, _SOCK_STREAM),
            (_RETURN, 0, 0, _EPERM),
            _argument(2),
            *_only((0, _IPPROTO_TCP)),
        ]
        return block
    return [*block, *_refuse_values((_SOCK_RAW, _SOCK_PACKET))]


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("code", ctypes.c_char_p))


def install(code: bytes) -> None:
    """Put this process and all it starts under a filter, for good, and see that it holds.

    `no_new_privs` must be set.

    Raises:
        OSError: when it was not installed.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    buffer = ctypes.create_string_buffer(code, len(code))
    pointer = ctypes.cast(buffer, ctypes.c_char_p)
    filter_ = _Program(len(code) // 8, pointer)
    if libc.prctl(_PR_SET_SECCOMP, _MODE_FILTER, ctypes.byref(filter_), 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"the seccomp filter was not accepted: {os.strerror(number)}")
    if libc.prctl(_PR_GET_SECCOMP, 0, 0, 0, 0) != _MODE_FILTER:
        raise OSError(errno.EPERM, "the seccomp filter is not in force")
    # Without this filter there is another error: these have no pairs. Containers refuse less.
    pair = (ctypes.c_int * 2)()
    if libc.socketpair(_AF_INET, _SOCK_STREAM, 0, pair) != -1 or ctypes.get_errno() != errno.EPERM:
        raise OSError(errno.EPERM, "the seccomp filter does not refuse what it should")
