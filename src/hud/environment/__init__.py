"""The serve side: declare environments, find them in sources, serve them.

Imports neither clients nor agents; the protocol package is what it shares with them. What runs
daemons (workspaces, browsers, desktops, tools) is loaded when it is first named.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from hud.environment.arguments import (
    Answer,
    DataFileArg,
    DataFileRef,
    DataFilesArg,
    GradingArg,
    PromptArg,
)
from hud.environment.environment import Environment
from hud.environment.loader import load_environment
from hud.protocol.capability import Capability

if TYPE_CHECKING:
    from hud.environment.browser import Browser
    from hud.environment.daemon import Daemon
    from hud.environment.desktop import Desktop
    from hud.environment.tools import ToolServer
    from hud.environment.workspace import Workspace
    from hud.sandbox.spec import DEFAULT_SYSTEM_MOUNTS, Limits, Mount, MountKind, Peer

_HOMES = {
    "Browser": "hud.environment.browser",
    "DEFAULT_SYSTEM_MOUNTS": "hud.sandbox.spec",
    "Daemon": "hud.environment.daemon",
    "Desktop": "hud.environment.desktop",
    "Limits": "hud.sandbox.spec",
    "Mount": "hud.sandbox.spec",
    "MountKind": "hud.sandbox.spec",
    "Peer": "hud.sandbox.spec",
    "ToolServer": "hud.environment.tools",
    "Workspace": "hud.environment.workspace",
}

__all__ = [
    "DEFAULT_SYSTEM_MOUNTS",
    "Answer",
    "Browser",
    "Capability",
    "Daemon",
    "DataFileArg",
    "DataFileRef",
    "DataFilesArg",
    "Desktop",
    "Environment",
    "GradingArg",
    "Limits",
    "Mount",
    "MountKind",
    "Peer",
    "PromptArg",
    "ToolServer",
    "Workspace",
    "load_environment",
]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'hud.environment' has no attribute {name!r}")
    value = getattr(importlib.import_module(home), name)
    globals()[name] = value
    return value
