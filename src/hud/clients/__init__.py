"""The drive side of the protocol: connect to an environment and call it."""

from hud.clients.client import HudClient, Manifest, ServerInfo
from hud.clients.connect import DEFAULT_READY_TIMEOUT, connect
from hud.protocol.frames import HudProtocolError

__all__ = [
    "DEFAULT_READY_TIMEOUT",
    "HudClient",
    "HudProtocolError",
    "Manifest",
    "ServerInfo",
    "connect",
]
