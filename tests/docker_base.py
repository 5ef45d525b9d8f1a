"""An image to build on where none can be pulled: the Python that runs the tests, and some programs.

It holds what hud requires, so that installing its wheel needs no network; hud itself is not in it.
"""

from __future__ import annotations

import importlib.metadata
import io
import re
import subprocess
import sys
import sysconfig
import tarfile
from collections.abc import Iterable
from pathlib import Path

from packaging.requirements import Requirement

from tests.docker_engine import DockerEngine
from tests.needs import need_program

BASE_IMAGE = "hud-test-base:latest"
_PROGRAMS = (
    *("sh", "bash", "cat", "ls", "cp", "mv", "rm", "mkdir", "rmdir", "touch", "chmod", "chown"),
    *("ln", "env", "sleep", "id", "true", "false", "echo", "head", "tail", "wc", "sort", "grep"),
    *("sed", "find", "ps", "tr", "cut", "tee", "test", "date", "uname", "stat", "mktemp", "pwd"),
    *("timeout", "nohup", "printf", "dirname", "basename", "readlink", "dd", "kill", "seq"),
    *("bwrap", "setpriv", "whoami", "expr", "du", "df", "diff", "xargs", "awk", "tar", "gzip"),
    *("unshare", "mount", "nice", "stty", "tty", "sha256sum", "git"),
)
_LEFT_OUT = re.compile(
    r"/(test|tests|idlelib|turtledemo|tkinter|lib2to3|config-3[^/]*|EXTERNALLY-MANAGED)(/|$)"
)
_PLACE = "usr/local/lib"
_PEOPLE = "root:x:0:0:root:/root:/bin/bash\nnobody:x:65534:65534:nobody:/:/bin/false\n"


def import_base(engine: DockerEngine) -> str:
    """Make the image in `engine` and return its name."""
    archive = engine.folder / "base.tar"
    engine.docker("import", *write_base(archive), str(archive), BASE_IMAGE)
    archive.unlink()
    return BASE_IMAGE


def write_base(archive: Path) -> list[str]:
    """Write the image's files to an archive, and return the options to import it with."""
    with tarfile.open(archive, "w") as tar:
        _write(tar)
    changes = ("ENV PATH=/usr/local/bin:/usr/bin:/bin", "ENV LANG=C.UTF-8", "WORKDIR /")
    return [word for change in changes for word in ("--change", change)]


def _write(tar: tarfile.TarFile) -> None:
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    packages = f"{_PLACE}/{version}/site-packages"
    interpreter = Path(sys.executable).resolve()
    objects: set[Path] = {interpreter}
    for folder in ("usr/bin", "usr/lib", "usr/lib64", "usr/sbin", "etc", "root", "proc", "sys"):
        _folder(tar, folder)
    for folder, mode in (("tmp", 0o1777), ("var/tmp", 0o1777), ("run", 0o755), ("home", 0o755)):
        _folder(tar, folder, mode)
    for name in ("bin", "lib", "lib64", "sbin"):
        _link(tar, name, f"usr/{name}")
    _text(tar, "etc/passwd", _PEOPLE)
    _text(tar, "etc/group", "root:x:0:\nnogroup:x:65534:\n")
    stdlib = Path(sysconfig.get_path("stdlib"))
    objects |= _tree(tar, stdlib, f"{_PLACE}/{version}", without="site-packages")
    tar.add(interpreter, f"usr/local/bin/{version}")
    for name in ("python3", "python"):
        _link(tar, f"usr/local/bin/{name}", version)
    purelib = Path(sysconfig.get_path("purelib"))
    for path in _package_files(purelib):
        tar.add(path, f"{packages}/{path.relative_to(purelib)}", recursive=False)
        if ".so" in path.name:
            objects.add(path)
    _link(tar, f"{_PLACE}/{version}/dist-packages", "site-packages")
    if "posix_local" in sysconfig.get_scheme_names():  # Debian's installs below PREFIX/local
        _link(tar, "usr/local/local", ".")
    for program in _PROGRAMS:
        path = Path(need_program(program))
        tar.add(path.resolve(), f"usr/bin/{program}")
        objects.add(path.resolve())
    for name, path in libraries_of(objects).items():
        tar.add(path.resolve(), name)


def _tree(tar: tarfile.TarFile, source: Path, place: str, *, without: str) -> set[Path]:
    """Add a folder's files; return those that are shared objects."""
    objects: set[Path] = set()
    for path in sorted(source.rglob("*")):
        relative = path.relative_to(source)
        if relative.parts[0] == without or _LEFT_OUT.search(f"/{relative}"):
            continue
        tar.add(path.resolve() if path.is_symlink() else path, f"{place}/{relative}", False)
        if path.name.endswith(".so"):
            objects.add(path)
    return objects


def _package_files(purelib: Path) -> Iterable[Path]:
    """Yield the files of everything hud requires, and of what a build needs."""
    wanted, seen = ["hud-python", "pip", "setuptools", "wheel", "hatchling"], set[str]()
    while wanted:
        name = re.sub(r"[-_.]+", "-", wanted.pop()).lower()
        if name in seen:
            continue
        seen.add(name)
        try:
            found = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            continue
        for text in found.requires or ():
            requirement = Requirement(text)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                wanted.append(requirement.name)
        if name == "hud-python":
            continue
        for file in found.files or ():
            path = Path(str(found.locate_file(file)))
            if ".." not in file.parts and path.is_file():
                yield path


def libraries_of(objects: Iterable[Path]) -> dict[str, Path]:
    """Return what the loader needs for these, by the place in the image."""
    found: dict[str, Path] = {}
    paths = [str(path) for path in objects]
    for start in range(0, len(paths), 200):
        done = subprocess.run(
            ["ldd", *paths[start : start + 200]], capture_output=True, text=True, check=False
        )
        for line in done.stdout.splitlines():
            match = re.search(r"(?:=> )?(/\S+) \(0x", line)
            if match is None or "site-packages" in match[1]:
                continue
            path = Path(match[1])
            name = str(path).lstrip("/")
            if name.startswith(("lib/", "lib64/")):
                name = f"usr/{name}"
            if not name.startswith("usr/"):
                name = f"usr/lib/{path.name}"
            found[name] = path
    found.update(_name_services())
    return found


def _name_services() -> dict[str, Path]:
    """Return the libraries that are loaded by name only, to look up people."""
    folder = Path(f"/lib/{sysconfig.get_config_var('MULTIARCH') or 'x86_64-linux-gnu'}")
    return {f"usr{folder}/{path.name}": path for path in folder.glob("libnss_files.so.2")}


def _folder(tar: tarfile.TarFile, name: str, mode: int = 0o755) -> None:
    entry = tarfile.TarInfo(name)
    entry.type, entry.mode = tarfile.DIRTYPE, mode
    tar.addfile(entry)


def _link(tar: tarfile.TarFile, name: str, to: str) -> None:
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname = tarfile.SYMTYPE, to
    tar.addfile(entry)


def _text(tar: tarfile.TarFile, name: str, text: str) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(text.encode()), 0o644
    tar.addfile(entry, io.BytesIO(text.encode()))
