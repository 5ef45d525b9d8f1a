"""A real Docker engine for the tests: a daemon of their own, in a network of its own.

Nothing can be pulled here, so images begin with `docker_base`.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Generator, Mapping
from pathlib import Path

from tests.needs import missing, need_program

_READY = "API listen on"
_START_S = 120
# The network namespace is the daemon's alone: its bridge and addresses are nobody else's.
_START = "ip link set lo up && exec dockerd "
_OPTIONS = (
    *("--iptables=false", "--ip6tables=false", "--ip-forward=false", "--ip-masq=false"),
    *("--userland-proxy=false", "--bip=10.213.0.1/16"),
)


class DockerEngine:
    """A running daemon.

    Attributes:
        folder: Where its data and socket are.
        process: The daemon; `kill_daemon` and `start_daemon` are for faults.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.process: subprocess.Popen[str] | None = None
        self._said: list[str] = []
        self._reader: threading.Thread | None = None

    @property
    def host(self) -> str:
        """What `DOCKER_HOST` has to be."""
        return f"unix://{self.folder}/s"

    @property
    def environ(self) -> Mapping[str, str]:
        """Variables for those that are to use this engine."""
        return {"DOCKER_HOST": self.host, "DOCKER_CONFIG": str(self.folder / "config")}

    def docker(self, *words: str, stdin: str | None = None, check: bool = True) -> str:
        """Run the command line and return what it printed."""
        done = subprocess.run(
            ["docker", *words],
            env={**os.environ, **self.environ},
            input=stdin,
            capture_output=True,
            text=True,
            timeout=300,
        )
        if check:
            assert done.returncode == 0, f"docker {words}: {done.stderr}\n{done.stdout}"
        return done.stdout.strip()

    def docker_log(self, name: str) -> str:
        """Return what a container has printed, to both its outputs."""
        words = ["docker", "logs", name]
        done = subprocess.run(
            words, env={**os.environ, **self.environ}, capture_output=True, text=True, timeout=60
        )
        return done.stdout + done.stderr

    def containers(self) -> list[str]:
        """Return the ids of all containers, those that ended included."""
        return self.docker("ps", "-aq", "--no-trunc").split()

    def leftovers(self) -> list[str]:
        """Return what rollouts made and is still there: containers, networks, volumes."""
        label = ("--filter", "label=hud.owner")
        found = [f"container {name}" for name in self.containers()]
        found += [f"network {x}" for x in self.docker("network", "ls", "-q", *label).split()]
        return found + [f"volume {x}" for x in self.docker("volume", "ls", "-q").split()]

    def start_daemon(self) -> None:
        """Start it and return once it answers."""
        folder = self.folder
        options = [
            *("--data-root", str(folder / "data"), "--exec-root", str(folder / "exec")),
            *("--pidfile", str(folder / "pid"), "--host", self.host, *_OPTIONS),
        ]
        ready = threading.Event()
        self._said.clear()
        self.process = subprocess.Popen(
            ["unshare", "--net", "sh", "-c", f'{_START}"$@"', "dockerd", *options],
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
        )
        self._reader = threading.Thread(
            target=_listen, args=(self.process, self._said, ready), daemon=True
        )
        self._reader.start()
        if not ready.wait(_START_S) or not any(_READY in line for line in self._said):
            self._end(signal.SIGKILL)
            raise AssertionError("the Docker engine did not start:\n" + "".join(self._said[-20:]))

    def kill_daemon(self) -> None:
        """Kill the engine, and the containers' keeper with it, as a crash would."""
        self._end(signal.SIGKILL)
        keeper = self.folder / "exec" / "containerd" / "containerd.pid"
        if keeper.exists():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(keeper.read_text()), signal.SIGKILL)
            # The next daemon would wait for it where nobody collects the dead.
            keeper.unlink()
        (self.folder / "pid").unlink(missing_ok=True)

    def stop_daemon(self) -> None:
        """Stop it in good order."""
        self._end(signal.SIGTERM)

    def _end(self, number: int) -> None:
        process, self.process = self.process, None
        if process is not None:
            process.send_signal(number)
            process.wait(120)
            assert self._reader is not None
            self._reader.join(60)


def _listen(process: subprocess.Popen[str], said: list[str], ready: threading.Event) -> None:
    assert process.stderr is not None
    with process.stderr as lines:
        for line in lines:
            said.append(line)
            del said[:-200]
            if _READY in line:
                ready.set()
    ready.set()


@contextlib.contextmanager
def running_engine() -> Generator[DockerEngine]:
    """Start an engine in a folder of its own; stop it and everything in it at the end."""
    for program in ("docker", "dockerd", "unshare", "ip"):
        need_program(program)
    if os.geteuid() != 0:
        missing("a Docker engine, for which the tests have to run as root,")
    folder = Path(tempfile.mkdtemp(prefix="hud-engine-"))
    (folder / "config").mkdir()
    engine = DockerEngine(folder)
    try:
        engine.start_daemon()
        yield engine
    finally:
        if engine.process is not None:
            left = engine.containers()
            if left:
                engine.docker("rm", "-f", "-v", *left)
            engine.stop_daemon()
        unmount_below(folder)
        shutil.rmtree(folder, ignore_errors=True)


def unmount_below(folder: Path) -> None:
    """Let go of what an engine keeps mounted: a killed one, or Podman between its commands."""
    mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
    for mount in sorted((m for m in mounts if m.startswith(f"{folder}/")), reverse=True):
        subprocess.run(["umount", "--lazy", mount], capture_output=True)
