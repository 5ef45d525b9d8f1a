"""asyncssh's SFTP client against our server, which runs as it does inside a sandbox."""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import AsyncGenerator
from pathlib import Path

import asyncssh
import pytest
import pytest_asyncio

from tests.unit.sandbox.sftp_bridge import DEADLINE_S, Bridge, bridge


@pytest_asyncio.fixture
async def served(tmp_path: Path) -> AsyncGenerator[Bridge]:
    async with bridge(tmp_path) as served:
        yield served


async def test_a_file_of_megabytes_comes_back_as_it_went(served: Bridge, tmp_path: Path) -> None:
    content = os.urandom(5_000_000)
    (tmp_path / "up").write_bytes(content)
    async with served.client() as client:
        await client.put(str(tmp_path / "up"), "big")
        await client.get("big", str(tmp_path / "down"))
    assert (served.start / "big").read_bytes() == content
    assert (tmp_path / "down").read_bytes() == content


async def test_a_folder_goes_and_comes_whole(served: Bridge, tmp_path: Path) -> None:
    for name in ("a", "b/c", "b/d/é 'x'\n"):
        path = tmp_path / "tree" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    async with served.client() as client:
        await client.put(str(tmp_path / "tree"), "tree", recurse=True, preserve=True)
        await client.get("tree", str(tmp_path / "back"), recurse=True)
    for name in ("a", "b/c", "b/d/é 'x'\n"):
        assert (served.start / "tree" / name).read_text() == name
        assert (tmp_path / "back" / name).read_text() == name


async def test_a_folder_of_thousands_is_listed_in_pages(served: Bridge) -> None:
    names = {f"file-{number:05d}" for number in range(3_000)}
    for name in names:
        (served.start / name).touch()
    async with served.client() as client:
        listed = await client.readdir(".")
    assert {str(entry.filename) for entry in listed} == names | {".", ".."}
    line = next(str(entry.longname) for entry in listed if entry.filename == "file-00007")
    assert line.startswith("-rw") and line.endswith(" file-00007")
    assert all(entry.attrs.permissions for entry in listed)


async def test_attributes_are_read_and_set_by_path_and_by_handle(served: Bridge) -> None:
    path = served.start / "file"
    async with served.client() as client:
        async with client.open("file", "wb") as file:
            await file.write(b"0123456789")
            assert (await file.stat()).size == 10
            await file.setstat(asyncssh.SFTPAttrs(permissions=0o640, atime=7, mtime=8))
        assert (path.stat().st_mode & 0o7777, path.stat().st_mtime) == (0o640, 8)
        await client.truncate("file", 4)
        await client.chmod("file", 0o600)
        await client.utime("file", (1, 2))
        found = await client.stat("file")
        assert (found.size, found.mtime, stat.S_IMODE(found.permissions or 0)) == (4, 2, 0o600)
        if os.geteuid() == 0:
            await client.chown("file", 12, 34)
            assert (path.stat().st_uid, path.stat().st_gid) == (12, 34)
        await client.symlink("file", "link")
        await client.utime("link", (5, 6), follow_symlinks=False)
        assert (path.stat().st_mtime, path.parent.joinpath("link").lstat().st_mtime) == (2, 6)
        assert stat.S_ISLNK((await client.lstat("link")).permissions or 0)


async def test_links_point_where_they_were_told_to(served: Bridge) -> None:
    (served.start / "target").write_text("x")
    async with served.client() as client:
        await client.symlink("target", "link")
        assert (served.start / "link").readlink() == Path("target")
        assert await client.readlink("link") == "target"
        assert await client.realpath("link") == str(served.start / "target")
        assert await client.realpath(".") == str(served.start)
        await client.link("target", "hard")
        assert (served.start / "hard").stat().st_nlink == 2


async def test_a_rename_replaces_nothing_and_a_posix_rename_does(served: Bridge) -> None:
    (served.start / "old").write_text("old")
    (served.start / "new").write_text("new")
    (served.start / "folder").mkdir()
    async with served.client() as client:
        with pytest.raises(asyncssh.SFTPFailure):
            await client.rename("old", "new")
        assert (served.start / "new").read_text() == "new"
        await client.posix_rename("old", "new")
        assert (served.start / "new").read_text() == "old"
        await client.rename("new", "newer")
        await client.rename("folder", "moved")
    assert sorted(path.name for path in served.start.iterdir()) == ["moved", "newer"]


async def test_folders_and_files_are_made_and_removed(served: Bridge) -> None:
    async with served.client() as client:
        await client.makedirs("a/b/c")
        await client.mkdir("private", asyncssh.SFTPAttrs(permissions=0o700))
        assert stat.S_IMODE((served.start / "private").stat().st_mode) == 0o700
        with pytest.raises(asyncssh.SFTPFailure):
            await client.rmdir("a")
        for name in ("a/b/c", "a/b", "a"):
            await client.rmdir(name)
        await client.rmdir("private")
        with pytest.raises(asyncssh.SFTPNoSuchFile):
            await client.remove("nothing")
    assert list(served.start.iterdir()) == []


async def test_a_file_is_appended_to_and_made_only_once(served: Bridge) -> None:
    (served.start / "log").write_text("one\n")
    async with served.client() as client:
        async with client.open("log", "a") as file:
            await file.write("two\n")
            await file.fsync()
        with pytest.raises(asyncssh.SFTPFailure):
            await client.open("log", "x")
        async with client.open("log", "r+") as file:
            await file.write("ONE")
            await file.seek(0)
            assert await file.read() == "ONE\ntwo\n"
    assert (served.start / "log").read_text() == "ONE\ntwo\n"


async def test_the_file_system_says_its_size(served: Bridge) -> None:
    async with served.client() as client:
        told = await client.statvfs(".")
        real = os.statvfs(served.start)
        assert (told.frsize, told.blocks, told.namemax) == (
            real.f_frsize,
            real.f_blocks,
            real.f_namemax,
        )
        async with client.open("file", "w") as file:
            assert (await file.statvfs()).blocks == real.f_blocks
        assert client.limits.max_read_len == client.limits.max_write_len == 255 * 1024


async def test_what_is_missing_or_forbidden_is_said(served: Bridge) -> None:
    (served.start / "loop").symlink_to("loop")
    async with served.client() as client:
        with pytest.raises(asyncssh.SFTPNoSuchFile):
            await client.stat("missing")
        with pytest.raises(asyncssh.SFTPNoSuchFile):
            await client.open("loop")
        with pytest.raises(asyncssh.SFTPBadMessage):
            await client.stat("zero\0byte")
        with pytest.raises(asyncssh.SFTPFailure):
            await client.stat("x" * 5_000)
        with pytest.raises(asyncssh.SFTPFailure):
            await client.open(".", "w")
        assert await client.exists(".")


async def test_a_fifo_makes_nobody_wait(served: Bridge) -> None:
    os.mkfifo(served.start / "fifo")
    async with served.client() as client:
        with pytest.raises(asyncssh.SFTPFailure):
            await client.open("fifo", "wb")  # nobody reads
        async with client.open("fifo", "rb", block_size=0) as file:
            assert await file.read(10) == b""
        (served.start / "file").write_text("still here")
        async with client.open("file") as file:
            assert await file.read() == "still here"


async def test_a_device_is_read_only_as_far_as_asked(served: Bridge) -> None:
    async with served.client() as client, client.open("/dev/zero", "rb", block_size=0) as file:
        assert await file.read(1_000, 0) == bytes(1_000)


async def test_names_that_are_no_utf8_are_served(served: Bridge) -> None:
    async with served.client() as client:
        async with client.open(b"\xff\xfe", "wb") as file:
            await file.write(b"x")
        listed = await client.listdir(b".")
    assert b"\xff\xfe" in listed
    assert [os.fsencode(path.name) for path in served.start.iterdir()] == [b"\xff\xfe"]


async def test_handles_run_out_without_harm(served: Bridge) -> None:
    (served.start / "file").write_text("x")
    async with served.client() as client:
        opened = [client.open("file", "rb") for _ in range(1_100)]
        told = await asyncio.gather(*opened, return_exceptions=True)
        held = [file for file in told if isinstance(file, asyncssh.SFTPClientFile)]
        refused = [error for error in told if isinstance(error, asyncssh.SFTPFailure)]
        assert 8 <= len(held) <= 1_024
        assert len(held) + len(refused) == 1_100
        await held.pop().close()
        async with client.open("file", "rb") as file:
            assert await file.read() == b"x"


async def test_many_requests_in_flight_are_answered_each(served: Bridge) -> None:
    for number in range(200):
        (served.start / str(number)).write_text(str(number))
    async with served.client() as client:

        async def read_back(number: int) -> None:
            async with client.open(str(number)) as file:
                assert await file.read() == str(number)

        async with asyncio.timeout(DEADLINE_S):
            await asyncio.gather(*(read_back(number) for number in range(200)))
