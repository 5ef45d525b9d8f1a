"""Landlock by system call: which files, TCP ports and abstract sockets a process may still reach.

Constants and structures are those of `linux/landlock.h`; each access right is handled only from
the ABI on that knows it. What a sandbox may reach is decided by whoever calls `restrict`.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import os
import stat
import struct
from collections.abc import Collection, Iterable

# The same numbers on every architecture.
_CREATE_RULESET = 444
_ADD_RULE = 445
_RESTRICT_SELF = 446
_VERSION = 1 << 0
_PATH_BENEATH = 1
_NET_PORT = 2

EXECUTE = 1 << 0
WRITE_FILE = 1 << 1
READ_FILE = 1 << 2
READ_DIR = 1 << 3
_MAKE_CHAR = 1 << 6
_MAKE_BLOCK = 1 << 11
_FIRST_RIGHTS = (1 << 13) - 1
_REFER = 1 << 13
TRUNCATE = 1 << 14
IOCTL_DEV = 1 << 15
_RIGHTS_SINCE = ((2, _REFER), (3, TRUNCATE), (5, IOCTL_DEV))

_READ = EXECUTE | READ_FILE | READ_DIR
_OF_FILES = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV

_BIND_TCP = 1 << 0
_CONNECT_TCP = 1 << 1
_NET_SINCE = 4
_SCOPE_ABSTRACT_UNIX = 1 << 0
_SCOPE_SIGNAL = 1 << 1
_SCOPE_SINCE = 6


@functools.cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _call(number: int, *arguments: object) -> int:
    libc = _libc()
    libc.syscall.restype = ctypes.c_long
    result: int = libc.syscall(ctypes.c_long(number), *arguments)
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"landlock call {number}: {os.strerror(code)}")
    return result


def abi() -> int:
    """Return the version of Landlock this kernel offers; 0 when it has none or it is off."""
    try:
        return _call(_CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint32(_VERSION))
    except OSError:
        return 0


def restrict(
    read: Iterable[str] = (),
    write: Iterable[str] = (),
    *,
    list_only: Iterable[str] = (),
    tcp_connect: Collection[int] | None = None,
    tcp_bind: Collection[int] | None = None,
    scope_abstract_sockets: bool = True,
    scope_signals: bool = False,
) -> None:
    """Confine the calling thread and all it starts, for good.

    Call it in a forked child before exec, with `no_new_privs` set. Each call makes a domain of its
    own: a process may trace none outside its own domain, and with `scope_signals` signal none.

    Args:
        read: Files and trees that may be read, listed and executed. What is not there, or cannot
            be reached by name, is skipped.
        write: Files and trees where in addition everything but device nodes may be made.
        list_only: Trees whose folders may be listed while their files may not be read.
        tcp_connect, tcp_bind: Ports allowed; empty denies all, None leaves them alone. Only TCP
            is governed (not MPTCP, UDP or SCTP), and by port, whatever the address.
        scope_abstract_sockets: Deny abstract Unix sockets of other domains, where the kernel can.
        scope_signals: Deny signals to processes of other domains.

    Raises:
        OSError: when anything asked for cannot be enforced; nothing is confined then.
    """
    version = abi()
    if version == 0:
        raise OSError(errno.EOPNOTSUPP, "this kernel offers no Landlock")
    net = (_BIND_TCP if tcp_bind is not None else 0) | (
        _CONNECT_TCP if tcp_connect is not None else 0
    )
    if net and version < _NET_SINCE:
        raise OSError(
            errno.EOPNOTSUPP,
            f"this kernel's Landlock (ABI {version}) cannot limit TCP ports, ABI {_NET_SINCE} can",
        )
    if scope_signals and version < _SCOPE_SINCE:
        raise OSError(
            errno.EOPNOTSUPP,
            f"this kernel's Landlock (ABI {version}) cannot limit signals, ABI {_SCOPE_SINCE} can",
        )
    handled = handled_rights(version)
    scopes = 0
    if version >= _SCOPE_SINCE:
        scopes |= _SCOPE_ABSTRACT_UNIX if scope_abstract_sockets else 0
        scopes |= _SCOPE_SIGNAL if scope_signals else 0
    attributes = struct.pack("=QQQ", handled, net, scopes)[: _attribute_bytes(version)]
    ruleset = _call(
        _CREATE_RULESET, attributes, ctypes.c_size_t(len(attributes)), ctypes.c_uint32(0)
    )
    try:
        for path in read:
            _allow_path(ruleset, path, _READ & handled)
        for path in write:
            _allow_path(ruleset, path, handled & ~(_MAKE_CHAR | _MAKE_BLOCK))
        for path in list_only:
            _allow_path(ruleset, path, READ_DIR)
        for port in tcp_bind or ():
            _allow_port(ruleset, port, _BIND_TCP)
        for port in tcp_connect or ():
            _allow_port(ruleset, port, _CONNECT_TCP)
        _call(_RESTRICT_SELF, ctypes.c_int(ruleset), ctypes.c_uint32(0))
    finally:
        os.close(ruleset)


def handled_rights(version: int) -> int:
    """Return every file right that this version of Landlock knows, so that none is left open."""
    rights = _FIRST_RIGHTS
    for since, right in _RIGHTS_SINCE:
        if version >= since:
            rights |= right
    return rights


def _attribute_bytes(version: int) -> int:
    """Return how much of `struct landlock_ruleset_attr` this version knows."""
    return 24 if version >= _SCOPE_SINCE else 16 if version >= _NET_SINCE else 8


def _allow_path(ruleset: int, path: str, rights: int) -> None:
    try:
        fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        # What cannot be opened by name is not granted: less than asked for, never more.
        return
    try:
        if not stat.S_ISDIR(os.fstat(fd).st_mode):
            rights &= _OF_FILES
        rule = struct.pack("=Qi", rights, fd)
        _call(_ADD_RULE, ctypes.c_int(ruleset), _PATH_BENEATH, rule, ctypes.c_uint32(0))
    finally:
        os.close(fd)


def _allow_port(ruleset: int, port: int, right: int) -> None:
    rule = struct.pack("=QQ", right, port)
    _call(_ADD_RULE, ctypes.c_int(ruleset), _NET_PORT, rule, ctypes.c_uint32(0))
