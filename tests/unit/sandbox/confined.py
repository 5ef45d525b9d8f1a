"""Attempts made in a forked child: a way to make one and to hear how it ended."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import functools
import os
import pickle
import shutil
import subprocess
import tempfile
import warnings
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest

from hud.sandbox.guest import landlock
from hud.sandbox.guest.confine import confine, set_limits, uid_rules
from hud.sandbox.guest.seccomp import program
from tests.needs import missing

# One of its own for every run, since some tests count or kill all processes of a uid.
UID = 100_000 + os.getpid() % 100_000
LIBC = ctypes.CDLL(None, use_errno=True)
PR_SET_NO_NEW_PRIVS = 38


def in_child(do: Callable[[], Any]) -> Any:
    """Return what `do` returns in a forked child; what it raises is raised here."""
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        try:
            os.close(reading)
            try:
                outcome = (True, do())
            except BaseException as error:
                outcome = (False, error)
            data = pickle.dumps(outcome)
            while data:
                data = data[os.write(writing, data) :]
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        data = pipe.read()
    _, status = os.waitpid(pid, 0)
    assert data, f"the child ended with status {os.waitstatus_to_exitcode(status)}"
    succeeded, result = pickle.loads(data)
    if not succeeded:
        raise result
    return result


def attempt(do: Callable[[], Any]) -> str:
    """Return "done", or the name of the error that an attempt in this process ends with."""
    try:
        do()
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, repr(error))
    return "done"


def called(number: int, *arguments: int) -> str:
    """Make a system call; return "done" or the name of its error."""
    words = [ctypes.c_ulong(value) for value in arguments]
    ctypes.set_errno(0)
    if LIBC.syscall(ctypes.c_long(number), *words) >= 0:
        return "done"
    return errno.errorcode[ctypes.get_errno()]


def forbid_new_privileges() -> None:
    assert LIBC.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0


@functools.cache
def can_restrict() -> bool:
    return landlock.abi() > 0


def need_root() -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can become another uid")


def need_landlock(version: int = 1) -> None:
    if landlock.abi() < version:
        pytest.skip(f"this kernel's Landlock has ABI {landlock.abi()}, needed is {version}")


def need_filter() -> None:
    try:
        program(deny_inet=True)
    except OSError as error:
        pytest.skip(str(error))


def system_python() -> str:
    """Return a Python that an agent without extra mounts can reach."""
    path = "/usr/bin/python3"
    if not Path(path).exists():
        missing(path)
    return path


@contextlib.contextmanager
def open_folder() -> Generator[Path]:
    """Yield a folder that every uid can reach, which those of pytest are not."""
    path = Path(tempfile.mkdtemp(prefix="hud-confine-"))
    path.chmod(0o755)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def rules_for(folder: Path, **more: Any) -> dict[str, Any]:
    return uid_rules(uid=UID, gid=UID, write=[str(folder)], **more)


def run_confined(
    argv: list[str],
    rules: dict[str, Any],
    folder: Path,
    *,
    env: dict[str, str] | None = None,
    limits: dict[str, int] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a program as the agent would: confined between fork and exec."""

    def before_exec() -> None:
        set_limits(limits or {})
        confine(rules)

    return subprocess.run(
        argv,
        cwd=folder,
        env={
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "HOME": str(folder),
            "TMPDIR": str(folder),
            "LANG": "C.UTF-8",
            **(env or {}),
        },
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        preexec_fn=before_exec,
    )
