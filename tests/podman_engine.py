"""A real Podman for the tests: storage and settings of their own, nothing runs between commands.

The settings are what it needs on machines that are containers themselves: `runc`, control groups
without systemd, and limits that may be had there.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.docker_base import BASE_IMAGE, write_base
from tests.docker_engine import unmount_below
from tests.needs import missing, need_program

_SETTINGS = """
[containers]
default_ulimits = ["nofile=20000:20000", "nproc=20000:20000"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
tmp_dir = "{folder}/tmp"
[network]
network_config_dir = "{folder}/networks"
"""
_STORAGE = """
[storage]
driver = "overlay"
graphroot = "{folder}/graph"
runroot = "{folder}/run"
"""


class PodmanEngine:
    """Podman with a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def environ(self) -> Mapping[str, str]:
        """Variables for those that are to use this engine, and no other."""
        return {
            "HUD_ENGINE": "podman",
            "CONTAINERS_CONF": str(self.folder / "containers.conf"),
            "CONTAINERS_STORAGE_CONF": str(self.folder / "storage.conf"),
        }

    def podman(self, *words: str, check: bool = True) -> str:
        """Run the command line and return what it printed."""
        done = subprocess.run(
            ["podman", *words],
            env={**os.environ, **self.environ},
            capture_output=True,
            text=True,
            timeout=300,
        )
        if check:
            assert done.returncode == 0, f"podman {words}: {done.stderr}\n{done.stdout}"
        return done.stdout.strip()

    def containers(self) -> list[str]:
        """Return the ids of all containers, those that ended included."""
        return self.podman("ps", "-aq", "--no-trunc").split()


@contextmanager
def running_podman() -> Generator[PodmanEngine]:
    """Prepare one with the base image in it; remove everything of it at the end."""
    for program in ("podman", "runc"):
        need_program(program)
    if os.geteuid() != 0:
        missing("Podman with storage of its own, for which the tests have to run as root,")
    folder = Path(tempfile.mkdtemp(prefix="hud-podman-"))
    engine = PodmanEngine(folder)
    try:
        for name, text in (("containers.conf", _SETTINGS), ("storage.conf", _STORAGE)):
            (folder / name).write_text(text.format(folder=folder))
        archive = folder / "base.tar"
        engine.podman("import", *write_base(archive), str(archive), BASE_IMAGE)
        archive.unlink()
        yield engine
    finally:
        left = engine.podman("ps", "-aq", check=False).split()
        if left:
            engine.podman("rm", "--force", "--time", "0", *left, check=False)
        unmount_below(folder)
        shutil.rmtree(folder, ignore_errors=True)
