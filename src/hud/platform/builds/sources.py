"""Where the packages of a build come from, as the operator of this machine has set it up.

A build sees none of the server's variables. It needs to know which package index to ask, and may
have to see folders of packages on this machine.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import urlsplit

from hud.sandbox.spec import Mount

_VARIABLES = (
    *("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS", "PIP_NO_INDEX"),
    *("PIP_CERT", "PIP_CONSTRAINT", "PIP_DEFAULT_TIMEOUT"),
)
_CONFIGURED = (Path("/etc/pip.conf"), Path("/etc/xdg/pip/pip.conf"))


def variables() -> dict[str, str]:
    """Return what pip is told by variables; what holds a password is left out."""
    found = {name: os.environ[name] for name in _VARIABLES if os.environ.get(name)}
    return {name: value for name, value in found.items() if "@" not in value}


def mounts() -> tuple[Mount, ...]:
    """Return the folders and files of this machine that pip is pointed at, to be read."""
    named = [*variables().values()]
    for path in _CONFIGURED:
        try:
            text = path.read_text("utf-8", "replace")[: 1 << 16]
        except OSError:
            continue
        named += [value for line in text.splitlines() for value in line.partition("=")[2].split()]
    places = dict.fromkeys(_paths_in(named))
    return tuple(Mount("ro", path, path, optional=True) for path in places)


def _paths_in(values: Iterable[str]) -> Iterable[str]:
    for value in values:
        for word in value.split():
            path = urlsplit(word).path if word.startswith("file://") else word
            # What a sandbox shows anyway, and what would show too much.
            if path.startswith(("/usr/", "/etc/")) or len(Path(path).parts) < 3:
                continue
            if path.startswith("/") and ".." not in Path(path).parts:
                yield path
