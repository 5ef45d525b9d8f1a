"""A context may be anything at all: what is no plain tree of files is refused, and does no harm."""

from __future__ import annotations

import io
import tarfile
import zipfile

import httpx
import pytest

from tests.faults.table import Record
from tests.platform.builds.building import built, tarred
from tests.platform.server import Server


def _link(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname = kind, target
    return entry


def _bomb() -> bytes:
    entry = tarfile.TarInfo("zeros")
    entry.size = 3 << 30
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz", compresslevel=1) as archive:
        archive.addfile(entry, _Zeros())
    return out.getvalue()


def _zip_bomb() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros", bytes(64 << 20))
    return out.getvalue()


class _Zeros(io.RawIOBase):
    def read(self, size: int = -1, /) -> bytes:
        return bytes(size)


REFUSED = "the build fails with one sentence; nothing of it is unpacked outside its folder"
HOSTILE = {
    "a link out of it": [(_link("out", "/etc/passwd"), b"")],
    "a relative link out of it": [(_link("a/out", "../../x"), b"")],
    "a hard link out of it": [(_link("out", "/etc/passwd", tarfile.LNKTYPE), b"")],
    "a device": [(_link("null", "", tarfile.CHRTYPE), b"")],
    "a pipe": [(_link("pipe", "", tarfile.FIFOTYPE), b"")],
    "an absolute path": [(tarfile.TarInfo("/tmp/x"), b"")],
    "a path upwards": [(tarfile.TarInfo("../x"), b"")],
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_malicious_context_is_refused(
    server: Server, client: httpx.Client, what: str, attempt_row: Record
) -> None:
    done = built(server, client, tarred(HOSTILE[what]))
    assert done["status"] == "FAILED"
    assert "archive" in done["error_message"]
    attempt_row(by="a build context", what=f"bring {what}", came=REFUSED)


def test_a_context_that_unpacks_to_more_than_is_allowed_is_refused(
    server: Server, client: httpx.Client, attempt_row: Record
) -> None:
    done = built(server, client, _bomb())
    assert done["status"] == "FAILED"
    assert "unpacks to" in done["error_message"]
    attempt_row(by="a build context", what="unpack to 3 GiB of 3 MiB", came=REFUSED)


def test_what_is_no_archive_is_refused(
    server: Server, client: httpx.Client, attempt_row: Record
) -> None:
    for body in (b"not a tar at all", _zip_bomb()):
        done = built(server, client, body)
        assert done["status"] == "FAILED"
    attempt_row(by="a build context", what="be no archive, or a zip bomb", came=REFUSED)
