"""Text files behind an SSH client, read and written without harm to what they are.

Bytes that are no UTF-8 pass through an edit unchanged. What goes wrong with a file is the model's
to know, so it is a `ToolError`; a broken connection stays a `CapabilityFault`.
"""

from __future__ import annotations

import contextlib
import errno
import posixpath
import re
from collections.abc import Generator
from dataclasses import dataclass

from hud._core.errors import InputError, bounded
from hud.agents.tools.base import ToolError
from hud.capabilities.ssh import SSHClient
from hud.capabilities.ssh_exec import operand
from hud.capabilities.ssh_files import file_error

MAX_TEXT_BYTES = 8 << 20
_SHORT_S = 30.0
_LEFT_OUT = "bytes left out]"
_SURROGATES = re.compile("[\ud800-\udfff]")


class NotAFile(ToolError):
    """A folder where a file was asked for."""


@dataclass(frozen=True, slots=True)
class TextFile:
    """A text file as it was read.

    Attributes:
        text: Its content; bytes that are no UTF-8 are surrogate escapes.
        is_utf8: Whether there are none.
    """

    path: str
    data: bytes
    text: str
    is_utf8: bool

    def encoded(self, text: str, added: str) -> bytes:
        """Return the file's new content.

        Args:
            added: What of it is new.

        Raises:
            ToolError: when text would be added in another encoding than the file's.
        """
        if not self.is_utf8 and not added.isascii():
            raise ToolError(
                f"{bounded(self.path)!r} is not UTF-8, and the new text is not ASCII: written "
                "together they would be in two encodings; convert the file first (iconv)"
            )
        return encoded(text)


def decoded(path: str, data: bytes) -> TextFile:
    """Take a file's content as text.

    Raises:
        ToolError: when it is binary, or too long.
    """
    if len(data) > MAX_TEXT_BYTES:
        raise _too_long(path, MAX_TEXT_BYTES)
    if b"\0" in data:
        raise ToolError(
            f"{bounded(path)!r} is binary ({len(data)} bytes, some of them NUL), not a text that "
            "can be shown or edited here"
        )
    try:
        return TextFile(path, data, data.decode(), is_utf8=True)
    except UnicodeDecodeError:
        return TextFile(path, data, data.decode("utf-8", "surrogateescape"), is_utf8=False)


def encoded(text: str) -> bytes:
    """Return a text as bytes; surrogates that stand for no byte are replaced."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace")


def printable(text: str) -> str:
    """Return a text with what is no character replaced, and without byte order marks."""
    return _SURROGATES.sub("\ufffd", text).replace("\ufeff", "")


class FileAccess:
    """Files of one client, for tools. Paths are relative to where the client's commands begin."""

    def __init__(self, client: SSHClient, *, timeout_s: float | None = None) -> None:
        self._client = client
        self._timeout_s = _SHORT_S if timeout_s is None else min(timeout_s, _SHORT_S)

    async def read(self, path: str, *, max_bytes: int = MAX_TEXT_BYTES) -> bytes:
        """Return a file's content.

        Raises:
            NotAFile: when it is a folder.
            ToolError: when it cannot be read, or is longer than `max_bytes`.
        """
        with _told(path, max_bytes=max_bytes):
            try:
                return await self._client.read_bytes(
                    path, timeout_s=self._timeout_s, max_bytes=max_bytes
                )
            except IsADirectoryError as error:
                raise NotAFile(f"{bounded(path)!r} is a folder, not a file") from error

    async def read_text(self, path: str) -> TextFile:
        """Return a text file.

        Raises:
            ToolError: when it cannot be read, is binary, or too long.
        """
        return decoded(path, await self.read(path))

    async def exists(self, path: str) -> bool:
        """Tell whether a path leads to something.

        Raises:
            ToolError: when that cannot be told.
        """
        with _told(path):
            return await self._client.exists(path, timeout_s=self._timeout_s)

    async def write(self, path: str, data: bytes, *, before: bytes | None = None) -> None:
        """Write a file, and make the folders it lies in.

        Args:
            before: What it held; put back when it could not be written whole.

        Raises:
            ToolError: when it cannot be written.
        """
        try:
            await self._write(path, data)
        except (OSError, InputError) as error:
            if before is not None:
                with contextlib.suppress(OSError, InputError):
                    await self._write(path, before)
            raise told(path, error) from error

    async def remove(self, path: str) -> None:
        """Remove a file.

        Raises:
            ToolError: when it cannot be removed.
        """
        with _told(path):
            await self._run(path, f"rm -f {operand(path)}")

    async def move(self, path: str, to: str) -> None:
        """Move a file, and make the folders it comes to lie in.

        Raises:
            ToolError: when it cannot be moved.
        """
        with _told(path):
            await self._make_folder(to)
            await self._run(path, f"mv -f {operand(path)} {operand(to)}")

    async def tree(self, path: str, *, max_bytes: int) -> tuple[list[str], bool]:
        """Return what lies in a folder, two levels deep, sorted, and whether that is all.

        Folders end with `/`. Hidden entries and `node_modules` are left out.

        Raises:
            ToolError: when it cannot be read.
        """
        with _told(path):
            folder = operand(f"{path.rstrip('/')}/.")
            # Without GNU's -printf, which not every system has.
            command = (
                f"LC_ALL=C find {folder} -mindepth 1 -maxdepth 2 \\( -name '.*' -o -name "
                "node_modules \\) -prune -o -type d -exec printf '%s/\\0' {} + -o -print0"
            )
            result = await self._client.execute(
                command, timeout_s=self._timeout_s, max_output_bytes=max_bytes
            )
            if result.exit_status != 0 and not result.stdout:
                raise file_error(path, result.stderr, result.exit_status)
        names = result.stdout.split("\0")
        if result.stdout_truncated:
            names = names[: next((n for n, name in enumerate(names) if _LEFT_OUT in name), -1)]
        found = sorted(name.rpartition("/./")[2] for name in names if name)
        return found, not result.stdout_truncated

    async def _write(self, path: str, data: bytes) -> None:
        try:
            await self._client.write_bytes(path, data, timeout_s=self._timeout_s)
        except FileNotFoundError:
            if not path or not await self._make_folder(path):
                raise
            await self._client.write_bytes(path, data, timeout_s=self._timeout_s)

    async def _make_folder(self, path: str) -> bool:
        """Make the folder a path lies in; tell whether there is one to make."""
        folder = posixpath.dirname(path)
        if folder.strip("/"):
            await self._run(folder, f"mkdir -p {operand(folder)}")
        return bool(folder.strip("/"))

    async def _run(self, path: str, command: str) -> None:
        result = await self._client.execute(f"LC_ALL=C {command}", timeout_s=self._timeout_s)
        if result.timed_out:
            raise TimeoutError(f"nothing within {self._timeout_s:g} s")
        if result.exit_status != 0:
            raise file_error(path, result.stderr, result.exit_status)


def told(path: str, error: OSError | InputError) -> ToolError:
    """Return what a failed file operation means to the model."""
    if isinstance(error, InputError):
        return ToolError(f"{bounded(path)!r}: {error.message}")
    if isinstance(error, FileNotFoundError):
        return ToolError(f"there is no {bounded(path)!r}" if path else "the path is empty")
    return ToolError(f"{bounded(path)!r}: {error.strerror or error}")


def _too_long(path: str, max_bytes: int) -> ToolError:
    return ToolError(
        f"{bounded(path)!r} is longer than {max_bytes} bytes; look at parts of it with shell "
        "commands (head, tail, sed -n, grep)"
    )


@contextlib.contextmanager
def _told(path: str, *, max_bytes: int = 0) -> Generator[None]:
    try:
        yield
    except (OSError, InputError) as error:
        if isinstance(error, OSError) and error.errno == errno.EFBIG and max_bytes:
            raise _too_long(path, max_bytes) from error
        raise told(path, error) from error
