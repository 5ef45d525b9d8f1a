"""A confined child tries what it must no longer be able to do, and sees that it cannot."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import pty
import resource
import signal
import socket
import struct
import subprocess
import termios
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from hud.sandbox.guest import confine as confining
from hud.sandbox.guest import landlock
from hud.sandbox.guest.confine import ConfineError, Step, apply_limits, apply_rules, set_limits
from tests.unit.sandbox.confined import (
    LIBC,
    UID,
    attempt,
    in_child,
    need_filter,
    need_landlock,
    need_root,
    open_folder,
    rules_for,
    run_confined,
    system_python,
)

PTRACE_ATTACH = 16


@pytest.fixture(autouse=True)
def _needs() -> None:
    need_root()
    need_landlock()
    need_filter()


@pytest.fixture
def folder() -> Iterator[Path]:
    with open_folder() as path:
        os.chown(path, UID, UID)
        yield path


def confined(rules: dict[str, Any], do: Callable[[], Any]) -> Any:
    """Return what `do` returns in a confined child."""

    def body() -> Any:
        apply_rules(rules)
        return do()

    return in_child(body)


def test_the_child_has_the_agents_identity_and_nothing_else(folder: Path) -> None:
    def identity() -> tuple[Any, ...]:
        return os.getresuid(), os.getresgid(), os.getgroups()

    assert confined(rules_for(folder), identity) == ((UID,) * 3, (UID,) * 3, [])


def test_the_way_back_to_root_is_closed(folder: Path) -> None:
    def back() -> list[str]:
        return [
            attempt(lambda: os.setuid(0)),
            attempt(lambda: os.setresuid(0, 0, 0)),
            attempt(lambda: os.setgid(0)),
            attempt(lambda: os.setgroups([0])),
        ]

    assert confined(rules_for(folder), back) == ["EPERM"] * 4


def test_no_capability_is_left_in_any_set(folder: Path) -> None:
    shown = run_confined(
        ["/bin/cat", "/proc/self/status"], rules_for(folder, read=["/proc"]), folder
    )
    fields = dict(line.split(":\t", 1) for line in shown.stdout.splitlines())
    names = ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"]
    assert [int(fields[name], 16) for name in names] == [0] * 5
    assert fields["NoNewPrivs"] == "1"
    assert fields["Seccomp"] == "2"


def test_a_set_uid_program_stays_the_agents(folder: Path) -> None:
    program = folder / "me"
    program.write_bytes(Path("/usr/bin/id").read_bytes())
    program.chmod(0o4755)
    done = run_confined([str(program), "-u"], rules_for(folder), folder)
    assert done.stdout.strip() == str(UID), done.stderr


def test_files_outside_the_rules_cannot_be_read_written_or_listed(folder: Path) -> None:
    with open_folder() as other:
        secret = other / "secret"
        secret.write_text("x")
        secret.chmod(0o666)
        (folder / "link").symlink_to(secret)
        os.link(secret, folder / "second-name")
        other.chmod(0o777)

        def tries() -> dict[str, str]:
            return {
                "read": attempt(secret.read_text),
                "write": attempt(lambda: secret.write_text("y")),
                "through a link": attempt((folder / "link").read_text),
                "list": attempt(lambda: list(other.iterdir())),
                "make": attempt(lambda: (other / "new").write_text("")),
                "remove": attempt(secret.unlink),
                "truncate": attempt(lambda: os.truncate(secret, 0)),
                "move in": attempt(lambda: secret.rename(folder / "mine")),
                "link in": attempt(lambda: os.link(secret, folder / "third-name")),
                "the root": attempt(lambda: list(Path("/").iterdir())),
                "shadow": attempt(Path("/etc/shadow").read_text),
                "by descriptor folder": attempt(
                    lambda: os.open("/proc/self/root/root", os.O_RDONLY)
                ),
                "own": attempt(lambda: (folder / "own").write_text("")),
            }

        seen = confined(rules_for(folder), tries)
        assert seen.pop("own") == "done"
        if landlock.abi() < 3:
            # There only permissions guard against shortening a file.
            seen.pop("truncate")
            secret.write_text("x")
        assert set(seen) - {name for name, how in seen.items() if how != "done"} == set(), seen
        assert secret.read_text() == "x"


def test_what_is_only_to_be_read_cannot_be_written_even_by_its_owner(folder: Path) -> None:
    with open_folder() as extra:
        os.chown(extra, UID, UID)
        (extra / "data").write_text("kept")
        os.chown(extra / "data", UID, UID)

        def tries() -> list[str]:
            return [
                (extra / "data").read_text(),
                attempt(lambda: (extra / "data").write_text("")),
                attempt(lambda: (extra / "new").write_text("")),
                attempt((extra / "data").unlink),
            ]

        seen = confined(rules_for(folder, read=[str(extra)]), tries)
    assert seen == ["kept", "EACCES", "EACCES", "EACCES"]


def test_proc_shows_the_machine_and_no_process(folder: Path) -> None:
    own = os.getpid()

    def tries() -> dict[str, str]:
        names = ("environ", "cmdline", "status", "maps", "mem", "mountinfo", "fd/0", "cwd", "root")
        return {
            "meminfo": attempt(Path("/proc/meminfo").read_text),
            **{name: attempt(partial(os.open, f"/proc/{own}/{name}", 0)) for name in names},
            "exe": attempt(Path(f"/proc/{own}/exe").readlink),
            "pid 1": attempt(Path("/proc/1/cmdline").read_text),
            "sockets": attempt(Path("/proc/net/tcp").read_text),
            "kernel memory": attempt(Path("/proc/kcore").read_bytes),
        }

    seen = confined(rules_for(folder), tries)
    assert seen.pop("meminfo") == "done"
    assert "done" not in seen.values(), seen


def test_reading_proc_when_allowed_still_gives_no_secret_of_another_process(folder: Path) -> None:
    own = os.getpid()

    def tries() -> list[str]:
        names = ("environ", "maps", "mem", "fd", "cwd", "root", "map_files")
        return [attempt(partial(os.open, f"/proc/{own}/{name}", 0)) for name in names]

    assert "done" not in confined(rules_for(folder, read=["/proc"]), tries)


def test_processes_of_others_can_be_neither_signalled_nor_traced(folder: Path) -> None:
    victim = subprocess.Popen(["/bin/sleep", "600"])
    try:

        def tries() -> list[str]:
            traced = LIBC.ptrace(PTRACE_ATTACH, victim.pid, None, None)
            return [
                attempt(lambda: os.kill(victim.pid, signal.SIGKILL)),
                attempt(lambda: os.kill(1, 0)),
                "done" if traced == 0 else errno.errorcode[ctypes.get_errno()],
            ]

        assert confined(rules_for(folder), tries) == ["EPERM"] * 3
        assert victim.poll() is None
    finally:
        victim.kill()
        victim.wait()


def test_a_supervisors_memory_is_closed_to_others_of_the_agents_uid_before_exec(
    folder: Path,
) -> None:
    def tries() -> list[str]:
        own = os.getpid()
        peer = os.fork()
        if peer == 0:
            seen = attempt(lambda: os.open(f"/proc/{own}/mem", os.O_RDONLY))
            os._exit(0 if seen == "done" else 1)
        return [str(os.waitstatus_to_exitcode(os.waitpid(peer, 0)[1]))]

    assert confined(rules_for(folder, read=["/proc"]), tries) == ["1"]


def test_a_child_of_its_own_can_still_be_traced_signalled_and_waited_for(folder: Path) -> None:
    python = system_python()
    done = run_confined([python, "-c", _TRACE_OWN_CHILD], rules_for(folder), folder)
    assert done.stdout.split() == ["0", "True", "-9"], done.stderr


_TRACE_OWN_CHILD = """
import ctypes, os, signal
libc = ctypes.CDLL(None)
ready, wait = os.pipe()
child = os.fork()
if child == 0:
    os.close(wait)
    os.read(ready, 1)
    os._exit(0)
attached = libc.ptrace(16, child, None, None)
stopped = os.WIFSTOPPED(os.waitpid(child, 0)[1])
os.kill(child, signal.SIGKILL)
print(attached, stopped, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_no_descriptor_but_the_streams_and_the_named_reaches_the_program(folder: Path) -> None:
    reading, writing = os.pipe()
    kept, also = os.pipe()
    for fd in (reading, writing, kept, also):
        os.set_inheritable(fd, True)
    try:
        numbers = f"{reading} {writing} {kept} {also}"
        listing = f"for fd in {numbers}; do [ -e /dev/fd/$fd ] && echo $fd; done"
        done = subprocess.run(
            ["/bin/sh", "-c", listing],
            capture_output=True,
            text=True,
            close_fds=False,
            preexec_fn=lambda: confining.confine({**rules_for(folder), "keep_fds": [kept]}),
        )
    finally:
        for fd in (reading, writing, kept, also):
            os.close(fd)
    assert done.stdout.split() == [str(kept)], done.stderr


def test_the_child_dies_with_its_parent(folder: Path) -> None:
    reading, writing = os.pipe()

    def parent() -> None:
        child = os.fork()
        if child == 0:
            apply_rules({**rules_for(folder), "parent": os.getppid()})
            os.write(writing, b"x")
            signal.pause()
            os._exit(0)
        assert os.read(reading, 1) == b"x"
        os._exit(0)

    pid = os.fork()
    if pid == 0:
        parent()
    os.close(writing)
    os.waitpid(pid, 0)
    # The pipe ends once the last process that holds its other side is gone.
    with os.fdopen(reading, "rb") as pipe:
        assert pipe.read() == b""


def test_a_child_whose_parent_is_already_another_ends(folder: Path) -> None:
    with pytest.raises(ConfineError, match="parent"):
        confined({**rules_for(folder), "parent": 1}, lambda: None)


def test_abstract_sockets_of_the_machine_are_out_of_reach(folder: Path) -> None:
    need_landlock(6)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(b"\0hud-test-" + os.urandom(8).hex().encode())
        listener.listen()
        address = listener.getsockname()

        def tries() -> str:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as stream:
                return attempt(lambda: stream.connect(address))

        assert confined(rules_for(folder), tries) == "EPERM"


def test_without_ports_no_internet_socket_can_be_made(folder: Path) -> None:
    def tries() -> list[str]:
        return [
            attempt(partial(socket.socket, family, kind))
            for family in (socket.AF_INET, socket.AF_INET6)
            for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_RAW)
        ]

    assert confined(rules_for(folder), tries) == ["EPERM"] * 6


def test_with_ports_only_tcp_to_these_ports_works(folder: Path) -> None:
    need_landlock(4)
    with (
        socket.create_server(("127.0.0.1", 0)) as allowed,
        socket.create_server(("127.0.0.1", 0)) as other,
    ):
        ports = [listener.getsockname()[1] for listener in (allowed, other)]

        def tries() -> dict[str, str]:
            def connect(port: int) -> None:
                with socket.socket() as stream:
                    stream.connect(("127.0.0.1", port))

            def fast_open(port: int) -> None:
                with socket.socket() as stream:
                    stream.sendto(b"x", socket.MSG_FASTOPEN, ("127.0.0.1", port))

            def bind() -> None:
                with socket.socket() as stream:
                    stream.bind(("127.0.0.1", 0))

            def other_kind(kind: int, protocol: int) -> None:
                socket.socket(socket.AF_INET, kind, protocol).close()

            return {
                "allowed": attempt(lambda: connect(ports[0])),
                "other": attempt(lambda: connect(ports[1])),
                "fast open": attempt(lambda: fast_open(ports[1])),
                "bind": attempt(bind),
                "udp": attempt(lambda: other_kind(socket.SOCK_DGRAM, 0)),
                "mptcp": attempt(lambda: other_kind(socket.SOCK_STREAM, 262)),
                "sctp": attempt(lambda: other_kind(socket.SOCK_STREAM, 132)),
            }

        seen = confined(rules_for(folder, tcp_connect=[ports[0]]), tries)
    assert seen.pop("allowed") == "done"
    assert set(seen.values()) == {"EACCES", "EPERM"}, seen


def test_pipes_and_terminals_of_the_child_can_be_opened_by_name(folder: Path) -> None:
    script = "echo one > /dev/stdout; echo two > /dev/stderr"
    done = run_confined(["/bin/sh", "-c", script], rules_for(folder), folder)
    assert (done.stdout, done.stderr) == ("one\n", "two\n")

    master, slave = pty.openpty()
    try:
        done = subprocess.run(
            ["/bin/sh", "-c", "echo three > $(tty)"],
            stdin=slave,
            capture_output=True,
            preexec_fn=lambda: confining.confine(rules_for(folder)),
        )
        assert done.returncode == 0, done.stderr
        assert os.read(master, 100).strip() == b"three"
    finally:
        os.close(master)
        os.close(slave)


def test_nothing_can_be_typed_into_the_terminal(folder: Path) -> None:
    master, slave = pty.openpty()

    def tries() -> list[str]:
        return [
            attempt(partial(fcntl.ioctl, slave, termios.TIOCSTI, b"x")),
            attempt(partial(fcntl.ioctl, slave, termios.TIOCGWINSZ, b"\0" * 8)),
        ]

    try:
        assert confined(rules_for(folder), tries) == ["EPERM", "done"]
    finally:
        os.close(master)
        os.close(slave)


@pytest.mark.parametrize(
    ("change", "step"),
    [
        ({"uid": 0}, Step.IDENTITY),
        ({"gid": 0}, Step.IDENTITY),
        ({"uid": True}, Step.IDENTITY),
        ({"uid": 1 << 33}, Step.IDENTITY),
        ({"raed": []}, Step.RULES),
        ({"write": ["/"]}, Step.FILES),
        ({"tcp_connect": [1 << 20], "deny_inet": False}, Step.FILES),
        ({"tcp_connect": [80], "landlock": False, "deny_inet": False}, Step.FILES),
        ({"parent": 1}, Step.PARENT),
        ({"keep_fds": [-1]}, Step.DESCRIPTORS),
    ],
)
def test_a_step_that_fails_ends_the_child_with_its_status_and_a_message(
    folder: Path, change: dict[str, Any], step: Step
) -> None:
    done = run_confined(["/bin/echo", "ran"], {**rules_for(folder), **change}, folder)
    assert done.returncode == step
    assert done.stdout == ""
    assert done.stderr.startswith("hud: cannot confine the process: ")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("call", "step"),
    [
        ("setresuid", Step.IDENTITY),
        ("setresgid", Step.IDENTITY),
        ("setgroups", Step.GROUPS),
    ],
)
def test_a_call_that_claims_to_have_worked_is_not_believed(
    folder: Path, call: str, step: Step, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nothing(*_: Any) -> None:
        return

    monkeypatch.setattr(os, call, nothing)
    done = in_child(lambda: _status_of(rules_for(folder), call))
    assert done == step


def _status_of(rules: dict[str, Any], call: str) -> int:
    if call == "setgroups":
        LIBC.setgroups(1, struct.pack("=I", 4))
    child = os.fork()
    if child == 0:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 2)
        confining.confine(rules)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_limits_are_hard_and_hold() -> None:
    def tries() -> list[Any]:
        os.setresuid(UID, UID, UID)
        set_limits({"NOFILE": 32, "RLIMIT_CORE": 0, "FSIZE": 1000})
        limits = [
            resource.getrlimit(number)
            for number in (resource.RLIMIT_NOFILE, resource.RLIMIT_CORE, resource.RLIMIT_FSIZE)
        ]
        try:
            resource.setrlimit(resource.RLIMIT_CORE, (0, 1))
        except ValueError:
            return [limits, "not allowed"]
        return [limits, "raised"]

    limits, raised = in_child(tries)
    assert limits == [(32, 32), (0, 0), (1000, 1000)]
    assert raised == "not allowed"


def test_a_limit_that_is_already_lower_stays() -> None:
    def tries() -> tuple[int, int]:
        apply_limits({"NOFILE": 64})
        apply_limits({"NOFILE": 128})
        return resource.getrlimit(resource.RLIMIT_NOFILE)

    assert in_child(tries) == (64, 64)


def test_a_fork_bomb_stops_at_the_limit(folder: Path) -> None:
    bomb = "i=0; while [ $i -lt 40 ]; do sleep 300 >out 2>&1 & i=$((i+1)); done"
    try:
        done = run_confined(
            ["/bin/sh", "-c", bomb], rules_for(folder), folder, limits={"NPROC": 20}
        )
        assert done.returncode != 0
        assert "fork" in done.stderr.lower()
    finally:
        _kill_all_of_the_agent()


def test_a_file_stops_at_its_size(folder: Path) -> None:
    dd = ["/bin/dd", "if=/dev/zero", "of=big", "bs=1024", "count=100"]
    done = run_confined(dd, rules_for(folder), folder, limits={"FSIZE": 4096, "CORE": 0})
    assert done.returncode != 0
    assert (folder / "big").stat().st_size == 4096


def _kill_all_of_the_agent() -> None:
    pid = os.fork()
    if pid == 0:
        os.setresuid(UID, UID, UID)
        os.kill(-1, signal.SIGKILL)
        os._exit(0)
    os.waitpid(pid, 0)


@pytest.mark.parametrize("limits", [{"NOFILES": 1}, {"NOFILE": -1}, {"NOFILE": "9"}, {"SC_": 1}])
def test_a_limit_that_makes_no_sense_ends_the_child(limits: dict[str, Any]) -> None:
    with pytest.raises(ConfineError) as raised:
        in_child(lambda: apply_limits(limits))
    assert raised.value.step is Step.LIMITS
