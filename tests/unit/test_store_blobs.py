"""Blobs: in a folder and in an object store alike, verified, and never outside of their place."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from hud._core.errors import InputError, StoreError
from hud.store import BlobRow, open_store
from hud.store.blobs import BlobFolder, Blobs
from hud.store.remote_blobs import RemoteBlobs
from hud.testing import check_store
from tests.s3 import SECRET

CONTENT = b"some bytes" * 1000
SHA256 = "a0a86ed6cf0d8b9c2cd4c5e7c9ff2c6bfd01ac5eb9e4a5ad7f5dd3c9cb4e3b0e"


async def test_a_store_with_its_blobs_on_s3_keeps_the_contract_of_stores(
    s3_url: str, tmp_path: Path
) -> None:
    await check_store(lambda: open_store(tmp_path, blobs=s3_url))
    assert not (tmp_path / "blobs").exists()


@pytest.fixture(params=["folder", "s3"])
def blobs(request: pytest.FixtureRequest, tmp_path: Path) -> Blobs:
    if request.param == "folder":
        return BlobFolder(tmp_path / "blobs")
    return RemoteBlobs(request.getfixturevalue("s3_url"))


def test_a_blob_comes_back_whole_and_in_part(blobs: Blobs) -> None:
    sha256 = _kept(blobs, CONTENT)
    assert blobs.read(sha256) == CONTENT
    assert blobs.read_part(sha256, 5, 25) == CONTENT[5:25]
    [found] = blobs.files()
    assert (found.sha256, found.size_bytes) == (sha256, len(CONTENT))


def test_a_blob_that_is_not_what_its_name_says_is_not_given_out(blobs: Blobs) -> None:
    sha256 = hashlib.sha256(CONTENT).hexdigest()
    blobs.write_all({sha256: b"other"})
    with pytest.raises(StoreError, match="is damaged"):
        blobs.read(sha256)


def test_a_blob_that_is_missing_is_named(blobs: Blobs) -> None:
    with pytest.raises(StoreError, match=f"the blob {SHA256} is missing"):
        blobs.read(SHA256)
    with pytest.raises(StoreError, match=f"the blob {SHA256} is missing"):
        blobs.read_part(SHA256, 0, 5)


@pytest.mark.parametrize(
    "name", ["../../x", "/etc/passwd", "A" * 64, "0" * 63, "", "0" * 64 + "/.."]
)
def test_no_name_leaves_the_place(blobs: Blobs, name: str) -> None:
    with pytest.raises(StoreError, match="is not the name of a blob"):
        blobs.read(name)
    with pytest.raises(StoreError, match="is not the name of a blob"):
        blobs.read_part(name, 0, 9)
    with pytest.raises(StoreError, match="is not the name of a blob"):
        blobs.write_all({name: b"x"})


def test_a_blob_that_was_written_again_is_not_deleted(blobs: Blobs) -> None:
    sha256 = _kept(blobs, CONTENT)
    [found] = blobs.files()
    assert not blobs.delete(sha256, found.changed_at)
    assert blobs.read(sha256) == CONTENT
    assert blobs.delete(sha256, found.changed_at + 1)
    assert not blobs.delete(sha256, found.changed_at + 1)
    assert list(blobs.files()) == []
    assert _kept(blobs, CONTENT) == sha256
    assert blobs.read(sha256) == CONTENT


async def test_rows_wait_for_an_object_store_that_refuses(
    s3_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(tmp_path, blobs=s3_url.replace("bucket-", "no-bucket-"))
    store.put(BlobRow(content=CONTENT))
    with pytest.raises(StoreError, match="cannot be written") as failed:
        await store.committed()
    assert SECRET not in str(failed.value)
    with pytest.raises(StoreError, match="cannot be written"):
        store.close()


def test_a_place_nobody_knows_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="knows no 'nowhere'"):
        open_store(tmp_path, blobs="nowhere://bucket")


def test_a_folder_may_be_named(tmp_path: Path) -> None:
    for named in (str(tmp_path / "kept"), f"file://{tmp_path / 'kept'}"):
        store = open_store(tmp_path / "home", blobs=named)
        store.put(BlobRow(content=CONTENT))
        store.close()
    assert len(list((tmp_path / "kept").glob("*/*"))) == 1


def test_a_missing_package_is_said_in_one_sentence(tmp_path: Path) -> None:
    program = (
        "import sys\n"
        "sys.modules['s3fs'] = None\n"
        "from hud.store import open_store\n"
        "try:\n"
        "    open_store(blobs='s3://bucket')\n"
        "except Exception as error:\n"
        "    print(type(error).__name__, error, error.hint)\n"
    )
    environ = {**os.environ, "HUD_HOME": str(tmp_path)}
    said = subprocess.run(
        [sys.executable, "-c", program], env=environ, capture_output=True, text=True, timeout=60
    )
    assert said.stdout.startswith("StoreError blobs in s3://bucket need the package s3fs"), said
    assert "hud-python[s3]" in said.stdout


def _kept(blobs: Blobs, content: bytes) -> str:
    sha256 = hashlib.sha256(content).hexdigest()
    blobs.write_all({sha256: content})
    return sha256
