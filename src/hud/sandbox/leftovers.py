"""Remove what a uid leaves in memory when its last process has died: shared memory of every kind.

Where a sandbox has namespaces of its own these go with them; by uid they lie in the machine's, or
the container's, and the next sandbox that is given the uid would find them.
"""

from __future__ import annotations

import contextlib
import logging
import os
import subprocess
from pathlib import Path

from hud.sandbox import files

logger = logging.getLogger(__name__)

_MEMORY = Path("/dev/shm")
_SYSTEM_V = {"shm": "-m", "msg": "-q", "sem": "-s"}
_READ_AT_MOST = 1 << 20
_TAKES_S = 10.0


def remove_shared(uid: int) -> None:
    """Remove the uid's files in `/dev/shm` and its System V objects. Blocks; never raises."""
    with contextlib.suppress(OSError), os.scandir(_MEMORY) as found:
        for entry in found:
            with contextlib.suppress(OSError):
                if entry.stat(follow_symlinks=False).st_uid == uid:
                    files.remove_tree(Path(entry.path))
    words = [word for kind, option in _SYSTEM_V.items() for word in _named(kind, option, uid)]
    if words:
        try:
            # As that uid: in a container root is not allowed to for others.
            subprocess.run(
                ["ipcrm", *words],
                user=uid,
                group=uid,
                extra_groups=[],
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                timeout=_TAKES_S,
                check=True,
            )
        except (OSError, subprocess.SubprocessError) as error:
            logger.warning("System V objects of uid %d are left: %s", uid, error)


def _named(kind: str, option: str, uid: int) -> list[str]:
    """Return options that name what the uid created, as /proc/sysvipc lists it (proc(5))."""
    try:
        with Path("/proc/sysvipc", kind).open("rb") as file:
            lines = file.read(_READ_AT_MOST).decode("ascii", "replace").splitlines()
    except OSError:
        return []
    rows = [line.split() for line in lines]
    if not rows or "cuid" not in rows[0]:
        return []
    column = rows[0].index("cuid")
    mine = [row[1] for row in rows[1:] if len(row) > column and row[column] == str(uid)]
    return [word for number in mine for word in (option, number)]
