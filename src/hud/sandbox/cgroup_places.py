"""Where on this machine a new control group may be made, for each controller.

Version 2 has one tree, version 1 one per controller, and a machine may mount both. Making the
group and setting its limits is `cgroup`.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
from dataclasses import dataclass
from pathlib import Path

logger = logging.getLogger(__name__)

# `cgroup2` stands for the version 2 tree itself: killing, freezing, counting.
UNIFIED = "cgroup2"
_V1_WANTED: frozenset[str] = frozenset(("memory", "cpu", "cpuacct", "pids", "freezer"))
_V2_WANTED: frozenset[str] = frozenset(("memory", "cpu", "pids"))
_V2_LIMITS = ("memory.max", "memory.swap.max", "pids.max", "cpu.max")
_READ_AT_MOST = 1 << 20
_OWN_LEAF = "hud-host"


@dataclass(frozen=True, slots=True)
class Place:
    """A folder to make groups in.

    Attributes:
        controllers: What a group made there can limit or count.
        is_v2: Which version's files it has.
    """

    folder: Path
    controllers: frozenset[str]
    is_v2: bool


def find_places(proc: Path = Path("/proc")) -> list[Place]:
    """Return the folders to make a group in; a controller appears in one of them at most.

    Args:
        proc: Where to read this process's membership and mounts.
    """
    try:
        mounts = _mounts(_read(proc / "self" / "mountinfo"))
        own = _membership(_read(proc / "self" / "cgroup"))
    except OSError as error:
        logger.debug("no control groups: %s", error)
        return []
    places: dict[Path, Place] = {}
    taken: set[str] = set()
    for mount in mounts:
        if mount.is_v2:
            continue
        names = (mount.names & _V1_WANTED) - taken
        path = next((path for controllers, path in own if controllers & names), None)
        folder = None if path is None else _inside(mount, path)
        if names and folder is not None and os.access(folder, os.W_OK):
            places[folder] = Place(folder, frozenset(names), is_v2=False)
            taken |= names
    for mount in mounts:
        path = next((path for controllers, path in own if not controllers), None)
        folder = None if path is None or not mount.is_v2 else _inside(mount, path)
        if folder is not None:
            place = _v2_place(folder, mount.point, _V2_WANTED - taken)
            if place is not None:
                places[place.folder] = place
                break
    return list(places.values())


@dataclass(frozen=True, slots=True)
class _Mount:
    root: str
    point: Path
    is_v2: bool
    names: frozenset[str]


def _mounts(text: str) -> list[_Mount]:
    """Parse proc_pid_mountinfo(5), keeping the control group trees that may be written."""
    found: list[_Mount] = []
    for line in text.splitlines():
        before, _, after = line.partition(" - ")
        fields, kind = before.split(), after.split()
        if len(fields) < 6 or len(kind) < 3 or kind[0] not in ("cgroup", "cgroup2"):
            continue
        options = set(kind[2].split(",")) | set(fields[5].split(","))
        if "ro" in options:
            continue
        found.append(
            _Mount(
                _unescaped(fields[3]), Path(_unescaped(fields[4])), kind[0] == "cgroup2",
                frozenset(options),
            )
        )  # fmt: skip
    return found


def _unescaped(field: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), field)


def _membership(text: str) -> list[tuple[frozenset[str], str]]:
    """Parse cgroups(7) /proc/self/cgroup: controllers (none for version 2) and path."""
    found: list[tuple[frozenset[str], str]] = []
    for line in text.splitlines():
        _, controllers, path = line.split(":", 2)
        found.append((frozenset(filter(None, controllers.split(","))), path))
    return found


def _inside(mount: _Mount, path: str) -> Path | None:
    """Return where a group's path is seen, if the mount shows the part of the tree it is in."""
    root = mount.root.rstrip("/")
    if path != root and not path.startswith(f"{root}/"):
        # In a namespace of its own the mount shows the very group this process is in.
        return mount.point if path == "/" else None
    folder = mount.point / path[len(root) :].lstrip("/")
    return folder if folder.is_dir() else None


def _v2_place(own: Path, top: Path, wanted: frozenset[str]) -> Place | None:
    """Return the nearest folder whose groups get the wanted controllers, or as many as there are.

    A group with processes cannot give its children controllers (the root can), so where this
    process is alone in its own it moves into a leaf of it. Otherwise a group beside its own will
    do, but only past groups without limits: none that was set for this process is left.
    """
    if own.name == _OWN_LEAF and own != top:
        own = own.parent
    best: Place | None = None
    folder = own
    while True:
        place = _enabled(folder, wanted, may_move=folder == own)
        if place is not None and (best is None or place.controllers > best.controllers):
            best = place
        if best is not None and wanted <= best.controllers:
            return best
        if folder == top or not folder.is_relative_to(top) or not _is_unlimited(folder):
            return best
        folder = folder.parent


def _enabled(folder: Path, wanted: frozenset[str], *, may_move: bool) -> Place | None:
    if not os.access(folder, os.W_OK) or not os.access(folder / "cgroup.procs", os.W_OK):
        return None
    control = folder / "cgroup.subtree_control"
    try:
        # The root has no type; groups below a threaded one can hold no processes of their own.
        kind = _read(folder / "cgroup.type").strip() if (folder / "cgroup.type").exists() else None
        if kind not in (None, "domain"):
            return None
        offered = wanted & set(_read(folder / "cgroup.controllers").split())
        missing = offered - set(_read(control).split())
        # Some controllers would be accepted while processes are there, and make it a threaded one.
        is_busy = kind is not None and bool(_read(folder / "cgroup.procs").strip())
        if missing and (not is_busy or (may_move and _move_to_leaf(folder))):
            for name in sorted(missing):
                _enable(control, name)
        has = wanted & set(_read(control).split())
    except OSError as error:
        logger.debug("no controllers in %s: %s", folder, error)
        has = frozenset[str]()
    return Place(folder, frozenset({UNIFIED, *has}), is_v2=True)


def _enable(control: Path, name: str) -> None:
    try:
        control.write_text(f"+{name}")
    except OSError as error:
        logger.debug("%s does not take %s: %s", control, name, error)


def _move_to_leaf(folder: Path) -> bool:
    """Move this process into a leaf of its group, if nobody else is in it."""
    if _read(folder / "cgroup.procs").split() != [str(os.getpid())]:
        return False
    leaf = folder / _OWN_LEAF
    with contextlib.suppress(OSError):
        leaf.mkdir(exist_ok=True)
        (leaf / "cgroup.procs").write_text(str(os.getpid()))
        return True
    return False


def _is_unlimited(folder: Path) -> bool:
    for name in _V2_LIMITS:
        try:
            if not _read(folder / name).startswith("max"):
                return False
        except FileNotFoundError:
            continue
        except OSError:
            return False
    return True


def _read(path: Path) -> str:
    with path.open("rb") as file:
        return file.read(_READ_AT_MOST).decode("utf-8", "replace")
