"""The SFTP server as in a sandbox: a bare interpreter with two pipes, behind a real sshd."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import sys
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from pathlib import Path

import asyncssh

import hud.sandbox.guest.sftp

DEADLINE_S = 60
_GUEST = Path(hud.sandbox.guest.sftp.__file__).parent
_PROGRAM = """
import os, sys
sys.path.insert(0, sys.argv[1])
from guest.sftp import serve
if len(sys.argv) > 4:
    os.setgroups([])
    os.setgid(int(sys.argv[4]))
    os.setuid(int(sys.argv[4]))
serve(0, 1, start_dir=sys.argv[2], client_version=sys.argv[3])
"""


def place_guest(folder: Path) -> None:
    """Put what the server consists of into `folder`, where any uid can read it."""
    package = folder / "guest"
    package.mkdir()
    (package / "__init__.py").touch()
    for module in _GUEST.glob("sftp*.py"):
        shutil.copyfile(module, package / module.name)
    for path in (folder, package, *package.iterdir()):
        path.chmod(0o755)


def command(folder: Path, start_dir: Path, client_version: str = "") -> list[str]:
    """Return the command line of a server from `place_guest`'s folder."""
    return [sys.executable, "-I", "-S", "-c", _PROGRAM, str(folder), str(start_dir), client_version]


@dataclass(frozen=True)
class Bridge:
    """A running sshd whose files are served by our server.

    Attributes:
        key: Path of the private key it accepts.
        start: What relative paths are relative to.
    """

    port: int
    key: Path
    start: Path
    host_key: str

    @contextlib.asynccontextmanager
    async def client(self) -> AsyncGenerator[asyncssh.SFTPClient]:
        """Connect asyncssh's own client."""
        async with (
            asyncio.timeout(DEADLINE_S),
            asyncssh.connect(
                "127.0.0.1",
                self.port,
                username="agent",
                client_keys=[str(self.key)],
                known_hosts=None,
                config=None,
                agent_path=None,
            ) as connection,
            connection.start_sftp_client() as client,
        ):
            yield client


class _Session(asyncssh.SSHServerSession[bytes]):
    """One subsystem or command: the bytes of a child process, both ways."""

    def __init__(self, line: Callable[[_Session], list[str]], cwd: Path) -> None:
        self._line = line
        self._cwd = cwd
        self._input: asyncio.Queue[bytes] = asyncio.Queue()
        self._task: asyncio.Task[None] | None = None
        self.command: str | None = None
        self.client_version = ""

    def connection_made(self, chan: asyncssh.SSHServerChannel[bytes]) -> None:
        self._channel = chan
        self.client_version = str(chan.get_extra_info("client_version", ""))

    def subsystem_requested(self, subsystem: str) -> bool:
        return subsystem == "sftp"

    def exec_requested(self, command: str) -> bool:
        self.command = command
        return True

    def session_started(self) -> None:
        self._task = asyncio.create_task(self._pump())

    def data_received(self, data: bytes, datatype: int | None) -> None:
        self._input.put_nowait(data)

    def eof_received(self) -> bool:
        self._input.put_nowait(b"")
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self._input.put_nowait(b"")

    async def _pump(self) -> None:
        pipe = asyncio.subprocess.PIPE
        child = await asyncio.create_subprocess_exec(
            *self._line(self), stdin=pipe, stdout=pipe, cwd=self._cwd
        )
        assert child.stdin is not None
        assert child.stdout is not None
        feeding = asyncio.create_task(self._feed(child.stdin))
        while data := await child.stdout.read(1 << 18):
            self._channel.write(data)  # pyright: ignore[reportUnknownMemberType]
        code = await child.wait()
        self._channel.exit(code)
        feeding.cancel()
        await asyncio.wait([feeding])

    async def _feed(self, stdin: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await self._input.get():
                stdin.write(data)
                await stdin.drain()
        stdin.close()


def _new_key() -> asyncssh.SSHKey:
    return asyncssh.generate_private_key("ssh-ed25519")  # pyright: ignore[reportUnknownMemberType]


@contextlib.asynccontextmanager
async def bridge(folder: Path) -> AsyncGenerator[Bridge]:
    """Serve SFTP and commands in `folder / "start"`."""
    guest, start, key = folder / "guest", folder / "start", folder / "key"
    start.mkdir()
    guest.mkdir()
    place_guest(guest)
    private = _new_key()
    key.write_bytes(private.export_private_key())
    key.chmod(0o600)

    def line(session: _Session) -> list[str]:
        if session.command is not None:
            return ["/bin/sh", "-c", session.command]
        return command(guest, start, session.client_version)

    class Server(asyncssh.SSHServer):
        def session_requested(self) -> _Session:
            return _Session(line, start)

    host_key = _new_key()
    server = await asyncssh.create_server(
        Server,
        "127.0.0.1",
        0,
        server_host_keys=[host_key],
        authorized_client_keys=asyncssh.import_authorized_keys(
            private.export_public_key().decode()
        ),
        encoding=None,
    )
    try:
        public = host_key.export_public_key().decode().strip()
        yield Bridge(server.get_port(), key, start, public)
    finally:
        server.close()
        await server.wait_closed()
