"""What the host may ask of the supervisor, and how each is done.

Nothing here trusts the agent's processes, and nothing the host does depends on them being honest.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import pty
import signal
import socket
import struct
import termios
import time
from collections.abc import Callable
from typing import Any, NoReturn

from . import packets, sftp

_SWEEP_ROUNDS = 200
_STOP_ROUNDS = 10
# In how many rounds new processes may appear before they count as faster than their killer.
_PATIENT_ROUNDS = 20
_ALL_SIGNALS = [number for number in signal.valid_signals() if number not in (9, 19)]


class Requests:
    """The processes of one sandbox and what to do with them."""

    def __init__(self, host: socket.socket, settings: dict[str, Any]) -> None:
        self._host = host
        self._mode: str = settings["mode"]
        self._confine: dict[str, Any] | None = settings.get("confine")
        self._limits: dict[str, int] = settings["limits"]
        # Whether nobody else runs as the uid, and whether the host ends all as a group as well.
        self._owns_uid: bool = settings.get("owns_uid", False)
        self._is_grouped: bool = settings.get("is_grouped", False)
        # From how many processes on another is refused, where no control group counts them.
        self._crowded_at: int | None = settings.get("crowded_at")
        self._own: dict[int, int] = {}
        self._sessions: dict[int, int] = {}
        self._handlers: dict[str, Callable[[dict[str, Any], list[int]], None]] = {
            "spawn": self._spawn,
            "signal": self._signal,
            "hangup": self._hangup,
            "dial": self._dial,
            "listen": self._listen,
            "sweep": self._sweep,
        }

    @property
    def is_signalled_by_agent(self) -> bool:
        """Whether the agent's processes may signal this one, their sandbox's pid 1."""
        return self._mode == "bwrap"

    def handle(self, request: dict[str, Any], fds: list[int]) -> None:
        """Carry out one request; a failure is answered, never raised."""
        try:
            self._handlers[request["op"]](request, fds)
        except OSError as error:
            where = f": {error.filename}" if error.filename else ""
            self._fail(request, error.errno or errno.EIO, f"{error.strerror or error}{where}")
        except (ValueError, TypeError, OverflowError) as error:
            # A NUL or a lone surrogate in a command, a "=" in a variable's name.
            self._fail(request, errno.EINVAL, str(error))

    def reap(self) -> None:
        """Collect the dead and tell the host of those it started."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            number = self._own.pop(pid, None)
            if number is not None:
                self._answer({"exit": number, "status": os.waitstatus_to_exitcode(status)})

    def end(self) -> None:
        """Leave nothing behind; as pid 1 the kernel sees to it."""
        if self._mode != "bwrap":
            self._kill_all(is_last=True)

    def terminate(self, number: int, frame: object) -> None:
        """End because the host died."""
        try:
            self.end()
        finally:
            os._exit(0)

    def _answer(self, message: dict[str, Any], fds: list[int] | None = None) -> None:
        data = json.dumps(message).encode()
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            packets.send(self._host, data, fds or ())

    def _fail(self, request: dict[str, Any], number: int, text: str) -> None:
        if "id" in request:
            self._answer({"id": request["id"], "errno": number, "error": text})

    def _spawn(self, request: dict[str, Any], fds: list[int]) -> None:
        number: int = request["id"]
        if self._crowded_at is not None and self._count() >= self._crowded_at:
            raise OSError(errno.EAGAIN, "no room for further processes")
        size = request.get("pty")
        if size is None:
            if len(fds) < 3:  # the kernel drops what is beyond this process's limit
                raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
            pid = self._start(request, fds[:3], None)
            self._note(number, pid)
            self._answer({"id": number, "pid": pid})
            return
        master, slave = pty.openpty()
        try:
            _prepare_terminal(slave, size, request.get("modes") or [])
            pid = self._start(request, [slave, slave, slave], os.ttyname(slave))
            self._note(number, pid)
            self._answer({"id": number, "pid": pid}, [master])
        finally:
            os.close(master)
            os.close(slave)

    def _count(self) -> int:
        if self._confine is None:
            return len(_pids())
        uid, count = self._confine["uid"], 0
        for pid in _pids():
            with contextlib.suppress(OSError):
                count += os.stat(f"/proc/{pid}").st_uid == uid  # noqa: PTH116
        return count

    def _note(self, number: int, pid: int) -> None:
        self._own[pid] = number
        self._sessions[number] = pid
        if len(self._sessions) > 4096:
            self._sessions.pop(next(iter(self._sessions)))

    def _start(self, request: dict[str, Any], fds: list[int], tty: str | None) -> int:
        if request.get("builtin") == "sftp" or self._confine is not None:
            return self._fork(request, fds, tty)
        _enter(request, fds[2])
        try:
            actions: list[Any] = (
                [(os.POSIX_SPAWN_DUP2, fd, target) for target, fd in enumerate(fds)]
                if tty is None
                # The leader of a session gets the first terminal it opens as its own.
                else [
                    (os.POSIX_SPAWN_OPEN, 0, tty, os.O_RDWR, 0),
                    (os.POSIX_SPAWN_DUP2, 0, 1),
                    (os.POSIX_SPAWN_DUP2, 0, 2),
                ]
            )
            argv = request["argv"]
            return os.posix_spawn(
                _found(argv[0], request["env"]),
                argv,
                request["env"],
                file_actions=actions,
                setsid=True,
                setsigmask=[],
                setsigdef=_ALL_SIGNALS,
            )
        finally:
            os.chdir("/")

    def _fork(self, request: dict[str, Any], fds: list[int], tty: str | None) -> int:
        report, reporter = os.pipe2(os.O_CLOEXEC)
        pid = os.fork()
        if pid == 0:
            self._become(request, fds, tty, reporter)
        os.close(reporter)
        try:
            problem = os.read(report, 4096)
        finally:
            os.close(report)
        if problem:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, 0)
            number, _, text = problem.decode("utf-8", "replace").partition(" ")
            raise OSError(int(number), text)
        return pid

    def _become(
        self, request: dict[str, Any], fds: list[int], tty: str | None, reporter: int
    ) -> NoReturn:
        """Turn this fork into what was asked for."""
        try:
            signal.set_wakeup_fd(-1)
            for number in _ALL_SIGNALS:
                with contextlib.suppress(OSError):
                    signal.signal(number, signal.SIG_DFL)
            os.setsid()
            if tty is not None:
                fds = [os.open(tty, os.O_RDWR)] * 3
            high = [fcntl.fcntl(fd, fcntl.F_DUPFD, 64) for fd in fds]
            for target, fd in enumerate(high):
                os.dup2(fd, target)
            keep = fcntl.fcntl(reporter, fcntl.F_DUPFD_CLOEXEC, 3 + len(high) + 128)
            os.closerange(3, keep)
            os.closerange(keep + 1, 1 << 16)
            reporter = keep
            if self._confine is not None:
                from .confine import confine, set_limits

                set_limits(self._limits)
                confine(self._confine)
            _enter(request, 2)
            if request.get("builtin") == "sftp":
                os.close(keep)
                for number in (signal.SIGXFSZ, signal.SIGPIPE):
                    signal.signal(number, signal.SIG_IGN)  # an error is answered
                sftp.serve(0, 1, start_dir=request["cwd"], client_version=request["client"])
                os._exit(0)
            if request.get("builtin") == "bind":
                socket.socket(fileno=0).bind(request["path"])
                os._exit(0)
            argv = request["argv"]
            os.execve(_found(argv[0], request["env"]), argv, request["env"])
        except OSError as error:
            text = f"{error.errno or errno.EIO} {error.strerror or error}"
            with contextlib.suppress(OSError):
                os.write(reporter, text.encode()[:4000])
        except BaseException as error:
            with contextlib.suppress(OSError):
                os.write(reporter, f"{errno.EIO} {type(error).__name__}: {error}".encode()[:4000])
        os._exit(127)

    def _signal(self, request: dict[str, Any], fds: list[int]) -> None:
        pid = self._sessions.get(request["target"])
        if pid is None:
            return
        if not self._is_ours(pid):
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, request["number"])

    def _is_ours(self, pid: int) -> bool:
        """Whether a pid, which may have been given out again, is still a process of the sandbox."""
        confined = self._confine
        return confined is None or pid in self._own or _uid_of(pid) == confined["uid"]

    def _hangup(self, request: dict[str, Any], fds: list[int]) -> None:
        """Kill every process in the Unix sessions of these commands, leaders gone or not."""
        wanted = {self._sessions.pop(number, 0) for number in request["targets"]} - {0}
        for _ in range(_SWEEP_ROUNDS):
            found = [pid for pid in _pids() if _session_of(pid) in wanted and self._is_ours(pid)]
            if not found:
                return
            for pid in found:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)
            self.reap()

    def _dial(self, request: dict[str, Any], fds: list[int]) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as stream:
            stream.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                stream.connect((request["host"], request["port"]))
            self._answer({"id": request["id"]}, [stream.fileno()])

    def _listen(self, request: dict[str, Any], fds: list[int]) -> None:
        if "path" in request:
            self._listen_at(request)
            return
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((request["host"], request["port"]))
            listener.listen(128)
            listener.setblocking(False)
            port: int = listener.getsockname()[1]
            self._answer({"id": request["id"], "port": port}, [listener.fileno()])

    def _listen_at(self, request: dict[str, Any]) -> None:
        """Listen on a Unix socket, made with the rights of the sandbox's processes."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
            listener.setblocking(False)
            if self._confine is not None:
                # A socket belongs to every process that holds it: the fork binds this one.
                self._fork({**request, "builtin": "bind"}, [listener.fileno()] * 3, None)
            else:
                try:
                    _enter({**request, "builtin": "bind"}, 2)
                    listener.bind(request["path"])
                finally:
                    os.chdir("/")
            listener.listen(128)
            self._answer({"id": request["id"]}, [listener.fileno()])

    def _sweep(self, request: dict[str, Any], fds: list[int]) -> None:
        killed = self._kill_all()
        self._sessions.clear()
        self._answer({"id": request["id"], "killed": killed})

    def _kill_all(self, *, is_last: bool = False) -> int:
        """Kill and reap every process of the sandbox but this one; return how many there were.

        Others may share the uid, so by uid it is done where nobody does, and where what runs here
        forks faster than it can be found.

        Raises:
            TimeoutError: when some were killed and do not go.
        """
        seen: set[int] = set()
        killed: set[int] = set()
        late = 0
        for _ in range(_SWEEP_ROUNDS):
            if self._mode == "bwrap":
                with contextlib.suppress(ProcessLookupError):
                    os.kill(-1, signal.SIGKILL)
            elif self._confine is not None and (
                (is_last and self._owns_uid)
                or (late > _PATIENT_ROUNDS and (self._owns_uid or not self._is_grouped))
            ):
                _kill_uid(self._confine["uid"])
            else:
                found = self._kill_below()
                late += bool(found - killed)
                killed |= found
            while True:
                try:
                    pid, status = os.waitpid(-1, 0 if self._mode == "bwrap" else os.WNOHANG)
                except ChildProcessError:
                    return len(seen)
                if pid == 0:
                    break
                seen.add(pid)
                number = self._own.pop(pid, None)
                if number is not None:
                    self._answer({"exit": number, "status": os.waitstatus_to_exitcode(status)})
            if self._mode != "bwrap":
                _pause()
        raise TimeoutError(errno.ETIMEDOUT, "processes are left that were killed")

    def _kill_below(self) -> set[int]:
        """Kill every descendant that is found, and return them.

        Stopped first: what a killed one makes room for could be taken by another's fork.
        """
        stopped: set[int] = set()
        for _ in range(_STOP_ROUNDS):
            found = {pid for pid in _descendants() if self._is_ours(pid)}
            if found <= stopped:
                break
            for pid in found - stopped:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGSTOP)
            stopped |= found
        for pid in stopped:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        return stopped


def _enter(request: dict[str, Any], stderr: int) -> None:
    """Go to where the process is to begin; where nothing was asked for, at the root at worst.

    An agent that locked itself out of its folder could not mend that otherwise.
    """
    cwd: str = request["cwd"]
    try:
        os.chdir(cwd)
    except OSError as error:
        if not request.get("or_root"):
            raise
        os.chdir("/")
        if request.get("builtin") is None:
            with contextlib.suppress(OSError):
                os.write(stderr, f"hud: {cwd}: {error.strerror}; this runs in /\n".encode())


def _pause() -> None:
    """Give what was killed a moment to die."""
    time.sleep(0.005)


def _kill_uid(uid: int) -> None:
    """Kill every process of a uid: as that uid, `kill(-1)` reaches these and no others."""
    try:
        pid = os.fork()
    except OSError:
        # No process can be made, because of theirs: one after the other makes room for it.
        for pid in _pids():
            if _uid_of(pid) == uid:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        return
    if pid == 0:
        try:
            os.setresuid(uid, uid, uid)
            if os.getresuid() == (uid, uid, uid) and uid != 0:
                os.kill(-1, signal.SIGKILL)
        finally:
            os._exit(0)
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, 0)


def _prepare_terminal(fd: int, size: list[int], modes: list[list[int]]) -> None:
    """Set the size (rows, columns) and the control characters a client asked for (RFC 4254 §8)."""
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", size[0], size[1], 0, 0))
    if not modes:
        return
    attributes = termios.tcgetattr(fd)
    for opcode, value in modes:
        name, group = _MODES.get(opcode, ("", -1))
        number = getattr(termios, name, None)
        if number is None:
            continue
        if group == 6:
            attributes[6][number] = bytes([value & 0xFF])
        elif value:
            attributes[group] |= number
        else:
            attributes[group] &= ~number
    termios.tcsetattr(fd, termios.TCSANOW, attributes)


# Opcode of RFC 4254 §8: name in termios, and its place in what tcgetattr returns.
_CHARACTERS = "VINTR VQUIT VERASE VKILL VEOF VEOL VEOL2 VSTART VSTOP VSUSP"
_INPUT = "IGNPAR PARMRK INPCK ISTRIP INLCR IGNCR ICRNL IUCLC IXON IXANY IXOFF IMAXBEL"
_LOCAL = "ISIG ICANON XCASE ECHO ECHOE ECHOK ECHONL NOFLSH TOSTOP IEXTEN ECHOCTL ECHOKE"
_OUTPUT = "OPOST OLCUC ONLCR OCRNL ONOCR"
_MODES: dict[int, tuple[str, int]] = {
    first + number: (name, place)
    for names, first, place in (
        (_CHARACTERS, 1, 6),
        (_INPUT, 30, 0),
        (_LOCAL, 50, 3),
        (_OUTPUT, 70, 1),
    )
    for number, name in enumerate(names.split())
}


def _found(program: str, env: dict[str, str]) -> str:
    """Return the path of a program, as `execvpe` would find it.

    Raises:
        OSError: when there is none.
    """
    if "/" in program:
        return program
    for folder in env.get("PATH", os.defpath).split(":"):
        path = f"{folder}/{program}"
        if folder and os.access(path, os.X_OK):
            return path
    raise FileNotFoundError(errno.ENOENT, "command not found", program)


def _pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit() and name != "1"]  # noqa: PTH208


def _uid_of(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/status", "rb") as file:  # noqa: PTH123
            return int(file.read().partition(b"\nUid:")[2].split()[0])
    except (OSError, IndexError):
        return -1


def _session_of(pid: int) -> int:
    try:
        return os.getsid(pid)
    except OSError:
        return -1


def _descendants() -> list[int]:
    """Return the processes below this one, children after their parents."""
    parents: dict[int, list[int]] = {}
    for pid in _pids():
        try:
            with open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123
                fields = file.read().rpartition(b")")[2].split()
        except OSError:
            continue
        if fields[0] not in (b"Z", b"X"):
            parents.setdefault(int(fields[1]), []).append(pid)
    found: list[int] = []
    todo = [os.getpid()]
    while todo:
        below = parents.get(todo.pop(), [])
        found += below
        todo += below
    return found
