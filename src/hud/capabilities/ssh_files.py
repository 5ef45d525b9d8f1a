"""Files over a POSIX shell: the commands that read and write them, and what their failures mean.

They run where every other command of the session runs, so they see the same paths.
"""

from __future__ import annotations

import errno
import os
import shlex
import stat as modes
from dataclasses import dataclass

from hud._core.errors import bounded

_ERRORS = {
    os.strerror(number): number
    for number in (
        errno.ENOENT,
        errno.EACCES,
        errno.EPERM,
        errno.EEXIST,
        errno.ENOTDIR,
        errno.EISDIR,
        errno.ELOOP,
        errno.ENAMETOOLONG,
        errno.ENOSPC,
        errno.EDQUOT,
        errno.EFBIG,
        errno.EROFS,
        errno.EIO,
    )
}


@dataclass(frozen=True, slots=True)
class FileStat:
    """What is known of a path; symbolic links are followed.

    Attributes:
        mode: Type and permissions, as in `os.stat_result.st_mode`.
        modified_s: When it was last written, in seconds since 1970.
    """

    size_bytes: int
    mode: int
    modified_s: int

    @property
    def is_file(self) -> bool:
        return modes.S_ISREG(self.mode)

    @property
    def is_dir(self) -> bool:
        return modes.S_ISDIR(self.mode)


def operand(path: str) -> str:
    """Quote a path so that no program takes it for an option.

    Raises:
        FileNotFoundError: when it is empty.
    """
    if not path:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
    return shlex.quote(f"./{path}" if path.startswith("-") else path)


def read_command(path: str) -> str:
    """Return the command that prints a file."""
    return f"LC_ALL=C cat {operand(path)}"


def write_command(path: str) -> str:
    """Return the command that writes its input to a file."""
    # Not `cat > file`: shells word the errors of a redirection each in their own way.
    return f"LC_ALL=C tee {operand(path)} >/dev/null"


def list_command(path: str) -> str:
    """Return the command that prints a directory's paths, each ended by NUL."""
    folder = operand(path and f"{path.rstrip('/')}/.")
    return f"LC_ALL=C find {folder} -mindepth 1 -maxdepth 1 -print0"


def parse_listing(output: bytes) -> list[str]:
    """Return the names `list_command` printed, sorted."""
    paths = output.decode("utf-8", "surrogateescape").split("\0")
    return sorted(path.rpartition("/")[2] for path in paths if path)


def stat_command(path: str) -> str:
    """Return the command that prints size, mode and time."""
    return f"LC_ALL=C stat -L -c '%s %f %Y' {operand(path)}"


def parse_stat(output: str) -> FileStat:
    """Read what `stat_command` printed.

    Raises:
        ValueError: when it is something else.
    """
    size, mode, modified = output.split()
    return FileStat(int(size), int(mode, 16), int(modified))


def exists_command(path: str) -> str:
    """Return the command that exits with 0 when a path leads to something, else with 1."""
    return f"test -e {operand(path)}"


def file_error(path: str, said: str, status: int | None) -> OSError:
    """Return what a failed command means, as the `OSError` a local call would have raised."""
    for text, number in _ERRORS.items():
        if text in said:
            return OSError(number, text, path)
    ended = "ended" if status is None else f"exited with {status}"
    reason = " ".join(said.split()) or "without a word"
    return OSError(errno.EIO, f"the remote command {ended}: {bounded(reason)}", path)
