"""Capability rows and the live clients that drive them; each is loaded on first use."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hud.capabilities.base import CapabilityClient
    from hud.capabilities.cdp import CDPClient
    from hud.capabilities.mcp import MCPClient
    from hud.capabilities.rfb import RFBClient
    from hud.capabilities.robot import RobotClient
    from hud.capabilities.ssh import SSHClient
    from hud.protocol.capability import Capability

_HOMES = {
    "CDPClient": "hud.capabilities.cdp",
    "Capability": "hud.protocol.capability",
    "CapabilityClient": "hud.capabilities.base",
    "MCPClient": "hud.capabilities.mcp",
    "RFBClient": "hud.capabilities.rfb",
    "RobotClient": "hud.capabilities.robot",
    "SSHClient": "hud.capabilities.ssh",
}

__all__ = [
    "CDPClient",
    "Capability",
    "CapabilityClient",
    "MCPClient",
    "RFBClient",
    "RobotClient",
    "SSHClient",
]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'hud.capabilities' has no attribute {name!r}")
    value = getattr(importlib.import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
