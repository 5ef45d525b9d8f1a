"""An agent sees, signals or traces processes that are not its own, or gains rights over them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
from collections.abc import Generator
from pathlib import Path

import pytest

from tests.security.world import DEADLINE_S, PYTHON, Agent, outside, processes_of

_SYSCALL = """
import ctypes, errno, sys
libc = ctypes.CDLL(None, use_errno=True)
def call(name, number, *arguments):
    ctypes.set_errno(0)
    made = libc.syscall(ctypes.c_long(number), *[ctypes.c_ulong(word) for word in arguments])
    print(name, "done" if made >= 0 else errno.errorcode[ctypes.get_errno()])
"""


@contextlib.contextmanager
def victim(uid: int | None = None) -> Generator[subprocess.Popen[bytes]]:
    """Run a process of this machine that anybody could see, and that must outlive the attempts."""
    options = {} if uid is None or os.geteuid() != 0 else {"user": uid, "group": uid}
    process = subprocess.Popen(["sleep", "600"], stdin=subprocess.DEVNULL, **options)  # type: ignore[arg-type]
    try:
        yield process
    finally:
        process.kill()
        process.wait()


async def test_no_process_of_this_machine_is_seen(agent: Agent) -> None:
    with victim() as process:
        assert "sleep" in outside(["cat", f"/proc/{process.pid}/cmdline"]).stdout

        result = await agent.sh(
            f"sleep 601 & ps -ef; ps auxww; pgrep -fa sleep; cat /proc/{process.pid}/cmdline;"
            " cat /proc/[0-9]*/cmdline | tr '\\0' ' '; cat /proc/[0-9]*/comm; ls /proc/*/exe"
        )

    assert "sleep\x00600" not in result.stdout
    assert "sleep 600" not in result.stdout
    assert "hud.environment" not in result.stdout
    assert str(agent.served.lair) not in result.stdout


async def test_no_process_of_this_machine_is_signalled(agent: Agent) -> None:
    with victim() as process:
        server = agent.served.process.pid
        result = await agent.sh(
            f"for p in {process.pid} {server} -{process.pid} -{server} $(seq 2 400); do"
            " [ $p = $$ ] || kill -9 $p; done; true"
        )
        swept = await agent.sh("kill -9 -1; killall -9 sleep; pkill -9 -f .; true")
        assert process.poll() is None
        assert agent.served.process.poll() is None

    assert "No such process" in result.stderr or "not permitted" in result.stderr, result
    assert swept.exit_status is not None or swept.exit_signal == "KILL"
    await agent.works()


async def test_no_process_of_another_sandbox_is_reached(agent: Agent) -> None:
    from hud.capabilities.ssh import SSHClient

    other = await agent.client.open("other", SSHClient)
    theirs = await other.execute("sleep 602 >/dev/null & echo $!; id -u; echo hers > note; pwd")
    pid, uid = theirs.stdout.split()[:2]

    result = await agent.sh(f"kill -9 {pid}; cat /proc/{pid}/environ; id -u; ls {theirs.stdout}")
    await agent.sh("kill -9 -1; true")

    assert (await other.execute(f"kill -0 {pid} && echo lives")).stdout == "lives\n"
    assert "hers" not in result.stdout
    if agent.served.isolation == "uid":
        assert result.stdout.split()[0] != uid


_TRACE = (
    _SYSCALL
    + """
import os, signal
child = os.fork()
if child == 0:
    signal.pause()
pids = [int(word) for word in sys.argv[1:]]
ATTACH, SEIZE = 16, 0x4206
call("own child", 101, SEIZE, child, 0, 0)
for pid in pids:
    call(f"attach {pid}", 101, ATTACH, pid, 0, 0)
    call(f"seize {pid}", 101, SEIZE, pid, 0, 0)
    fd = libc.syscall(434, pid, 0)
    call(f"descriptor of {pid}", 438, fd, 0, 0)
    call(f"signal {pid}", 424, fd, 0, 0, 0)
    import ctypes
    buffer = ctypes.create_string_buffer(64)
    words = (ctypes.c_ulong * 2)(ctypes.addressof(buffer), 64)
    call(f"memory of {pid}", 310, pid, ctypes.addressof(words), 1, ctypes.addressof(words), 1, 0)
    call(f"compare {pid}", 312, os.getpid(), pid, 0, 0, 0)
    for what in ("mem", "environ", "syscall", "stack", "auxv"):
        try:
            open(f"/proc/{pid}/{what}", "rb").read(64)
            print("read", pid, what)
        except OSError as error:
            print("closed", pid, what, error.strerror)
os.kill(child, 9)
"""
)


async def test_nothing_but_its_own_is_traced(agent: Agent) -> None:
    """Neither the sandbox's supervisor, nor the environment, nor anybody else."""
    with victim() as process:
        result = await agent.python(_TRACE, "1", str(process.pid), str(agent.served.process.pid))

    lines = result.stdout.splitlines()
    assert "own child done" in lines, result
    assert len(lines) > 30, result
    for line in lines[1:]:
        # A signal without a number only asks whether the supervisor inside is there.
        may = agent.served.isolation == "bwrap" and line == "signal 1 done"
        assert may or not line.endswith("done"), line
        assert not line.startswith("read "), line


async def test_the_supervisor_withstands_signals_and_limits(agent: Agent) -> None:
    """What keeps the sandbox together belongs to the agent's uid where namespaces part them."""
    result = await agent.sh(
        "sleep 603 & for s in $(seq 1 64); do [ $s = 9 ] || kill -$s 1 2>&-; done; sleep 0.1;"
        "kill -9 1; kill -STOP 1;"
        "prlimit --pid 1 --nofile=3:3; prlimit --pid 1 --nproc=1:1; prlimit --pid 1 --cpu=1:1;"
        "prlimit --pid 1 --fsize=0:0 --data=4096:4096 --as=4096:4096; renice -n 19 -p 1; echo done"
    )
    assert result.exit_status is not None or result.exit_signal or result.stderr
    await agent.works()
    await agent.works()


async def test_no_capability_is_held_or_gained(agent: Agent) -> None:
    result = await agent.sh("grep -E 'Cap|NoNewPrivs|Seccomp:' /proc/self/status; capsh --print")
    held = dict(line.split(":\t") for line in result.stdout.splitlines() if ":\t" in line)
    if not held:  # by uid, not even its own entry can be read
        result = await agent.python(_OWN_RIGHTS)
        held = dict(line.split(":\t") for line in result.stdout.splitlines())
    for name in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
        assert int(held[name], 16) == 0, held
    assert held["NoNewPrivs"] == "1"
    assert held["Seccomp"] == "2"


_OWN_RIGHTS = """
import ctypes
libc = ctypes.CDLL(None)
header = ctypes.create_string_buffer(b"\\x22\\x05\\x08\\x20" + bytes(4), 8)
data = (ctypes.c_uint32 * 6)()
assert libc.capget(header, data) == 0
print("CapEff", format(data[0] | data[3] << 32, "x"), sep=":\\t")
print("CapPrm", format(data[1] | data[4] << 32, "x"), sep=":\\t")
print("CapInh", format(data[2] | data[5] << 32, "x"), sep=":\\t")
ambient = sum(libc.prctl(47, 1, cap, 0, 0) == 1 for cap in range(41))
print("CapAmb", format(ambient, "x"), sep=":\\t")
print("NoNewPrivs", libc.prctl(39, 0, 0, 0, 0), sep=":\\t")
print("Seccomp", libc.prctl(21, 0, 0, 0, 0), sep=":\\t")
"""


async def test_no_setuid_program_gives_another_uid(agent: Agent) -> None:
    """The system's own, and one the agent makes of what it can write."""
    result = await agent.sh(
        "me=$(id -u); for p in $(find /usr/bin /usr/sbin /usr/lib -perm /6000 -type f 2>/dev/null);"
        " do echo found $p; done; su -c id </dev/null; sudo -n id; passwd -S root;"
        " newgrp root </dev/null; mount; cp /usr/bin/id . && chmod 4755 id && ./id -u;"
        " chown 0 id; chown root:root .; setpriv --reuid 0 id -u; [ $(id -u) = $me ] && echo same"
    )
    assert "found /usr/bin/" in result.stdout, "there are such programs to try"
    assert "uid=0" not in result.stdout
    assert result.stdout.splitlines()[-1] == "same", result
    assert "\n0\n" not in result.stdout
    assert "Operation not permitted" in result.stderr


@pytest.mark.parametrize(
    "command",
    [
        "unshare -U id -u",
        "unshare -Ur id -u",
        "unshare -n true",
        "unshare -m true",
        "unshare -p -f true",
        "mount -t tmpfs none .",
        "mount -t proc proc .",
        "mount --bind / .",
        "umount /proc",
        "chroot . /bin/true",
        "nsenter -t 1 -a true",
        "mknod null c 1 3",
        "insmod /lib/modules/none.ko || modprobe dummy",
        "bwrap --ro-bind / / --unshare-user true",
        "hostname other",
        "date -s 2001-01-01",
        "swapoff -a && swapon /dev/zero",
        "dmesg",
        "sysctl -w kernel.core_pattern=/workspace/x",
        "echo x > /proc/sysrq-trigger",
        "echo '|/workspace/x' > /proc/sys/kernel/core_pattern",
        "ls /sys/fs/cgroup/* && mkdir /sys/fs/cgroup/mine",
        "cat /dev/mem /dev/kmsg /dev/sda /dev/vda",
        "ip link add dummy0 type dummy",
        "iptables -L",
        "setpriv --reuid 0 true",
        "chown 0:0 .",
        "reboot -f",
    ],
)
async def test_no_privileged_operation_succeeds(agent: Agent, command: str) -> None:
    result = await agent.sh(command)

    assert result.exit_status not in (0, None), result
    assert result.stderr, result
    await agent.works()


_CALLS = (
    _SYSCALL
    + """
call("unshare user", 272, 0x10000000)
call("clone user", 56, 0x10000000 | 17, 0, 0, 0, 0)
call("clone3", 435, 0, 0)
call("setns", 308, 0, 0)
call("mount", 165, 0, 0, 0, 0, 0)
call("fsopen", 430, 0, 0)
call("open_tree", 428, -100 & (1 << 64) - 1, 0, 1)
call("pivot_root", 155, 0, 0)
call("bpf", 321, 0, 0, 0)
call("perf", 298, 0, 0, 0, 0, 0)
call("userfaultfd", 323, 0)
call("io_uring", 425, 8, 0)
call("keyctl", 250, 0, 0)
call("init_module", 175, 0, 0, 0)
call("finit_module", 313, 0, 0, 0)
call("kexec", 246, 0, 0, 0, 0)
call("open_by_handle", 304, -100 & (1 << 64) - 1, 0, 0)
call("setuid", 105, 0)
call("setgroups", 116, 0, 0)
call("raw socket", 41, 2, 3, 1)
call("packet socket", 41, 17, 3, 0x300)
call("vsock", 41, 40, 1, 0)
call("iopl", 172, 3)
call("settime", 227, 0, 0)
call("reboot", 169, 0, 0, 0, 0)
"""
)


async def test_no_system_call_opens_a_way(agent: Agent) -> None:
    if os.uname().machine != "x86_64":
        pytest.skip("the numbers of these calls are those of x86_64")
    result = await agent.python(_CALLS)

    lines = result.stdout.splitlines()
    assert len(lines) == 25, result
    for line in lines:
        call, said = line.rsplit(" ", 1)
        # A number that means nobody inside is no number there.
        is_nobody = said == "EINVAL" and call.startswith(("setuid", "setgid"))
        assert said in ("EPERM", "EACCES", "ENOSYS", "EAFNOSUPPORT") or is_nobody, line


async def test_everything_runs_as_one_uid_without_groups(agent: Agent) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give the agent another uid")
    async with agent.shell.conn.create_process("sleep 604"), agent.shell.conn.start_sftp_client():
        result = await agent.sh("id -G | wc -w; id -u")
        groups, inside = result.stdout.split()
        assert groups == "1"
        owner = (agent.served.root).stat().st_uid
        assert owner not in (0, os.getuid())
        assert inside == (str(owner) if agent.served.isolation == "uid" else "1000")
        running: list[bytes] = []
        async with asyncio.timeout(DEADLINE_S):
            while b"sleep" not in running:
                running = [_program(pid) for pid in processes_of(owner)]
                await asyncio.sleep(0.05)
        assert PYTHON.encode() not in running


def _program(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0]
    except OSError:  # it has ended
        return b""
