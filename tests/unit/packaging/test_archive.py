"""The same contents give the same archive, and a hostile one unpacks to nothing."""

from __future__ import annotations

import gzip
import io
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from hud._core.errors import InputError
from hud.packaging.archive import pack, source_hash, unpack
from hud.packaging.context import Limits, read_context

Hostile = Callable[[tarfile.TarFile], None]


def laid(root: Path) -> Path:
    (root / "pkg").mkdir(parents=True)
    (root / "empty").mkdir()
    (root / "tasks.py").write_text("print('ü')\n")
    (root / "pkg/run.sh").write_text("#!/bin/sh\n")
    (root / "pkg/run.sh").chmod(0o755)
    (root / "pkg/link").symlink_to("../tasks.py")
    return root


def test_the_same_contents_give_the_same_bytes(tmp_path: Path) -> None:
    one, two = laid(tmp_path / "one"), laid(tmp_path / "two")
    os.utime(two / "tasks.py", (1, 1))
    (two / "tasks.py").chmod(0o600)
    first = pack(read_context(one), tmp_path / "1.tar.gz")
    second = pack(read_context(two), tmp_path / "2.tar.gz")
    assert first.path.read_bytes() == second.path.read_bytes()
    assert (first.sha256, first.source_hash) == (second.sha256, second.source_hash)
    assert first.size == first.path.stat().st_size
    assert source_hash(read_context(one)) == first.source_hash
    (two / "tasks.py").write_text("print('u')\n")
    assert source_hash(read_context(two)) != first.source_hash


def test_what_was_packed_comes_out_again(tmp_path: Path) -> None:
    packed = pack(read_context(laid(tmp_path / "one")), tmp_path / "1.tar.gz")
    out = unpack(packed.path, tmp_path / "out")
    assert (out / "tasks.py").read_text() == "print('ü')\n"
    assert (out / "pkg/run.sh").stat().st_mode & 0o777 == 0o755
    assert (out / "empty").is_dir()
    assert (out / "pkg/link").readlink() == Path("../tasks.py")
    assert source_hash(read_context(out)) == packed.source_hash


def add(tar: tarfile.TarFile, name: str, data: bytes = b"", **fields: object) -> None:
    header = tarfile.TarInfo(name)
    header.size = len(data)
    for key, value in fields.items():
        setattr(header, key, value)
    tar.addfile(header, io.BytesIO(data))


def hostile(path: Path, fill: Hostile) -> Path:
    with tarfile.open(path, "w:gz", format=tarfile.GNU_FORMAT) as tar:
        fill(tar)
    return path


def _link(name: str, to: str, kind: bytes = tarfile.SYMTYPE) -> Hostile:
    return lambda tar: add(tar, name, type=kind, linkname=to)


def one(name: str, data: bytes = b"", **fields: object) -> Hostile:
    return lambda tar: add(tar, name, data, **fields)


def _many(tar: tarfile.TarFile) -> None:
    for number in range(20):
        add(tar, f"{number}")


def _through_a_link(tar: tarfile.TarFile) -> None:
    add(tar, "door", type=tarfile.SYMTYPE, linkname=".")
    add(tar, "door/inside", b"x")


def _link_through_links(tar: tarfile.TarFile) -> None:
    add(tar, "a/b/c", type=tarfile.DIRTYPE)
    add(tar, "up", type=tarfile.SYMTYPE, linkname="a/b/c/d")
    add(tar, "a/b/c/d", type=tarfile.SYMTYPE, linkname="../../..")
    add(tar, "out", type=tarfile.SYMTYPE, linkname="up/..")


def _twice(tar: tarfile.TarFile) -> None:
    add(tar, "a", b"1")
    add(tar, "a", b"2")


def _file_then_folder(tar: tarfile.TarFile) -> None:
    add(tar, "a", b"1")
    add(tar, "a/b", b"2")


def _hard_link_to_link(tar: tarfile.TarFile) -> None:
    add(tar, "a", type=tarfile.SYMTYPE, linkname="b")
    add(tar, "c", type=tarfile.LNKTYPE, linkname="a")


@pytest.mark.parametrize(
    ("fill", "says"),
    [
        (one("/etc/passwd", b"x"), "leads out of it"),
        (one("../x", b"x"), "leads out of it"),
        (one("a/../../x", b"x"), "leads out of it"),
        (_link("a", "/etc/passwd"), "leads out of it"),
        (_link("a", "../x"), "leads out of it"),
        (_link("a/b", "../../x"), "leads out of it"),
        (_link_through_links, "leads out of it"),
        (_link("a", "/etc/passwd", tarfile.LNKTYPE), "which is no file of it"),
        (_link("a", "../../etc/passwd", tarfile.LNKTYPE), "which is no file of it"),
        (_hard_link_to_link, "which is no file of it"),
        (one("a", type=tarfile.CHRTYPE, devmajor=1), "no file, folder"),
        (one("a", type=tarfile.BLKTYPE, devmajor=8), "no file, folder"),
        (one("a", type=tarfile.FIFOTYPE), "no file, folder"),
        (_through_a_link, "puts something below"),
        (_file_then_folder, "puts something below"),
        (_twice, "twice"),
        (one("/".join("d" * 99), b"x"), "nests deeper"),
    ],
)  # fmt: skip
def test_a_hostile_archive_is_refused_and_nothing_of_it_stays(
    tmp_path: Path, fill: Hostile, says: str
) -> None:
    archive = hostile(tmp_path / "bad.tar.gz", fill)
    with pytest.raises(InputError, match=says):
        unpack(archive, tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad.tar.gz"]


def test_a_small_file_that_unpacks_to_much_is_refused(tmp_path: Path) -> None:
    bomb = tmp_path / "bomb.tar.gz"
    with gzip.open(bomb, "wb", compresslevel=9) as file:
        header = tarfile.TarInfo("zeros")
        header.size = 64 << 20
        file.write(header.tobuf())
        for _ in range(64):
            file.write(bytes(1 << 20))
    assert bomb.stat().st_size < 1 << 20
    with pytest.raises(InputError, match="unpacks to over 8 MB"):
        unpack(bomb, tmp_path / "out", Limits(total_bytes=8 << 20))


def test_padding_counts_too(tmp_path: Path) -> None:
    bomb = tmp_path / "bomb.tar.gz"
    with gzip.open(bomb, "wb", compresslevel=9) as file:
        for _ in range(64):
            file.write(bytes(1 << 20))
    with pytest.raises(InputError, match="unpacks to more than is allowed"):
        unpack(bomb, tmp_path / "out", Limits(files=10, total_bytes=1 << 20))


def test_many_entries_are_refused(tmp_path: Path) -> None:
    archive = hostile(tmp_path / "many.tar.gz", _many)
    with pytest.raises(InputError, match="more than 10 entries"):
        unpack(archive, tmp_path / "out", Limits(files=10))


def test_a_header_that_would_fill_the_memory_is_refused(tmp_path: Path) -> None:
    bomb = tmp_path / "bomb.tar.gz"
    with gzip.open(bomb, "wb", compresslevel=9) as file:
        header = tarfile.TarInfo("pax")
        header.type, header.size = tarfile.XHDTYPE, 512 << 20
        file.write(header.tobuf())
    with pytest.raises(InputError, match="header that is too long"):
        unpack(bomb, tmp_path / "out")


def test_headers_about_headers_are_refused(tmp_path: Path) -> None:
    bomb = tmp_path / "bomb.tar.gz"
    with gzip.open(bomb, "wb", compresslevel=9) as file:
        for _ in range(5_000):
            header = tarfile.TarInfo("pax")
            header.type, header.size = tarfile.XHDTYPE, 0
            file.write(header.tobuf())
    with pytest.raises(InputError, match="damaged"):
        unpack(bomb, tmp_path / "out")


@pytest.mark.parametrize(
    "data", [b"", b"PK\x03\x04" + bytes(100), gzip.compress(b"x" * 700, mtime=0), b"\x1f\x8b"]
)
def test_what_is_no_archive_is_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "x.tar.gz"
    path.write_bytes(data)
    with pytest.raises(InputError, match="archive"):
        unpack(path, tmp_path / "out")


def test_a_cut_archive_is_refused(tmp_path: Path) -> None:
    packed = pack(read_context(laid(tmp_path / "one")), tmp_path / "1.tar.gz")
    packed.path.write_bytes(packed.path.read_bytes()[:-40])
    with pytest.raises(InputError, match="damaged"):
        unpack(packed.path, tmp_path / "out")
