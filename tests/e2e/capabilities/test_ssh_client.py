"""SSHClient against an OpenSSH daemon started by hand: commands, limits, faults."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import Any

import asyncssh
import pytest

from hud.capabilities import Capability, SSHClient
from hud.capabilities.ssh import CommandResult
from hud.errors import CapabilityFault, InputError
from tests.e2e.capabilities.ssh_clients import alive, daemon, pid_in, running_with, shell
from tests.e2e.capabilities.sshd import DEADLINE_S, Sshd, new_key
from tests.wire.harness import own_tasks, until

__all__ = ["daemon", "shell"]


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
