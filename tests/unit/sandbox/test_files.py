"""Files below a folder an attacker writes to: what is read, written and listed stays inside."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from pathlib import Path

import pytest

from hud.sandbox import files
from hud.sandbox.files import TooLarge, UnsafePath

SECRET = b"secret of the host"
EXCHANGE = """
    if n == 0:
        import ctypes
        libc = ctypes.CDLL(None, use_errno=True)
    assert libc.renameat2(-100, b"folder", -100, b"link", 2) == 0
"""
DEADLINE_S = 60


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "root").mkdir()
    (tmp_path / "secret").write_bytes(SECRET)
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/file").write_bytes(SECRET)
    return tmp_path / "root"


@contextlib.contextmanager
def attacker(program: str, folder: Path) -> Generator[None]:
    """Run a program's body over and over in `folder`, in a process of its own."""
    text = f"import os, itertools\nfor n in itertools.count():\n    {program}"
    process = subprocess.Popen([sys.executable, "-I", "-S", "-c", text], cwd=folder)
    try:
        yield
        assert process.poll() is None, "the attacker fell over"
    finally:
        process.kill()
        process.wait()


def until(done: Callable[[], bool]) -> Generator[None]:
    """Go on until `done`, which a real attack brings about soon."""
    deadline = time.monotonic() + DEADLINE_S
    while not done():
        assert time.monotonic() < deadline, "the attack did not take place"
        yield


def test_a_path_is_relative_or_below_the_guest_path(root: Path) -> None:
    (root / "a").mkdir()
    (root / "a/b").write_bytes(b"x")
    for path in ("a/b", "./a//b", "/workspace/a/b", "//workspace/./a/b", Path("a/b")):
        assert files.read_bytes(root, path, max_bytes=9) == b"x"
    assert files.read_bytes(root, "/home/agent/a/b", guest="/home/agent", max_bytes=9) == b"x"


@pytest.mark.parametrize(
    "path",
    [
        "..",
        "../secret",
        "a/../../secret",
        "/secret",
        "/workspace/../secret",
        "/workspaces/a",
        "/",
        "a\0b",
        ".",
        "x/" * 600,
    ],
)
def test_a_path_that_leads_out_is_refused(root: Path, path: str) -> None:
    with pytest.raises(UnsafePath):
        files.read_bytes(root, path, max_bytes=99)
    with pytest.raises(UnsafePath):
        files.write_bytes(root, path, b"")


def test_a_link_is_never_followed_wherever_it_stands(root: Path, tmp_path: Path) -> None:
    (root / "file").symlink_to(tmp_path / "secret")
    (root / "folder").symlink_to(tmp_path / "outside")
    (root / "inner").symlink_to(".")
    for path in ("file", "folder/file", "inner/file"):
        for attempt in (files.exists, files.stat):
            with pytest.raises(UnsafePath, match="symbolic link"):
                attempt(root, path)
        with pytest.raises(UnsafePath, match="symbolic link"):
            files.read_bytes(root, path, max_bytes=99)
        with pytest.raises(UnsafePath, match="symbolic link"):
            files.write_bytes(root, path, b"overwritten")
    with pytest.raises(UnsafePath):
        files.listdir(root, "folder")
    assert (tmp_path / "secret").read_bytes() == SECRET
    assert (tmp_path / "outside/file").read_bytes() == SECRET


def test_the_folder_itself_may_be_reached_through_a_link(root: Path, tmp_path: Path) -> None:
    (tmp_path / "way").symlink_to(root)
    files.write_bytes(tmp_path / "way", "a", b"x")
    assert files.listdir(tmp_path / "way") == ["a"]


def test_what_is_no_plain_file_is_refused_without_waiting(root: Path) -> None:
    os.mkfifo(root / "fifo")
    (root / "folder").mkdir()
    listener = socket.socket(socket.AF_UNIX)
    with listener, contextlib.chdir(root):
        listener.bind("socket")
        for name in ("fifo", "folder", "socket"):
            with pytest.raises(UnsafePath):
                files.read_bytes(root, name, max_bytes=99)
            with pytest.raises(UnsafePath):
                files.write_bytes(root, name, b"")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes devices")
def test_a_device_is_refused(root: Path) -> None:
    try:
        os.mknod(root / "zero", 0o666 | 0o020000, os.makedev(1, 5))
    except OSError as error:
        pytest.skip(f"no device can be made here: {error}")
    with pytest.raises(UnsafePath, match="device"):
        files.read_bytes(root, "zero", max_bytes=99)


def test_a_file_is_read_up_to_a_limit(root: Path) -> None:
    (root / "file").write_bytes(b"12345")
    assert files.read_bytes(root, "file", max_bytes=5) == b"12345"
    with pytest.raises(TooLarge):
        files.read_bytes(root, "file", max_bytes=4)
    with (root / "hole").open("wb") as hole:
        hole.truncate(1 << 43)
    with pytest.raises(TooLarge):
        files.read_bytes(root, "hole", max_bytes=1 << 20)


def test_text_that_is_none_is_read_all_the_same(root: Path) -> None:
    (root / "file").write_bytes(b"h\xc3\xa9\xff")
    assert files.read_text(root, "file", max_bytes=99) == "hé\ufffd"
    with pytest.raises(UnicodeDecodeError):
        files.read_text(root, "file", max_bytes=99, errors="strict")


def test_what_is_missing_is_an_os_error(root: Path) -> None:
    (root / "file").write_bytes(b"")
    for path in ("missing", "missing/file"):
        with pytest.raises(FileNotFoundError):
            files.read_bytes(root, path, max_bytes=99)
        assert not files.exists(root, path)
    with pytest.raises(NotADirectoryError):
        files.read_bytes(root, "file/below", max_bytes=99)
    assert not files.exists(root, "file/below")
    assert files.exists(root, "file") and files.exists(root, ".")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root owns two files of two owners")
def test_another_name_of_somebody_elses_file_is_not_read(root: Path, tmp_path: Path) -> None:
    os.chown(root, 12345, 12345)
    (root / "mine").write_bytes(b"mine")
    os.chown(root / "mine", 12345, 12345)
    os.link(root / "mine", root / "too")
    os.link(tmp_path / "secret", root / "stolen")
    assert files.read_bytes(root, "too", max_bytes=99) == b"mine"
    with pytest.raises(UnsafePath, match="somebody else"):
        files.read_bytes(root, "stolen", max_bytes=99)


def test_a_written_file_is_a_new_one(root: Path, tmp_path: Path) -> None:
    os.link(tmp_path / "secret", root / "file")
    files.write_bytes(root, "file", b"new", mode=0o750)
    assert (tmp_path / "secret").read_bytes() == SECRET
    assert (root / "file").read_bytes() == b"new"
    assert (root / "file").stat().st_mode & 0o7777 == 0o750
    assert os.listdir(root) == ["file"]  # noqa: PTH208


def test_folders_on_the_way_are_made_for_the_owner(root: Path) -> None:
    owner = (12345, 23456) if os.geteuid() == 0 else (os.getuid(), os.getgid())
    files.write_bytes(root, "/workspace/a/b/file", b"x", owner=owner)
    for path in ("a", "a/b", "a/b/file"):
        found = (root / path).stat()
        assert (found.st_uid, found.st_gid) == owner


def test_a_folder_is_listed_up_to_a_limit(root: Path) -> None:
    for name in "cab":
        (root / name).touch()
    assert files.listdir(root) == ["a", "b", "c"]
    with pytest.raises(TooLarge):
        files.listdir(root, max_entries=2)


def test_a_link_swapped_in_while_reading_shows_nothing_of_the_host(
    root: Path, tmp_path: Path
) -> None:
    (root / "file").write_bytes(b"inside")
    swap = (
        f"os.symlink({str(tmp_path / 'secret')!r}, 'l'); os.rename('l', 'file');"
        "f = open('f', 'w'); f.write('inside'); f.close(); os.rename('f', 'file')"
    )
    seen: dict[bytes | str, int] = {}
    with attacker(swap, root):
        for _ in until(lambda: {b"inside", "refused", "naive"} <= set(seen) and len(seen) > 2):
            try:
                told = files.read_bytes(root, "file", max_bytes=99)
            except UnsafePath:
                told = "refused"
            assert told in (b"inside", "refused")
            seen[told] = seen.get(told, 0) + 1
            if (root / "file").read_bytes() == SECRET:
                seen["naive"] = 1


def test_a_folder_swapped_for_a_link_lets_nothing_out_and_nothing_be_written(
    root: Path, tmp_path: Path
) -> None:
    (root / "folder").mkdir()
    (root / "folder/file").write_bytes(b"inside")
    (root / "link").symlink_to(tmp_path / "outside")
    seen: set[object] = set()
    with attacker(EXCHANGE, root):
        for _ in until(lambda: {b"inside", "refused", "naive", "written"} <= seen):
            try:
                told = files.read_bytes(root, "folder/file", max_bytes=99)
            except UnsafePath:
                told = "refused"
            assert told in (b"inside", "refused")
            seen.add(told)
            with contextlib.suppress(UnsafePath):
                files.write_bytes(root, "folder/written", b"x")
                seen.add("written")
            if (root / "folder/file").read_bytes() == SECRET:
                seen.add("naive")
            for path, found in files.walk(root):
                assert path.split("/")[0] in ("folder", "link")
                assert path.count("/") < 2 and found.st_size != len(SECRET)
    assert os.listdir(tmp_path / "outside") == ["file"]  # noqa: PTH208
