"""Files over a POSIX shell: the commands that read and write them, and what their failures mean.

They run where every other command of the session runs, so they see the same paths.
"""

from __future__ import annotations

import errno
import os
import stat as modes
from abc import abstractmethod
from dataclasses import dataclass

from hud._core.errors import InputError, bounded
from hud.capabilities.base import CapabilityClient
from hud.capabilities.ssh_exec import Execution, command_line, operand

FILE_TIMEOUT_S = 300.0
MAX_FILE_BYTES = 64 << 20

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


class RemoteFiles(CapabilityClient):
    """The file methods of a client that runs commands.

    Paths are passed on as they are. What goes wrong is what a local call would raise:
    `FileNotFoundError`, `PermissionError`, `IsADirectoryError` or another `OSError`, and
    `TimeoutError`. `timeout_s=None` is five minutes everywhere, because a pipe never ends.
    """

    @abstractmethod
    async def _run_to_end(self, line: bytes, run: Execution, timeout_s: float | None) -> bool:
        """Run a command until it is over, and tell whether its time was up before.

        Raises:
            CapabilityFault: when the connection or the daemon fails.
        """

    def _require_posix(self) -> None:
        """Refuse a row whose shell is no POSIX one.

        Raises:
            InputError: when it is not.
        """
        shell = self.capability.params.get("shell")
        if shell in {"cmd", "powershell"}:
            raise InputError(
                f"capability {self.capability.name!r} has a {shell} shell, not a POSIX one",
                hint="use run() or create_process() there",
            )

    async def read_bytes(
        self, path: str, *, timeout_s: float | None = None, max_bytes: int = MAX_FILE_BYTES
    ) -> bytes:
        """Return a file's content; one of more than `max_bytes` is an `OSError`, told early."""
        run = await self._on_file(path, read_command(path), timeout_s=timeout_s, limit=max_bytes)
        return run.stdout.content()

    async def read_text(
        self, path: str, *, timeout_s: float | None = None, max_bytes: int = MAX_FILE_BYTES
    ) -> str:
        """Return a file's content as UTF-8, what is no UTF-8 replaced."""
        content = await self.read_bytes(path, timeout_s=timeout_s, max_bytes=max_bytes)
        return content.decode("utf-8", "replace")

    async def write_bytes(
        self, path: str, content: bytes, *, timeout_s: float | None = None
    ) -> None:
        """Write a file, which is made or emptied first; its directory must exist."""
        await self._on_file(path, write_command(path), timeout_s=timeout_s, stdin=content)

    async def write_text(self, path: str, content: str, *, timeout_s: float | None = None) -> None:
        """Write a file as UTF-8."""
        encoded = content.encode("utf-8", "replace")
        await self.write_bytes(path, encoded, timeout_s=timeout_s)

    async def listdir(self, path: str, *, timeout_s: float | None = None) -> list[str]:
        """Return the names in a directory, sorted."""
        run = await self._on_file(path, list_command(path), timeout_s=timeout_s)
        return parse_listing(run.stdout.content())

    async def stat(self, path: str, *, timeout_s: float | None = None) -> FileStat:
        """Return size, type and time of a path, symbolic links followed."""
        run = await self._on_file(path, stat_command(path), timeout_s=timeout_s)
        try:
            return parse_stat(run.stdout.text())
        except ValueError as error:
            said = f"{run.stdout.text()} {run.stderr.text()}"
            raise file_error(path, said, run.exit_status) from error

    async def exists(self, path: str, *, timeout_s: float | None = None) -> bool:
        """Tell whether a path leads to something; a symbolic link to nothing does not."""
        run = await self._on_file(path, exists_command(path), timeout_s=timeout_s, expected=(0, 1))
        return run.exit_status == 0

    async def _on_file(
        self,
        path: str,
        command: str,
        *,
        timeout_s: float | None,
        stdin: bytes = b"",
        limit: int = MAX_FILE_BYTES,
        expected: tuple[int, ...] = (0,),
    ) -> Execution:
        self._require_posix()
        run = Execution(stdin, limit, stop_at_limit=True)
        limit_s = FILE_TIMEOUT_S if timeout_s is None else timeout_s
        if await self._run_to_end(command_line(command, None, None), run, limit_s):
            raise TimeoutError(f"{path!r}: nothing within {limit_s:g} s")
        if run.stdout.is_truncated:
            raise OSError(errno.EFBIG, f"more than {limit} bytes", path)
        if run.exit_status not in expected:
            raise file_error(path, run.stderr.text(), run.exit_status)
        return run


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
