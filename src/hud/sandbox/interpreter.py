"""Where this Python lies, so that a sandbox can show it.

The supervisor needs the bare interpreter with its standard library; a task whose agent or grader
runs Python asks for the packages too.
"""

from __future__ import annotations

import functools
import os
import sys
import sysconfig
from pathlib import Path

from hud.sandbox.spec import Mount

GUEST = Path(__file__).parent / "guest"
GUEST_INSIDE = "/run/hud/guest"
_BOOT = "import sys;sys.path.insert(0,{place!r});from guest.main import main;main({control})"


@functools.cache
def executable() -> str:
    """Return the path of the interpreter itself, whatever venv this process runs in."""
    return os.path.realpath(sys.executable)


def venv_executable() -> str:
    """Return the interpreter by the path that makes its packages importable."""
    return sys.executable


def supervisor_argv(control: int, *, inside: bool) -> list[str]:
    """Return the command that starts the supervisor on the descriptor `control`."""
    place = str(Path(GUEST_INSIDE).parent if inside else GUEST.parent)
    boot = _BOOT.format(place=place, control=control)
    return [executable(), "-I", "-S", "-B", "-X", "utf8", "-c", boot]


@functools.cache
def supervisor_mounts() -> tuple[Mount, ...]:
    """Return what the supervisor needs to see: interpreter, standard library, its own modules."""
    mounts: list[Mount] = []
    if not _is_system(executable()):
        mounts.append(Mount("ro", executable(), executable()))
    for name in ("stdlib", "platstdlib"):
        path = os.path.realpath(sysconfig.get_path(name))
        if not _is_system(path) and not any(mount.dst == path for mount in mounts):
            mounts.append(Mount("ro", path, path))
            mounts.append(Mount("tmpfs", dst=f"{path}/site-packages", mode=0o755))
    shared = sysconfig.get_config_var("LDLIBRARY")
    folder = sysconfig.get_config_var("LIBDIR")
    if isinstance(shared, str) and isinstance(folder, str) and ".so" in shared:
        library = os.path.realpath(f"{folder}/{shared}")
        if not _is_system(library):
            mounts.append(Mount("ro", library, library, optional=True))
            link = f"{folder}/{sysconfig.get_config_var('INSTSONAME') or shared}"
            if link != library:
                mounts.append(Mount("ro", library, link, optional=True))
    mounts.append(Mount("ro", str(GUEST), GUEST_INSIDE))
    return tuple(mounts)


def package_mounts() -> tuple[Mount, ...]:
    """Return mounts that show this Python with everything installed for it."""
    mounts: list[Mount] = []
    for prefix in dict.fromkeys((sys.base_prefix, sys.prefix)):
        path = os.path.realpath(prefix)
        if not _is_system(path):
            mounts.append(Mount("ro", path, path))
            if path != prefix:
                mounts.append(Mount("ro", path, prefix))
    return tuple(mounts)


def _is_system(path: str) -> bool:
    return path == "/usr" or path.startswith(("/usr/", "/lib", "/bin/"))
