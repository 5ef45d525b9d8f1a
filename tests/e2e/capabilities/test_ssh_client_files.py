"""SSHClient reads, writes and lists files of any name, with the errors of a local call."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from hud.capabilities import SSHClient
from hud.errors import InputError
from tests.e2e.capabilities.ssh_clients import daemon, having, running_with, shell
from tests.e2e.capabilities.sshd import Sshd
from tests.wire.harness import until

__all__ = ["daemon", "shell"]


NAMES = ["plain", "with space", "-n", "quo'te\"$HOME`", "new\nline", "ünï", "*", "\udcff\udcfe"]


@pytest.mark.parametrize("name", NAMES)
async def test_files_of_any_name_are_written_read_and_listed(
    shell: SSHClient, tmp_path: Path, name: str
) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    path = f"{folder}/{name}"

    await shell.write_text(path, "héllo\n")

    assert (folder / name).read_text() == "héllo\n"
    assert await shell.read_text(path) == "héllo\n"
    assert await shell.listdir(str(folder)) == [name]
    assert await shell.exists(path)
    assert (await shell.stat(path)).size_bytes == 7


async def test_relative_paths_begin_where_sessions_begin(shell: SSHClient) -> None:
    home = (await shell.execute("pwd")).stdout.strip()
    name = f"-hud-test-{os.getpid()}"
    try:
        await shell.write_text(name, "here")
        assert (await shell.read_text(name), Path(home, name).read_text()) == ("here", "here")
    finally:
        Path(home, name).unlink(missing_ok=True)


@pytest.mark.parametrize("content", [b"", b"\x00\xff\n\r\n", bytes(range(256)) * 20_000])
async def test_bytes_stay_as_they_are(shell: SSHClient, tmp_path: Path, content: bytes) -> None:
    path = str(tmp_path / "file")
    await shell.write_bytes(path, b"something longer that was there before" * 10)

    await shell.write_bytes(path, content)

    assert Path(path).read_bytes() == content
    assert await shell.read_bytes(path) == content


async def test_a_large_directory_is_listed(shell: SSHClient, tmp_path: Path) -> None:
    names = sorted(f"file-{number}" for number in range(5000))
    for name in [*names, ".hidden"]:
        (tmp_path / name).touch()
    (tmp_path / "sshd").rename(tmp_path.parent / f"{tmp_path.name}-sshd")

    assert await shell.listdir(f"{tmp_path}/") == [".hidden", *names]
    assert await shell.listdir("/") == sorted(os.listdir("/"))  # noqa: PTH208


async def test_file_errors_are_those_of_a_local_call(shell: SSHClient, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to("loop")
    cases: list[tuple[Any, type[OSError], int]] = [
        (shell.read_text(f"{tmp_path}/none"), FileNotFoundError, errno.ENOENT),
        (shell.read_text(str(tmp_path)), IsADirectoryError, errno.EISDIR),
        (shell.read_text(f"{tmp_path}/file/below"), NotADirectoryError, errno.ENOTDIR),
        (shell.read_text(f"{tmp_path}/loop"), OSError, errno.ELOOP),
        (shell.read_text(""), FileNotFoundError, errno.ENOENT),
        (shell.write_text(f"{tmp_path}/none/below", "x"), FileNotFoundError, errno.ENOENT),
        (shell.write_text(str(tmp_path), "x"), IsADirectoryError, errno.EISDIR),
        (shell.write_text("/proc/version", "x"), OSError, errno.EIO),
        (shell.write_bytes("/dev/full", b"x"), OSError, errno.ENOSPC),
        (shell.listdir(f"{tmp_path}/none"), FileNotFoundError, errno.ENOENT),
        (shell.listdir(f"{tmp_path}/file"), NotADirectoryError, errno.ENOTDIR),
        (shell.listdir(""), FileNotFoundError, errno.ENOENT),
        (shell.stat(f"{tmp_path}/none"), FileNotFoundError, errno.ENOENT),
        (shell.read_bytes("/dev/zero", max_bytes=1000), OSError, errno.EFBIG),
    ]
    for call, kind, number in cases:
        with pytest.raises(kind) as caught:
            await call
        assert caught.value.errno == number, caught.value


async def test_a_file_of_just_the_limit_is_read(shell: SSHClient, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x" * 1001)

    assert len(await shell.read_bytes(f"{tmp_path}/file", max_bytes=1001)) == 1001
    with pytest.raises(OSError, match="more than 1000 bytes"):
        await shell.read_bytes(f"{tmp_path}/file", max_bytes=1000)


async def test_reading_what_never_ends_ends_with_the_time(shell: SSHClient, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")

    with pytest.raises(TimeoutError, match="pipe"):
        await shell.read_text(f"{tmp_path}/pipe", timeout_s=0.2)

    await until(lambda: not running_with(f"{tmp_path}/pipe"))


async def test_what_a_path_is_can_be_asked(shell: SSHClient, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"12345")
    os.utime(tmp_path / "file", (1_000_000_000, 1_000_000_000))
    (tmp_path / "file").chmod(0o640)
    (tmp_path / "link").symlink_to("file")
    (tmp_path / "dangling").symlink_to("nothing")

    for name in ("file", "link"):
        stat = await shell.stat(f"{tmp_path}/{name}")
        assert (stat.size_bytes, stat.mode, stat.modified_s) == (5, 0o100640, 1_000_000_000)
        assert (stat.is_file, stat.is_dir) == (True, False)
    folder = await shell.stat(str(tmp_path))
    assert (folder.is_file, folder.is_dir) == (False, True)
    found = [await shell.exists(f"{tmp_path}/{name}") for name in ("file", "link", "dangling", "x")]
    assert found == [True, True, False, False]


async def test_a_windows_shell_has_no_file_methods(daemon: Sshd) -> None:
    row = having(daemon.capability(), shell="powershell")
    async with await SSHClient.connect(row) as shell:
        with pytest.raises(InputError, match="powershell"):
            await shell.read_text("x")
        assert (await shell.run("echo said")).stdout == "said\n"
