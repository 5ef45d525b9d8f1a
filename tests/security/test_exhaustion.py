"""An agent uses up what there is: every attempt is bounded and said, and the next command works."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Generator
from typing import Any

import asyncssh
import pytest

from hud.capabilities.ssh import CommandResult, SSHClient
from hud.errors import CapabilityFault
from tests.security.world import DEADLINE_S, PYTHON, Agent, Served, agent_of, serving

LIMITS = {
    "memory_mb": 256,
    "processes": 100,
    "open_files": 256,
    "file_mb": 32,
    "disk_mb": 100,
    "disk_files": 500,
}


@pytest.fixture(scope="module", params=["bwrap", "uid"])
def small(request: pytest.FixtureRequest) -> Generator[Served]:
    with serving(str(request.param), limits=LIMITS) as served:
        yield served


@pytest.fixture
async def agent(small: Served) -> AsyncGenerator[Agent]:
    async with agent_of(small) as found:
        yield found


async def reported(agent: Agent, says: str) -> CommandResult:
    """Run commands until one is told what happened; a watcher takes its time to notice."""
    async with asyncio.timeout(DEADLINE_S):
        while True:
            result = await agent.sh("echo next")
            assert (result.exit_status, result.stdout) == (0, "next\n"), result
            if says in result.stderr:
                return result


@pytest.mark.parametrize(
    "bomb",
    [
        ":(){ :|:& };:",
        "while :; do (while :; do (sleep 1000 &) ; done) & done",
        f"{PYTHON} -c 'import os\nwhile True:\n try: os.fork()\n except OSError: pass'",
        (
            f"{PYTHON} -c 'import os\nwhile True:\n try:\n  if os.fork() == 0: os.setsid()\n"
            " except OSError: pass'"
        ),
    ],
)
async def test_a_fork_bomb_is_bounded(agent: Agent, bomb: str) -> None:
    await agent.sh(bomb, timeout_s=1.0)
    for _ in range(3):
        await agent.works()


async def test_a_bomb_in_the_background_is_ended_and_reported(agent: Agent) -> None:
    result = await agent.python(
        "import os, time\nwhile True:\n    try: child = os.fork()\n"
        "    except OSError as error: print(error.strerror); break\n"
        "    if child == 0:\n        os.setsid(); os.closerange(0, 64); time.sleep(1000)\n"
    )
    assert "temporarily unavailable" in result.stdout, result
    told = await agent.sh("echo next")
    assert told.stdout == "next\n", told
    assert "processes that ran here were ended" in told.stderr, told
    await agent.works()


async def test_threads_count_as_processes(agent: Agent) -> None:
    result = await agent.python(
        "import threading, time\nheld = []\ntry:\n    while len(held) < 1000:\n"
        "        held.append(threading.Thread(target=time.sleep, args=(1000,), daemon=True))\n"
        "        held[-1].start()\nexcept RuntimeError as error:\n    print(len(held), error)\n"
    )
    count = int(result.stdout.split()[0])
    assert 10 < count <= 101, result
    await agent.works()


@pytest.mark.parametrize(
    "bomb",
    [
        "held = []\nwhile True: held.append(bytearray(1 << 24))",
        (
            "import mmap\nheld = []\nwhile True:\n    held.append(mmap.mmap(-1, 1 << 24))\n"
            "    held[-1].write(b'x' * (1 << 24))"
        ),
        "import os\nfd = os.memfd_create('x')\nwhile True: os.write(fd, b'x' * (1 << 22))",
        (
            "import os\nfor _ in range(30):\n    if os.fork() == 0:\n        held = []\n"
            "        while True: held.append(bytearray(1 << 22))\nos.wait()\nraise SystemExit(1)"
        ),
    ],
)
async def test_a_memory_bomb_is_bounded(agent: Agent, bomb: str) -> None:
    result = await agent.python(bomb, timeout_s=20.0)

    assert result.exit_status != 0, result
    assert not result.timed_out, result
    for _ in range(2):
        await agent.works()


@pytest.mark.parametrize("place", ["/tmp", "/dev/shm", "/var/tmp", "~"])
async def test_temporary_folders_have_a_limit(agent: Agent, place: str) -> None:
    result = await agent.sh(
        f"cd {place} && for i in $(seq 40); do head -c 20M /dev/zero > fill$i || break;"
        " sleep 0.1; done; du -sm . | cut -f1",
        timeout_s=120.0,
    )
    assert not result.timed_out
    assert result.exit_status != 0 or result.stderr or int(result.stdout) < 400, result
    assert "800" not in result.stdout
    for _ in range(2):
        await agent.works()


@pytest.mark.parametrize(
    "command",
    [
        "truncate -s 100G huge",
        "fallocate -l 100G huge",
        "dd if=/dev/zero of=huge bs=1M seek=102400 count=1",
        "head -c 40M /dev/zero > huge",
        f'{PYTHON} -c \'open("huge", "wb").truncate(100 << 30)\'',
    ],
)
async def test_a_huge_file_is_refused(agent: Agent, command: str) -> None:
    result = await agent.sh(command)

    assert result.exit_status != 0, result
    size = await agent.sh("stat -c %s huge 2>/dev/null || echo 0")
    assert int(size.stdout) <= LIMITS["file_mb"] << 20
    await agent.works()


async def test_a_huge_file_is_refused_over_sftp(agent: Agent) -> None:
    async with agent.shell.conn.start_sftp_client() as sftp:
        async with sftp.open("huge", "wb") as file:
            with pytest.raises(asyncssh.SFTPError):
                await file.write(b"x", 100 << 30)
        with pytest.raises(asyncssh.SFTPError):
            await sftp.truncate("huge", 100 << 30)
        assert (await sftp.stat("huge")).size == 0
        assert await sftp.listdir(".")
    await agent.works()


async def test_a_full_disk_ends_what_fills_it(agent: Agent) -> None:
    result = await agent.sh("for i in $(seq 1000); do head -c 8M /dev/zero > fill$i; done")

    assert result.exit_status is None, result
    assert result.exit_signal == "KILL"
    held = sum(path.stat().st_blocks * 512 for path in agent.served.root.iterdir())
    assert held < 4000 << 20
    told = await reported(agent, "the workspace holds more than its limit of 100 MB")
    assert told.stdout == "next\n"
    assert (await agent.sh("rm -f fill*")).exit_status == 0
    await agent.works()


async def test_very_many_files_end_what_makes_them(agent: Agent) -> None:
    result = await agent.sh("mkdir many; cd many; i=0; while :; do : > file$((i++)); done")

    assert result.exit_signal == "KILL", result
    await reported(agent, "or 500 files")
    assert (await agent.sh("rm -rf many")).exit_status == 0
    await agent.works()


@pytest.mark.parametrize("command", ["yes", "cat /dev/zero", "while :; do echo x >&2; done"])
async def test_endless_output_ends_with_its_time(agent: Agent, command: str) -> None:
    result = await agent.sh(command, timeout_s=2.0, max_output_bytes=10_000)

    assert result.timed_out, result
    assert len(result.stdout) + len(result.stderr) < 40_000
    assert result.stdout_bytes + result.stderr_bytes > 10_000
    await agent.works()


@pytest.mark.parametrize("detach", ["", "setsid "])
async def test_output_without_end_from_the_background_does_not_hold_a_command_up(
    agent: Agent, detach: str
) -> None:
    process = await agent.shell.create_process(f"{detach}yes & echo began")
    async with asyncio.timeout(DEADLINE_S):
        await process.stdout.readline()
        while process.exit_status is None and not process.is_closing():
            await process.stdout.read(65536)
    assert process.exit_status == 0
    await agent.works()


@pytest.mark.parametrize(
    "command",
    [
        "trap '' TERM INT HUP; while :; do sleep 1; done",
        "trap '' TERM; setsid sh -c 'trap \"\" TERM; sleep 1000' & wait",
        (
            f"exec {PYTHON} -c 'import signal, time\n"
            "for n in range(1, 64):\n"
            "    if n not in (9, 19, 32, 33): signal.signal(n, signal.SIG_IGN)\n"
            "time.sleep(1000)'"
        ),
        "kill -STOP $$",
        f"exec {PYTHON} -c 'import ctypes; ctypes.CDLL(None).pause()'",
    ],
)
async def test_a_command_that_ignores_sigterm_ends_with_its_time(
    agent: Agent, command: str
) -> None:
    result = await agent.sh(command, timeout_s=1.0)

    assert result.timed_out, result
    await agent.works()
    left = await agent.sh("ps -eo stat,args 2>/dev/null | grep -v ps | grep -c '[T]RAP\\|[t]rap'")
    if agent.served.isolation == "bwrap" and "setsid" not in command:
        assert left.stdout == "0\n", left


async def test_open_files_have_a_limit(agent: Agent) -> None:
    result = await agent.python(
        "held = []\ntry:\n    while True: held.append(open('/dev/null'))\n"
        "except OSError as error: print(len(held), error.strerror)"
    )
    assert result.stdout.endswith("Too many open files\n"), result
    assert int(result.stdout.split()[0]) < 256


async def test_many_sessions_at_once_are_served_or_refused(agent: Agent) -> None:
    """No more than a limit of them, each of which gets an answer."""

    async def one(number: int) -> str:
        try:
            done = await agent.shell.conn.run(f"echo {number}", encoding="utf-8")
        except (asyncssh.ChannelOpenError, OSError) as error:
            return type(error).__name__
        return str(done.stdout).strip()

    said = await asyncio.gather(*[one(number) for number in range(600)])
    served = [number for number, text in enumerate(said) if text == str(number)]
    assert len(served) > 50, said[:20]
    await agent.works()


async def test_many_connections_are_served_or_refused(agent: Agent) -> None:
    row = agent.client.binding("shell")
    opened: list[SSHClient] = []
    refused = 0
    try:
        for _ in range(300):
            try:
                opened.append(await SSHClient.connect(row))
            except CapabilityFault:
                refused += 1
        assert len(opened) >= 200
        assert refused, "there is a limit"
        await agent.works()
    finally:
        await asyncio.gather(*[one.close() for one in opened])
    async with asyncio.timeout(DEADLINE_S):
        while True:
            with contextlib.suppress(CapabilityFault):
                async with await SSHClient.connect(row) as again:
                    assert (await again.execute("echo in")).stdout == "in\n"
                    break


async def test_a_connection_that_never_logs_in_does_not_keep_others_out(agent: Agent) -> None:
    address = agent.client.binding("shell").address
    assert address is not None
    host, port = address
    silent = [await asyncio.open_connection(host, port) for _ in range(20)]
    try:
        async with await SSHClient.connect(agent.client.binding("shell")) as other:
            assert (await other.execute("echo in")).stdout == "in\n"
    finally:
        for _, writer in silent:
            writer.close()


async def test_odd_commands_are_refused_and_end_nothing(agent: Agent) -> None:
    await agent.sh("sleep 1000 >/dev/null 2>&1 & echo $! > pid")
    row = agent.client.binding("shell")

    async def attempt(command: str, **options: Any) -> None:
        async with await SSHClient.connect(row) as other:
            with contextlib.suppress(asyncssh.Error, ValueError):
                done = await other.conn.run(command, **options)
                assert done.exit_status != 0 or options, done

    for command in ("echo a\0b", "echo " + "x" * 140_000, "echo " + "x" * 300_000):
        await attempt(command)
    for name in ("A=B", "", "A\0"):
        await attempt("true", env={name: "x"})
    for value in ("\0", "x" * 140_000):
        await attempt("true", env={"NAME": value})
    await attempt("true", term_type="xterm" * 1000, term_size=(65535, 65535))
    assert (await agent.sh("kill -0 $(cat pid) && echo lives")).stdout == "lives\n"


@pytest.mark.parametrize(
    "damage", ["chmod 000 .", "rm -rf ./* ../workspace", "mv ~ ~-", "chmod 0 ~"]
)
async def test_a_broken_workspace_can_be_mended_by_the_next_command(
    agent: Agent, damage: str
) -> None:
    await agent.sh(damage)
    try:
        await agent.works()
        mended = await agent.sh(f"cd /; chmod 755 {agent.served.root} /workspace; echo done")
        assert mended.stdout == "done\n"
        await agent.shell.write_text("file", "again")
        assert (await agent.sh("cat file")).stdout == "again"
    finally:
        agent.served.root.chmod(0o755)
