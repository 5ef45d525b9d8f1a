"""OpenSSH's own programs, and the published client, against our SFTP server."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest_asyncio

from hud.protocol.capability import Capability
from tests.needs import need_program
from tests.unit.sandbox.sftp_bridge import DEADLINE_S, Bridge, bridge
from tests.wire.peer.theirs import program


@pytest_asyncio.fixture
async def served(tmp_path: Path) -> AsyncGenerator[Bridge]:
    async with bridge(tmp_path) as served:
        yield served


def options(served: Bridge) -> list[str]:
    return [
        "-F/dev/null",
        f"-oIdentityFile={served.key}",
        "-oIdentitiesOnly=yes",
        "-oBatchMode=yes",
        "-oStrictHostKeyChecking=no",
        "-oUserKnownHostsFile=/dev/null",
        f"-oPort={served.port}",
    ]


async def output(*line: str | Path, said: bytes = b"") -> str:
    """Run a program to its successful end and return what it printed."""
    pipe = asyncio.subprocess.PIPE
    child = await asyncio.create_subprocess_exec(*line, stdin=pipe, stdout=pipe, stderr=pipe)
    try:
        async with asyncio.timeout(DEADLINE_S):
            told, errors = await child.communicate(said)
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    assert child.returncode == 0, errors.decode()
    return told.decode()


async def test_openssh_sftp_does_all_its_commands(served: Bridge, tmp_path: Path) -> None:
    sftp = need_program("sftp")
    content = os.urandom(3_000_000)
    (tmp_path / "up").write_bytes(content)
    batch = f"""
        put -p {tmp_path}/up folder-file
        mkdir folder
        rename folder-file folder/file
        chmod 640 folder/file
        symlink folder/file link
        ln folder/file hard
        df
        ls -la folder
        cd folder
        pwd
        get file {tmp_path}/down
        rm ../hard
    """
    told = await output(sftp, *options(served), "-b", "-", "agent@127.0.0.1", said=batch.encode())
    assert (tmp_path / "down").read_bytes() == content
    assert (served.start / "link").readlink() == Path("folder/file")
    assert (served.start / "folder/file").stat().st_mode & 0o777 == 0o640
    assert f"Remote working directory: {served.start}/folder" in told
    assert "-rw-r-----" in told
    assert not (served.start / "hard").exists()


async def test_scp_copies_folders_both_ways(served: Bridge, tmp_path: Path) -> None:
    scp = need_program("scp")
    (tmp_path / "tree/deep").mkdir(parents=True)
    (tmp_path / "tree/deep/file").write_text("x" * 100_000)
    there = f"agent@127.0.0.1:{served.start}/tree"
    await output(scp, *options(served), "-s", "-rp", tmp_path / "tree", there)
    await output(scp, *options(served), "-s", "-r", there, tmp_path / "back")
    assert (served.start / "tree/deep/file").read_text() == "x" * 100_000
    assert (tmp_path / "back/deep/file").read_text() == "x" * 100_000


async def test_the_published_client_works_with_files(
    served: Bridge, tmp_path: Path, peer_python: Path
) -> None:
    text = """
async def main(row):
    from hud.capabilities import Capability
    from hud.capabilities.ssh import SSHClient
    row = json.loads(row)
    cap = Capability(row["name"], row["protocol"], row["url"], row["params"])
    client = await SSHClient.connect(cap)
    await client.write_text("note.txt", "h\\u00e9llo")
    async with client.conn.start_sftp_client() as sftp:
        async with sftp.open("sent", "wb") as file:
            await file.write(bytes(range(256)) * 1000)
        names = sorted(await sftp.listdir("."))
    say([names, await client.read_text("note.txt"), len(await client.read_bytes("sent"))])
    say(await client.listdir("."))
    await client.close()
"""
    row = Capability.ssh(
        url=f"ssh://127.0.0.1:{served.port}",
        host_pubkey=served.host_key,
        client_key=served.key.read_text(),
    )
    folder = tmp_path / "theirs"
    folder.mkdir()
    async with program(peer_python, folder, text, json.dumps(row.to_manifest())) as theirs:
        assert await theirs.said() == [[".", "..", "note.txt", "sent"], "héllo", 256_000]
        assert await theirs.said() == ["note.txt", "sent"]
        await theirs.ended()
