"""SSHClient against an OpenSSH daemon started by hand: commands, limits, files, faults."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
from collections.abc import AsyncGenerator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import asyncssh
import pytest

from hud import Environment
from hud.capabilities import Capability, SSHClient
from hud.capabilities.ssh import CommandResult
from hud.clients import connect
from hud.errors import CapabilityFault, InputError
from hud.runtimes.base import Runtime
from hud.runtimes.local import LocalRuntime
from tests.e2e.capabilities.sshd import DEADLINE_S, Sshd, new_key, sshd
from tests.wire.harness import own_tasks, until
from tests.wire.peer.theirs import running


@pytest.fixture
async def daemon(tmp_path: Path) -> AsyncGenerator[Sshd]:
    async with sshd(tmp_path / "sshd") as daemon:
        yield daemon


@pytest.fixture
async def shell(daemon: Sshd) -> AsyncGenerator[SSHClient]:
    async with await SSHClient.connect(daemon.capability()) as client:
        yield client


def having(row: Capability, **params: Any) -> Capability:
    """Return a row with other params; None takes one away."""
    kept = {key: value for key, value in {**row.params, **params}.items() if value is not None}
    return replace(row, params=kept)


def alive(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


async def pid_in(path: Path) -> int:
    """Wait until a command has written its pid."""
    await until(lambda: path.exists() and path.read_text().endswith("\n"))
    return int(path.read_text())


# Connecting


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


# Commands


async def test_a_command_tells_how_it_ended(shell: SSHClient) -> None:
    assert await shell.execute("echo said; echo so >&2; exit 3") == CommandResult(
        exit_status=3,
        exit_signal=None,
        stdout="said\n",
        stderr="so\n",
        stdout_truncated=False,
        stderr_truncated=False,
        stdout_bytes=5,
        stderr_bytes=3,
        timed_out=False,
        left_running=False,
    )
    assert (await shell.execute("true")).ok
    assert not (await shell.execute("false")).ok
    killed = await shell.execute("kill -SEGV $$")
    assert (killed.exit_status, killed.exit_signal) == (None, "SEGV")


async def test_directory_variables_and_input_reach_the_command(
    shell: SSHClient, tmp_path: Path
) -> None:
    folder = tmp_path / "-a folder's"
    folder.mkdir()
    result = await shell.execute(
        'pwd; echo "$ONE $TWO"; cat',
        cwd=str(folder),
        env={"ONE": "it's $HOME", "TWO": 'a "b"\nc'},
        stdin="ünïcode\n",
    )
    assert result.stdout == f'{folder}\nit\'s $HOME a "b"\nc\nünïcode\n'
    assert (await shell.execute("cat")).stdout == "", "input is at its end, not the test's own"


async def test_a_directory_that_is_not_there_runs_nothing(shell: SSHClient) -> None:
    result = await shell.execute("echo ran", cwd="/nowhere at all")

    assert (result.ok, result.stdout) == (False, "")
    assert "/nowhere at all" in result.stderr


@pytest.mark.parametrize(
    ("command", "stdout"),
    [
        ("", ""),
        ("  \n", ""),
        ("# only a comment", ""),
        ("cat <<EOF\nhere\nEOF", "here\n"),
        ("printf '%s' \"a'b\"", "a'b"),
        ("printf '\\377\\303\\050'", "\ufffd\ufffd("),
        ("echo ok &", "ok\n"),
        ("printf \ud83d", "?"),
    ],
)
async def test_any_command_line_can_be_run(shell: SSHClient, command: str, stdout: str) -> None:
    result = await shell.execute(command)

    assert (result.exit_status, result.stdout) == (0, stdout)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"command": "echo a\0b"}, "NUL"),
        ({"command": f"echo {'x' * 200_000}"}, "longer than"),
        ({"command": "true", "env": {"A=B; touch x": "c"}}, "has a name no shell takes"),
    ],
)
async def test_what_no_shell_could_be_given_is_an_input_error(
    shell: SSHClient, arguments: dict[str, Any], says: str
) -> None:
    with pytest.raises(InputError, match=says):
        await shell.execute(**arguments)
    assert (await shell.execute("echo on")).stdout == "on\n"


async def test_much_output_is_its_beginning_and_its_end(shell: SSHClient) -> None:
    result = await shell.execute("seq 100000; seq 3 >&2", max_output_bytes=1000)

    head, gap, tail = result.stdout.partition("\n[587895 bytes left out]\n")
    assert gap, result.stdout
    assert (len(head), len(tail)) == (500, 500)
    assert head.startswith("1\n2\n3\n")
    assert tail.endswith("\n99999\n100000\n")
    assert (result.stdout_truncated, result.stdout_bytes) == (True, 588_895)
    assert (result.stderr_truncated, result.stderr) == (False, "1\n2\n3\n")
    for limit in (0, 1, 2, 588_894):
        assert (await shell.execute("seq 100000", max_output_bytes=limit)).stdout_truncated
    whole = await shell.execute("seq 100000", max_output_bytes=588_895)
    assert whole.stdout == "".join(f"{number}\n" for number in range(1, 100_001))


async def test_output_is_never_cut_in_the_middle_of_a_character(shell: SSHClient) -> None:
    for limit in range(12, 24):
        result = await shell.execute("yes €ä | head -n 1000 | tr -d '\\n'", max_output_bytes=limit)
        assert result.stdout_truncated
        assert "\ufffd" not in result.stdout, result.stdout


async def test_output_without_end_lasts_until_the_time_is_up(shell: SSHClient) -> None:
    result = await shell.execute("yes", timeout_s=1.0, max_output_bytes=1000)

    assert result.timed_out
    assert result.exit_status is None
    assert result.stdout_bytes > 1000
    assert len(result.stdout) < 1100
    assert (await shell.execute("echo on")).stdout == "on\n"


async def test_much_input_is_fed(shell: SSHClient) -> None:
    data = os.urandom(1 << 20) * 20

    assert (await shell.execute("wc -c", stdin=data)).stdout.strip() == str(len(data))
    assert (await shell.execute("head -c 1 >/dev/null; echo done", stdin=data)).stdout == "done\n"


async def test_a_command_that_ignores_being_asked_is_killed_when_its_time_is_up(
    shell: SSHClient, tmp_path: Path
) -> None:
    note = tmp_path / "pid"
    result = await shell.execute(
        f"trap '' TERM HUP; echo $$ > {note}; echo begun; while :; do sleep 0.05; done",
        timeout_s=3.0,
    )

    assert (result.timed_out, result.exit_status, result.stdout) == (True, None, "begun\n")
    assert not alive(await pid_in(note))
    assert (await shell.execute("echo on")).stdout == "on\n"


async def test_a_cancelled_command_is_killed(shell: SSHClient, tmp_path: Path) -> None:
    note = tmp_path / "pid"
    before = own_tasks()
    command = f"trap '' TERM HUP; echo $$ > {note}; sleep 1000 & wait"
    work = asyncio.create_task(shell.execute(command))
    pid = await pid_in(note)

    work.cancel()
    await asyncio.wait([work])

    assert work.cancelled()
    await until(lambda: not alive(pid))
    await until(lambda: own_tasks() <= before)
    assert (await shell.execute("echo on")).stdout == "on\n"


async def test_a_command_cancelled_at_any_moment_leaves_nothing_behind(
    daemon: Sshd, shell: SSHClient
) -> None:
    marker = f"{daemon.port}.25"
    before = own_tasks()
    for part in range(40):
        work = asyncio.create_task(shell.execute(f"sleep {marker}"))
        await asyncio.wait([work], timeout=part / 5000)
        work.cancel()
        await asyncio.wait([work])
        assert work.cancelled()

    await until(lambda: own_tasks() <= before)
    assert (await shell.execute("echo on")).stdout == "on\n"
    await until(lambda: not running_with(f"sleep\0{marker}"))


def running_with(text: str) -> list[str]:
    """Return the processes whose arguments hold a text."""
    found: list[str] = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if text in (entry / "cmdline").read_text("utf-8", "replace"):
                found.append(entry.name)
    return found


async def test_fifty_commands_run_side_by_side(shell: SSHClient) -> None:
    results = await asyncio.gather(*(shell.execute(f"echo {n}; exit {n}") for n in range(50)))

    assert [result.stdout for result in results] == [f"{n}\n" for n in range(50)]
    assert [result.exit_status for result in results] == list(range(50))


async def test_what_a_command_leaves_running_goes_on(shell: SSHClient, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    result = await shell.execute(f"(cat {pipe}; echo noise; echo more > {tmp_path}/out) & echo up")

    assert (result.exit_status, result.stdout, result.left_running) == (0, "up\n", True)
    for _ in range(3):
        assert (await shell.execute("echo next")).stdout == "next\n"
    await shell.execute(f"echo go > {pipe}")
    await until((tmp_path / "out").exists)
    quiet = await shell.execute("sleep 0.01 > /dev/null 2>&1 & echo up")
    assert (quiet.stdout, quiet.left_running) == ("up\n", False)


async def test_many_may_be_left_running(shell: SSHClient, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    command = f"cat {tmp_path}/pipe & echo $!"
    results = await asyncio.gather(*(shell.execute(command) for _ in range(12)))
    pids = [int(result.stdout) for result in results]

    assert all(result.left_running for result in results)
    assert all(map(alive, pids))
    await shell.execute(f"kill {' '.join(map(str, pids))}")
    await until(lambda: not any(map(alive, pids)))


async def test_run_and_create_process_are_asyncssh_s_own(shell: SSHClient) -> None:
    done = await shell.run("echo said; exit 2")
    assert (done.stdout, done.exit_status) == ("said\n", 2)
    with pytest.raises(asyncssh.ProcessError):
        await shell.run("exit 2", check=True)
    process = await shell.create_process("cat; exit 5")
    process.stdin.write(b"\xff\x00")
    process.stdin.write_eof()
    assert await process.stdout.read() == b"\xff\x00"
    await process.wait_closed()
    assert process.exit_status == 5


async def test_run_ends_its_command_with_its_time_or_its_caller() -> None:
    async with (
        own_daemon(lambda session: None) as (row, seen),
        await SSHClient.connect(row) as shell,
    ):
        with pytest.raises(asyncssh.TimeoutError):
            await shell.run("work", timeout=1)
        work = asyncio.create_task(shell.run("work on"))
        await until(lambda: "work on" in seen)
        work.cancel()
        await asyncio.wait([work])
        await until(lambda: len(seen) == 4)

    assert seen == ["work", "KILL", "work on", "KILL"]


# What breaks


@pytest.mark.parametrize("how", ["execute", "run", "read_text"])
async def test_a_connection_that_dies_is_a_fault_and_the_next_call_makes_another(
    daemon: Sshd, shell: SSHClient, tmp_path: Path, how: str
) -> None:
    note, pipe = tmp_path / "pid", tmp_path / "pipe"
    os.mkfifo(pipe)
    match how:
        case "execute":
            work = shell.execute(f"echo $$ > {note}; exec sleep 1000", timeout_s=None)
        case "run":
            work = shell.run(f"echo $$ > {note}; exec sleep 1000")
        case _:
            note.write_text("0\n")
            work = shell.read_text(str(pipe))
    running_call: asyncio.Task[Any] = asyncio.create_task(work)
    await pid_in(note)
    if how == "read_text":
        await until(lambda: bool(running_with(str(pipe))))

    daemon.kill_sessions()

    with pytest.raises(CapabilityFault, match="connection was lost"):
        async with asyncio.timeout(DEADLINE_S):
            await running_call
    assert (await shell.execute("echo on")).stdout == "on\n"


async def test_concurrent_calls_after_a_loss_share_one_new_connection(
    daemon: Sshd, shell: SSHClient
) -> None:
    first = shell.conn
    daemon.kill_sessions()
    await until(first.is_closed)

    results = await asyncio.gather(*(shell.execute("echo $PPID") for _ in range(10)))

    assert shell.conn is not first
    assert len({result.stdout for result in results}) == 1


async def test_a_daemon_that_is_gone_is_a_fault(daemon: Sshd, shell: SSHClient) -> None:
    await daemon.kill()
    await until(shell.conn.is_closed)

    calls: list[Callable[[], Any]] = [
        lambda: shell.execute("true"),
        lambda: shell.run("true"),
        lambda: shell.create_process("true"),
        lambda: shell.read_text("/etc/hostname"),
    ]
    for call in calls:
        with pytest.raises(CapabilityFault, match="cannot connect"):
            await call()


async def test_a_closed_client_is_not_connected_again(shell: SSHClient) -> None:
    work = asyncio.create_task(shell.execute("sleep 1000"))
    await until(lambda: bool(running_with("sleep\x001000\0")))
    await shell.close()

    with pytest.raises(CapabilityFault):
        await work
    with pytest.raises(CapabilityFault, match="its client is closed"):
        await shell.execute("true")


async def test_a_session_that_ends_without_a_word_is_a_result() -> None:
    """As where a command kills what its daemon put around it; the connection is fine."""
    async with (
        own_daemon(lambda session: session.channel.abort()) as (row, _),
        await SSHClient.connect(row) as shell,
    ):
        for _ in range(2):
            result = await shell.execute("kill -9 1")

            assert (result.exit_status, result.exit_signal) == (None, None)
            assert not result.timed_out


async def test_a_daemon_that_takes_signals_is_sent_them() -> None:
    async with (
        own_daemon(lambda session: None) as (row, seen),
        await SSHClient.connect(row) as shell,
    ):
        result = await shell.execute("work", timeout_s=1)
        assert result.timed_out
        work = asyncio.create_task(shell.execute("work on"))
        await until(lambda: "work on" in seen)
        work.cancel()
        await asyncio.wait([work])
        await until(lambda: len(seen) == 5)

    assert seen == ["work", "TERM", "KILL", "work on", "KILL"], "and no command carries a mark"


@contextlib.asynccontextmanager
async def own_daemon(
    serve: Callable[[Any], None],
) -> AsyncGenerator[tuple[Capability, list[str]]]:
    """Run an asyncssh daemon that notes its commands and signals and leaves the rest to `serve`."""
    seen: list[str] = []

    class Session(asyncssh.SSHServerSession[bytes]):
        channel: Any = None

        def connection_made(self, chan: Any) -> None:
            self.channel = chan

        def exec_requested(self, command: str) -> bool:
            seen.append(command)
            return True

        def session_started(self) -> None:
            serve(self)

        def eof_received(self) -> bool:
            return True

        def signal_received(self, signal: str) -> None:
            seen.append(signal)
            if signal == "KILL":
                self.channel.exit_with_signal("KILL")

    class Server(asyncssh.SSHServer):
        def begin_auth(self, username: str) -> bool:
            return False

        def session_requested(self) -> Any:
            return Session()

    key = new_key()
    server = await asyncssh.create_server(Server, "127.0.0.1", 0, server_host_keys=[key])
    async with server:
        port = server.sockets[0].getsockname()[1]
        pubkey = key.export_public_key().decode()
        yield Capability.ssh(url=f"127.0.0.1:{port}", host_pubkey=pubkey), seen
        server.close()
        await server.wait_closed()


# Files


NAMES = ["plain", "with space", "-n", "quo'te\"$HOME`", "new\nline", "ünï", "*", "\udcff\udcfe"]


@pytest.mark.parametrize("name", NAMES)
async def test_files_of_any_name_are_written_read_and_listed(
    shell: SSHClient, tmp_path: Path, name: str
) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    path = f"{folder}/{name}"

    await shell.write_text(path, "héllo\n")

    assert (folder / name).read_text() == "héllo\n"
    assert await shell.read_text(path) == "héllo\n"
    assert await shell.listdir(str(folder)) == [name]
    assert await shell.exists(path)
    assert (await shell.stat(path)).size_bytes == 7


async def test_relative_paths_begin_where_sessions_begin(shell: SSHClient) -> None:
    home = (await shell.execute("pwd")).stdout.strip()
    name = f"-hud-test-{os.getpid()}"
    try:
        await shell.write_text(name, "here")
        assert (await shell.read_text(name), Path(home, name).read_text()) == ("here", "here")
    finally:
        Path(home, name).unlink(missing_ok=True)


@pytest.mark.parametrize("content", [b"", b"\x00\xff\n\r\n", bytes(range(256)) * 20_000])
async def test_bytes_stay_as_they_are(shell: SSHClient, tmp_path: Path, content: bytes) -> None:
    path = str(tmp_path / "file")
    await shell.write_bytes(path, b"something longer that was there before" * 10)

    await shell.write_bytes(path, content)

    assert Path(path).read_bytes() == content
    assert await shell.read_bytes(path) == content


async def test_a_large_directory_is_listed(shell: SSHClient, tmp_path: Path) -> None:
    names = sorted(f"file-{number}" for number in range(5000))
    for name in [*names, ".hidden"]:
        (tmp_path / name).touch()
    (tmp_path / "sshd").rename(tmp_path.parent / f"{tmp_path.name}-sshd")

    assert await shell.listdir(f"{tmp_path}/") == [".hidden", *names]
    assert await shell.listdir("/") == sorted(os.listdir("/"))  # noqa: PTH208


async def test_file_errors_are_those_of_a_local_call(shell: SSHClient, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to("loop")
    cases: list[tuple[Any, type[OSError], int]] = [
        (shell.read_text(f"{tmp_path}/none"), FileNotFoundError, errno.ENOENT),
        (shell.read_text(str(tmp_path)), IsADirectoryError, errno.EISDIR),
        (shell.read_text(f"{tmp_path}/file/below"), NotADirectoryError, errno.ENOTDIR),
        (shell.read_text(f"{tmp_path}/loop"), OSError, errno.ELOOP),
        (shell.read_text(""), FileNotFoundError, errno.ENOENT),
        (shell.write_text(f"{tmp_path}/none/below", "x"), FileNotFoundError, errno.ENOENT),
        (shell.write_text(str(tmp_path), "x"), IsADirectoryError, errno.EISDIR),
        (shell.write_text("/proc/version", "x"), OSError, errno.EIO),
        (shell.write_bytes("/dev/full", b"x"), OSError, errno.ENOSPC),
        (shell.listdir(f"{tmp_path}/none"), FileNotFoundError, errno.ENOENT),
        (shell.listdir(f"{tmp_path}/file"), NotADirectoryError, errno.ENOTDIR),
        (shell.listdir(""), FileNotFoundError, errno.ENOENT),
        (shell.stat(f"{tmp_path}/none"), FileNotFoundError, errno.ENOENT),
        (shell.read_bytes("/dev/zero", max_bytes=1000), OSError, errno.EFBIG),
    ]
    for call, kind, number in cases:
        with pytest.raises(kind) as caught:
            await call
        assert caught.value.errno == number, caught.value


async def test_a_file_of_just_the_limit_is_read(shell: SSHClient, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x" * 1001)

    assert len(await shell.read_bytes(f"{tmp_path}/file", max_bytes=1001)) == 1001
    with pytest.raises(OSError, match="more than 1000 bytes"):
        await shell.read_bytes(f"{tmp_path}/file", max_bytes=1000)


async def test_reading_what_never_ends_ends_with_the_time(shell: SSHClient, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")

    with pytest.raises(TimeoutError, match="pipe"):
        await shell.read_text(f"{tmp_path}/pipe", timeout_s=0.2)

    await until(lambda: not running_with(f"{tmp_path}/pipe"))


async def test_what_a_path_is_can_be_asked(shell: SSHClient, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"12345")
    os.utime(tmp_path / "file", (1_000_000_000, 1_000_000_000))
    (tmp_path / "file").chmod(0o640)
    (tmp_path / "link").symlink_to("file")
    (tmp_path / "dangling").symlink_to("nothing")

    for name in ("file", "link"):
        stat = await shell.stat(f"{tmp_path}/{name}")
        assert (stat.size_bytes, stat.mode, stat.modified_s) == (5, 0o100640, 1_000_000_000)
        assert (stat.is_file, stat.is_dir) == (True, False)
    folder = await shell.stat(str(tmp_path))
    assert (folder.is_file, folder.is_dir) == (False, True)
    found = [await shell.exists(f"{tmp_path}/{name}") for name in ("file", "link", "dangling", "x")]
    assert found == [True, True, False, False]


async def test_a_windows_shell_has_no_file_methods(daemon: Sshd) -> None:
    row = having(daemon.capability(), shell="powershell")
    async with await SSHClient.connect(row) as shell:
        with pytest.raises(InputError, match="powershell"):
            await shell.read_text("x")
        assert (await shell.run("echo said")).stdout == "said\n"


async def test_a_peer_that_takes_connections_and_says_nothing_is_a_fault(daemon: Sshd) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        row = daemon.capability().with_address("127.0.0.1", silent.getsockname()[1])
        with pytest.raises(CapabilityFault, match=r"no SSH session within 0\.2 s"):
            await SSHClient.connect(row, connect_timeout_s=0.2)
