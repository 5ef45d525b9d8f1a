"""Whole trees an attacker made: walked, measured, handed over, removed and copied within bounds."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from hud.sandbox import files
from hud.sandbox.files import TooLarge, Usage

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
AGENT = (23456, 23456)


def dig(root: Path, depth: int) -> None:
    """Make a tree of folders too deep for any path."""
    descriptor = os.open(root, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir("d", dir_fd=descriptor)
        below = os.open("d", os.O_RDONLY, dir_fd=descriptor)
        os.close(descriptor)
        descriptor = below
    os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=descriptor))
    os.close(descriptor)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "root").mkdir()
    return tmp_path / "root"


def owner(path: Path) -> tuple[int, int]:
    found = path.lstat()
    return found.st_uid, found.st_gid


def test_a_walk_sees_everything_and_follows_nothing(root: Path, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/file").touch()
    (root / "a/b").mkdir(parents=True)
    (root / "a/b/c").write_bytes(b"xyz")
    (root / "out").symlink_to(tmp_path / "outside")
    (root / "node_modules").mkdir()
    (root / "node_modules/x").touch()
    found = dict(files.walk(root, exclude={"node_modules"}))
    assert set(found) == {"a", "a/b", "a/b/c", "out", "node_modules"}
    assert found["a/b/c"].st_size == 3
    assert stat.S_ISLNK(found["out"].st_mode)


def test_a_walk_ends_at_its_limits(root: Path) -> None:
    for name in range(20):
        (root / str(name)).touch()
    seen: list[str] = []
    with pytest.raises(TooLarge, match="10 entries"):
        seen += (path for path, _ in files.walk(root, max_entries=10))
    dig(root, 40)
    with pytest.raises(TooLarge, match="30 folders"):
        list(files.walk(root, max_depth=30))
    assert len(list(files.walk(root))) == 61


def test_an_abandoned_walk_leaves_no_descriptor_open(root: Path) -> None:
    dig(root, 20)
    before = os.listdir("/proc/self/fd")  # noqa: PTH208
    entries = files.walk(root)
    for _ in range(15):
        next(entries)
    entries.close()
    assert os.listdir("/proc/self/fd") == before  # noqa: PTH208


def test_usage_counts_blocks_and_stops_early(root: Path) -> None:
    (root / "file").write_bytes(b"x" * 100_000)
    os.link(root / "file", root / "same")
    with (root / "hole").open("wb") as hole:
        hole.truncate(1 << 40)
    told = files.usage(root, max_files=None, max_bytes=None)
    assert (told.files, told.exceeded) == (3, None)
    assert 100_000 <= told.bytes < 200_000
    assert files.usage(root, max_files=3, max_bytes=1 << 30).exceeded is None
    assert files.usage(root, max_files=2, max_bytes=1 << 30).exceeded == "entries"
    assert files.usage(root, max_files=9, max_bytes=50_000).exceeded == "bytes"
    dig(root, 140)
    assert files.usage(root, max_files=999, max_bytes=1 << 30).exceeded == "depth"
    assert Usage(1, 2, None).exceeded is None


@needs_root
def test_everything_is_handed_over_and_nothing_outside(root: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_bytes(b"host")
    (root / "a/b").mkdir(parents=True)
    (root / "a/b/file").write_bytes(b"x")
    (root / "dangling").symlink_to("/nothing")
    (root / "out").symlink_to(outside)
    (root / "outfile").symlink_to(outside / "file")
    os.mkfifo(root / "fifo")
    os.link(outside / "file", root / "shared")
    (root / "one").write_bytes(b"12")
    os.link(root / "one", root / "a/two")
    files.hand_over(root, *AGENT)
    for path in [root, *root.rglob("*")]:
        assert owner(path) == AGENT, path
    assert owner(outside) == owner(outside / "file") == (0, 0)
    assert (outside / "file").stat().st_nlink == 1
    assert (root / "shared").read_bytes() == b"host"
    assert (root / "one").stat().st_ino == (root / "a/two").stat().st_ino


@needs_root
def test_a_copy_that_takes_the_place_of_a_shared_file_is_like_it(
    root: Path, tmp_path: Path
) -> None:
    shared = tmp_path / "shared"
    with shared.open("wb") as file:
        file.write(b"begin")
        file.truncate(50_000_000)
        file.seek(50_000_000)
        file.write(b"end")
    shared.chmod(0o4751)
    os.utime(shared, (1_000, 2_000))
    os.link(shared, root / "inside")
    files.hand_over(root, *AGENT)
    copy = (root / "inside").stat()
    assert (root / "inside").read_bytes() == shared.read_bytes()
    assert (copy.st_mode & 0o7777, copy.st_mtime) == (0o751, 2_000)
    assert copy.st_blocks * 512 < 1_000_000, "the hole was filled"
    assert owner(shared) == (0, 0)


@needs_root
def test_handing_over_a_tree_that_is_swapped_meanwhile_touches_nothing_outside(
    root: Path, tmp_path: Path
) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/file").write_bytes(b"host")
    (root / "folder").mkdir()
    (root / "folder/file").touch()
    outside = str(tmp_path / "outside")
    swap = f"""
import os
while True:
    os.rename("folder", "aside"); os.symlink({outside!r}, "folder")
    os.unlink("folder"); os.rename("aside", "folder")
    os.rename("folder/file", "kept"); os.link({outside!r} + "/file", "folder/file")
    os.unlink("folder/file"); os.rename("kept", "folder/file")
"""
    process = subprocess.Popen([sys.executable, "-I", "-S", "-c", swap], cwd=root)
    try:
        for uid in range(20_000, 20_400):
            files.hand_over(root, uid, uid)
            assert owner(tmp_path / "outside") == owner(tmp_path / "outside/file") == (0, 0)
        assert process.poll() is None
    finally:
        process.kill()
        process.wait()


def test_a_tree_deeper_than_any_path_is_removed(root: Path) -> None:
    dig(root, 3_000)
    (root / "other").touch()
    files.remove_tree(root)
    assert not root.exists()
    files.remove_tree(root)


def test_removing_follows_no_link(root: Path, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/file").touch()
    (root / "out").symlink_to(tmp_path / "outside")
    os.mkfifo(root / "fifo")
    files.remove_tree(root)
    assert not root.exists()
    root.symlink_to(tmp_path / "outside")
    files.remove_tree(root)
    assert (tmp_path / "outside/file").exists()
    assert not root.is_symlink()


def test_a_plain_user_removes_what_its_modes_forbid(tmp_path: Path) -> None:
    program = """
import os, sys
from pathlib import Path
from hud.sandbox import files
root = Path(sys.argv[1], "root")
if os.geteuid() == 0:
    os.setgroups([]); os.setgid(23456); os.setuid(23456)
(root / "a/b/c").mkdir(parents=True)
(root / "a/b/c/file").touch()
for path in ("a/b/c", "a/b", "a"):
    (root / path).chmod(0)
root.chmod(0o500)
files.remove_tree(root)
assert not root.exists()
"""
    tmp_path.chmod(0o777)
    for above in tmp_path.parents[:-1]:
        if above.stat().st_uid == os.getuid() and above != Path("/tmp"):
            above.chmod(above.stat().st_mode | 0o011)
    subprocess.run([sys.executable, "-c", program, tmp_path], check=True, timeout=60)


def test_what_cannot_be_removed_is_said_and_the_rest_is_gone(root: Path) -> None:
    for name in ("a", "b/c"):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).touch()
    guard = os.open(root, os.O_RDONLY)
    try:
        if subprocess.run(["chattr", "+i", root / "a"], capture_output=True).returncode:
            pytest.skip("no file can be made immutable here")
        with pytest.raises(PermissionError):
            files.remove_tree(root)
        assert os.listdir(guard) == ["a"]  # noqa: PTH208
    finally:
        subprocess.run(["chattr", "-i", root / "a"], capture_output=True)
        os.close(guard)


def test_a_template_is_copied_with_links_modes_and_times(root: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "locked").mkdir(parents=True)
    (source / "locked/file").write_bytes(b"x")
    (source / "script").write_bytes(b"#!")
    (source / "script").chmod(0o4755)
    os.utime(source / "script", (5, 6))
    (source / "link").symlink_to("/etc/passwd")
    os.mkfifo(source / "fifo")
    (source / "locked").chmod(0o500)
    (root / "script").symlink_to("/nowhere/at/all")
    files.copy_tree(source, root / ".", owner=AGENT if os.geteuid() == 0 else None)
    assert sorted(path.name for path in root.iterdir()) == ["link", "locked", "script"]
    assert (root / "link").readlink() == Path("/etc/passwd")
    assert (root / "locked/file").read_bytes() == b"x"
    assert (root / "locked").stat().st_mode & 0o7777 == 0o500
    found = (root / "script").stat()
    assert (found.st_mode & 0o7777, found.st_mtime) == (0o755, 6)
    if os.geteuid() == 0:
        assert {owner(path) for path in [root, *root.rglob("*")]} == {AGENT}
    (root / "locked").chmod(0o700)
    (source / "locked").chmod(0o700)


def test_a_template_is_not_copied_through_a_link(root: Path, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "source/folder").mkdir(parents=True)
    (tmp_path / "source/folder/file").touch()
    (root / "folder").symlink_to(tmp_path / "outside")
    with pytest.raises(files.UnsafePath):
        files.copy_tree(tmp_path / "source", root)
    assert list((tmp_path / "outside").iterdir()) == []
