"""An OpenSSH daemon as a person would start it by hand: own keys, own configuration, one port."""

from __future__ import annotations

import asyncio
import contextlib
import getpass
import os
import signal
import socket
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncssh

from hud._core.processes import descendants_of, kill_marked
from hud.capabilities import Capability
from tests.needs import need_program

DEADLINE_S = 60.0
MARK = "SSHD_OF_A_TEST"
"""In the environment of every command a daemon runs, so that none outlives it."""
_ATTEMPTS = 5

CONFIG = """\
ListenAddress 127.0.0.1:{port}
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/authorized_keys
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
AllowTcpForwarding yes
MaxSessions 100
MaxStartups 200
PrintMotd no
# SHLVL keeps bash from reading the files of whoever runs the tests.
SetEnv SHLVL=1 {mark}={folder}
Subsystem sftp internal-sftp
"""


@dataclass
class Sshd:
    """A running daemon."""

    process: asyncio.subprocess.Process
    port: int
    user: str
    host_pubkey: str
    client_key: str
    client_key_path: Path
    folder: Path

    def capability(self, name: str = "shell") -> Capability:
        """Return its row."""
        return Capability.ssh(
            name=name,
            url=f"ssh://127.0.0.1:{self.port}",
            user=self.user,
            host_pubkey=self.host_pubkey,
            client_key=self.client_key,
        )

    def kill_sessions(self) -> None:
        """Kill what serves the connections of now, and their commands; the daemon listens on."""
        for pid in descendants_of(self.process.pid):
            _kill(pid)

    async def kill(self) -> None:
        """Kill the daemon and everything it has started."""
        pids = descendants_of(self.process.pid)
        _kill(self.process.pid)
        for pid in pids:
            _kill(pid)
        async with asyncio.timeout(DEADLINE_S):
            await self.process.wait()
            left = await asyncio.to_thread(kill_marked, MARK, str(self.folder))
        assert not left, f"commands of a killed sshd live on: {left}"


@contextlib.asynccontextmanager
async def sshd(folder: Path) -> AsyncGenerator[Sshd]:
    """Run an OpenSSH daemon on a free loopback port; `folder` holds its keys and configuration."""
    program = need_program("sshd")
    folder.mkdir(parents=True, exist_ok=True)
    host_key, client_key = new_key(), new_key()
    client_key_path = folder / "client_key"
    for path, key in ((folder / "host_key", host_key), (client_key_path, client_key)):
        path.touch(mode=0o600)
        path.write_bytes(key.export_private_key())
    (folder / "authorized_keys").write_bytes(client_key.export_public_key())
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    process, port = await _started(program, folder)
    daemon = Sshd(
        process,
        port,
        getpass.getuser(),
        host_key.export_public_key().decode(),
        client_key.export_private_key().decode(),
        client_key_path,
        folder,
    )
    try:
        yield daemon
    finally:
        await daemon.kill()


def new_key() -> asyncssh.SSHKey:
    """Return a fresh key pair."""
    generate: Any = asyncssh.generate_private_key  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    return generate("ssh-ed25519")


async def _started(program: str, folder: Path) -> tuple[asyncio.subprocess.Process, int]:
    """Start the daemon; it cannot choose a port itself, so one that is taken is tried again."""
    for _ in range(_ATTEMPTS):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port: int = probe.getsockname()[1]
        config = folder / "sshd_config"
        config.write_text(CONFIG.format(port=port, folder=folder, mark=MARK), encoding="utf-8")
        with (folder / "sshd.log").open("wb") as log:
            process = await asyncio.create_subprocess_exec(
                program,
                *("-D", "-e", "-f", str(config)),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        if await _listens(process, port):
            return process, port
        await process.wait()
    raise AssertionError(f"sshd did not start: {(folder / 'sshd.log').read_text()[-2000:]}")


async def _listens(process: asyncio.subprocess.Process, port: int) -> bool:
    """Wait until the daemon greets; false when it ended instead."""
    async with asyncio.timeout(DEADLINE_S):
        while process.returncode is None:
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.01)
                continue
            try:
                greeting = await reader.readline()
            finally:
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()
            if greeting.startswith(b"SSH-2.0-"):
                return process.returncode is None
    return False


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, signal.SIGKILL)
