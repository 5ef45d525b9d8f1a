"""The guard of a scope: a shell that outlives this process, and removes what it leaves.

It waits for the end of a pipe that this process holds, however that comes about. It is no child of
the event loop's, which would insist on seeing its end.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
from pathlib import Path

from hud._core.errors import RuntimeFault
from hud._core.processes import signal_group

# $1: the engine, $2: the label, $3: a folder. An engine that is down is waited for. What a command
# that outlived its caller still starts is found by the later looks.
_SCRIPT = """
trap '' INT TERM HUP
cat >/dev/null
exec >/dev/null 2>&1
sweep() {
  ids=$("$1" ps --all --quiet --filter "label=$2") || return 1
  [ -z "$ids" ] || "$1" rm --force --volumes $ids || return 1
  ids=$("$1" network ls --quiet --filter "label=$2") || return 1
  [ -z "$ids" ] || "$1" network rm $ids || return 1
  ids=$("$1" volume ls --quiet --filter "label=$2") || return 1
  [ -z "$ids" ] || "$1" volume rm --force $ids || return 1
}
tries=0
until sweep "$1" "$2" || [ $tries -ge 600 ]; do
  tries=$((tries + 1))
  sleep 1
done
for pause in 0 3 10; do
  rm -rf "$3"
  sleep $pause
  sweep "$1" "$2"
done
rm -rf "$3"
"""
_handed_over: set[int] = set()


class Guard:
    """Start it before what it guards; end it with one of `dismiss` and `hand_over`."""

    def __init__(self, program: str, label: str, folder: Path) -> None:
        """Start it.

        Args:
            program: The container engine's command.
            label: What containers, networks and volumes have to carry to be removed.
            folder: A folder that goes too.

        Raises:
            RuntimeFault: when it cannot be started.
        """
        _collect()
        shell = shutil.which("sh") or "/bin/sh"
        read, self._pipe = os.pipe()
        null = os.open(os.devnull, os.O_RDWR)
        try:
            self._pid = os.posix_spawn(
                shell,
                [shell, "-c", _SCRIPT, "hud-guard", program, label, str(folder)],
                os.environ,
                file_actions=[
                    (os.POSIX_SPAWN_DUP2, fd, to) for to, fd in ((0, read), (1, null), (2, null))
                ],
                setsigdef=[signal.SIGPIPE],
                setsid=True,
            )
        except OSError as error:
            os.close(self._pipe)
            raise RuntimeFault(f"{shell} cannot be run: {error.strerror}") from error
        finally:
            os.close(read)
            os.close(null)

    async def dismiss(self) -> None:
        """End it: nothing is left for it to do."""
        signal_group(self._pid, signal.SIGKILL)
        os.close(self._pipe)
        with contextlib.suppress(ChildProcessError):
            await asyncio.to_thread(os.waitpid, self._pid, 0)

    def hand_over(self) -> None:
        """Leave the removal to it."""
        _handed_over.add(self._pid)
        os.close(self._pipe)


def _collect() -> None:
    """Collect the guards that are done."""
    for pid in list(_handed_over):
        with contextlib.suppress(ChildProcessError):
            if os.waitpid(pid, os.WNOHANG) == (0, 0):
                continue
        _handed_over.discard(pid)
