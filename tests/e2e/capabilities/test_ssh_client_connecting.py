"""SSHClient connects to what its row names, with nothing else of this machine."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest

from hud import Environment
from hud.capabilities import SSHClient
from hud.clients import connect
from hud.errors import CapabilityFault, InputError
from hud.runtimes.base import Runtime
from hud.runtimes.local import LocalRuntime
from tests.e2e.capabilities.ssh_clients import daemon, having, shell
from tests.e2e.capabilities.sshd import Sshd, new_key
from tests.wire.peer.theirs import running

__all__ = ["daemon", "shell"]


async def test_a_daemon_with_another_host_key_is_a_fault(daemon: Sshd) -> None:
    other = new_key().export_public_key().decode()

    with pytest.raises(CapabilityFault, match="its host key is not the one in the row"):
        await SSHClient.connect(having(daemon.capability(), host_pubkey=other))


@pytest.mark.parametrize("missing", [None, "", "  "])
async def test_a_row_without_a_host_key_is_refused(daemon: Sshd, missing: str | None) -> None:
    with pytest.raises(InputError, match="names no host key") as caught:
        await SSHClient.connect(having(daemon.capability(), host_pubkey=missing))
    assert caught.value.hint is not None
    assert "host_pubkey" in caught.value.hint


async def test_a_row_may_accept_any_host_key(daemon: Sshd) -> None:
    async with await SSHClient.connect(having(daemon.capability(), host_pubkey="*")) as shell:
        assert (await shell.execute("echo in")).stdout == "in\n"


async def test_one_of_several_host_keys_is_enough(daemon: Sshd) -> None:
    keys = f"{new_key().export_public_key().decode()}\n{daemon.host_pubkey}"
    async with await SSHClient.connect(having(daemon.capability(), host_pubkey=keys)) as shell:
        assert (await shell.execute("echo in")).stdout == "in\n"


async def test_the_key_may_be_in_a_file(daemon: Sshd) -> None:
    path = str(daemon.client_key_path)
    row = having(daemon.capability(), client_key=None, client_key_path=path)
    async with await SSHClient.connect(row) as shell:
        assert (await shell.execute("echo in")).stdout == "in\n"


@pytest.mark.parametrize(
    ("params", "says"),
    [
        ({"host_pubkey": "ssh-ed25519 nonsense"}, "host_pubkey is no public key"),
        ({"client_key": "nonsense"}, "no private key"),
        ({"client_key": None, "client_key_path": "/nowhere/key"}, "cannot be read"),
    ],
)
async def test_a_row_with_unusable_keys_is_an_input_error(
    daemon: Sshd, params: dict[str, Any], says: str
) -> None:
    with pytest.raises(InputError, match=says):
        await SSHClient.connect(having(daemon.capability(), **params))


async def test_a_key_the_daemon_does_not_know_is_a_fault(daemon: Sshd) -> None:
    key = new_key().export_private_key().decode()

    with pytest.raises(CapabilityFault, match="refused user") as caught:
        await SSHClient.connect(having(daemon.capability(), client_key=key))
    assert key not in str(caught.value)


async def test_nothing_of_this_machines_user_is_used(
    daemon: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither its configuration and known hosts, nor its keys, nor its agent."""
    home, touched = tmp_path / "home", tmp_path / "touched"
    (home / ".ssh").mkdir(parents=True)
    (home / ".ssh" / "config").write_text(
        f"Host *\n  ProxyCommand touch {touched}\n  User nobody\n  ForwardAgent yes\n"
        "  Compression yes\n"
    )
    (home / ".ssh" / "id_ed25519").write_text(daemon.client_key)
    other = new_key().export_public_key().decode()
    (home / ".ssh" / "known_hosts").write_text(f"[127.0.0.1]:{daemon.port} {other}")
    asked: list[None] = []

    def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(None)
        writer.close()

    agent = await asyncio.start_unix_server(answer, tmp_path / "agent")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("SSH_AUTH_SOCK", str(tmp_path / "agent"))
    async with agent:
        async with await SSHClient.connect(daemon.capability()) as shell:
            result = await shell.execute("echo $USER ${SSH_AUTH_SOCK:-none}")
            assert result.stdout == f"{daemon.user} none\n"
            assert shell.conn.get_extra_info("send_compression") == "none"
            assert shell.conn.get_extra_info("recv_compression") == "none"

        with pytest.raises(CapabilityFault, match="refused user"):
            await SSHClient.connect(having(daemon.capability(), client_key=None))
    assert not asked
    assert not touched.exists()


async def test_it_is_opened_through_an_environment(daemon: Sshd) -> None:
    env = Environment("with a shell", capabilities=[daemon.capability()])

    @env.template()
    async def work() -> AsyncGenerator[Any, Any]:
        yield "work"
        yield 1.0

    task = env.tasks["work"]()
    async with LocalRuntime(env) as runtime, runtime(task) as place, connect(place) as client:
        shell = await client.open("ssh", SSHClient)
        assert await client.open("shell") is shell
        assert (await shell.execute("echo in")).stdout == "in\n"
        await client.close()
        assert shell.is_closed


THEIR_ENVIRONMENT = """
from hud.environment import Environment

env = Environment("theirs")
env.workspace("work")

@env.template()
async def it():
    yield "p"
    yield 1.0
"""


async def test_the_published_environment_s_workspace_is_driven(
    tmp_path: Path, peer_python: Path
) -> None:
    (tmp_path / "work").mkdir()
    (tmp_path / "env.py").write_text(THEIR_ENVIRONMENT, encoding="utf-8")
    command = ("-W", "ignore", "-m", "hud.environment.server", "env.py", "--port", "0")
    async with running(peer_python, *command, cwd=tmp_path) as process:
        line = ""
        while not line.startswith("HUD_SERVE_PORT="):
            line = await process.line()
            assert line, "their server ended"
        port = line.strip().partition("=")[2]
        async with connect(Runtime(f"tcp://127.0.0.1:{port}")) as client:
            shell = await client.open("ssh", SSHClient)
            result = await shell.execute("echo said; echo so >&2; exit 3")
            assert (result.exit_status, result.stdout, result.stderr) == (3, "said\n", "so\n")
            await shell.write_text("a file", "héllo\n")
            assert (tmp_path / "work" / "a file").read_text() == "héllo\n"
            assert await shell.read_text("a file") == "héllo\n"
            assert await shell.listdir(".") == ["a file"]
            assert (await shell.stat("a file")).size_bytes == 7
            with pytest.raises(FileNotFoundError):
                await shell.read_text("none")
            assert (await shell.execute("sleep 1000", timeout_s=0.2)).timed_out
            assert (await shell.execute("echo on")).stdout == "on\n"


async def test_a_peer_that_takes_connections_and_says_nothing_is_a_fault(daemon: Sshd) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        row = daemon.capability().with_address("127.0.0.1", silent.getsockname()[1])
        with pytest.raises(CapabilityFault, match=r"no SSH session within 0\.2 s"):
            await SSHClient.connect(row, connect_timeout_s=0.2)
