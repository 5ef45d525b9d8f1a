"""Labels of whatever is made at a cloud: who owns it, so that a later command can reap it.

An owner is judged only by the machine it ran on, since its last boot: nobody else can tell
whether it lives. What nobody judges ends when its maximum lifetime at the vendor is over.
"""

from __future__ import annotations

import hashlib
import os
import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

from hud._core.processes import LINUX, identity_of

OWNER, PLACE, ENVIRONMENT, CREATED = "hud.owner", "hud.place", "hud.environment", "hud.created"
MACHINE = "hud.machine"
_TEXT_LIMIT = 63


def labels(place_id: str, environment: str) -> dict[str, str]:
    """Return the labels of a place that this process makes."""
    return {
        OWNER: _owner(),
        MACHINE: this_machine(),
        PLACE: place_id,
        ENVIRONMENT: _plain(environment),
        CREATED: datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ"),
    }


def is_abandoned(found: Mapping[str, str]) -> bool:
    """Tell whether these labels are of a process of this machine that is certainly gone."""
    machine, _, process = found.get(OWNER, "").partition(".")
    pid = process.partition("-")[0]
    if not LINUX or machine != this_machine() or not pid.isdigit():
        return False
    return _process(int(pid)) != process


def _owner() -> str:
    pid = os.getpid()
    return f"{this_machine()}.{_process(pid) or f'{pid}-0'}"


def _process(pid: int) -> str | None:
    identity = identity_of(pid)
    return None if identity is None else identity.replace(":", "-")


@cache
def this_machine() -> str:
    """Name this machine, boot and process namespace; containers of one image differ."""
    parts = [platform.node()]
    for path in ("/etc/machine-id", "/proc/sys/kernel/random/boot_id"):
        try:
            parts.append(Path(path).read_text("utf-8", "replace").strip())
        except OSError:
            parts.append("")
    try:
        parts.append(os.readlink("/proc/self/ns/pid"))  # noqa: PTH115 -- no path, a kernel's name
    except OSError:
        parts.append("")
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def _plain(text: str) -> str:
    return "".join(c if c.isascii() and (c.isalnum() or c in "-_.") else "-" for c in text)[
        :_TEXT_LIMIT
    ]
