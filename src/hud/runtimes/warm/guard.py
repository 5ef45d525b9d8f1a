"""The guard of one scope: a process that outlives the eval process and the warm parent, to sweep.

Either of the two cleans up after the other. Killed together they cannot, and a descendant that
left its session would live on; the guard holds nothing but the end of a pipe whose other ends die
with both, and then ends whatever still carries the scope's mark.
"""

from __future__ import annotations

import os
import resource
import shutil
import signal
from typing import NoReturn

from hud._core import processes
from hud.runtimes.warm import wire

NAME = "hud-guard"
_MAX_DESCRIPTORS = 1 << 16


def start(lifeline: int, owner: int, directory: str) -> None:
    """Fork the guard off, its parent init; call it while this process has one thread.

    Args:
        lifeline: Read end of the pipe, closed here afterwards.
        owner: The eval process's pid.
        directory: The scope's folder, which the guard removes when the owner is gone.
    """
    mark = os.environ.get(wire.MARKER, "")
    pid = os.fork()
    if pid == 0:
        try:
            os.setsid()
            if os.fork() == 0:
                _watch(lifeline, owner, mark, directory)
        finally:
            os._exit(0)
    os.waitpid(pid, 0)
    os.close(lifeline)


def _watch(lifeline: int, owner: int, mark: str, directory: str) -> NoReturn:
    processes.call_myself(NAME)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    os.closerange(3, lifeline)
    os.closerange(lifeline + 1, min(limit, _MAX_DESCRIPTORS))
    while os.read(lifeline, 1):
        pass
    if mark:
        processes.kill_marked(wire.MARKER, mark)
    try:
        os.kill(owner, 0)
    except OSError:
        shutil.rmtree(directory, ignore_errors=True)
    os._exit(0)
