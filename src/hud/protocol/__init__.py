"""The HUD wire protocol: frames, methods, capability rows and the rules of a session.

Sans-I/O. The environment and the client both build on this package; neither imports the other.
"""

from hud.protocol.capability import Capability
from hud.protocol.dispatch import Action, Call, Refuse, ServerSession
from hud.protocol.frames import HudProtocolError
from hud.protocol.framing import MAX_FRAME_BYTES, FrameBuffer, FrameTooLong
from hud.protocol.version import PROTOCOL_VERSION

__all__ = [
    "MAX_FRAME_BYTES",
    "PROTOCOL_VERSION",
    "Action",
    "Call",
    "Capability",
    "FrameBuffer",
    "FrameTooLong",
    "HudProtocolError",
    "Refuse",
    "ServerSession",
]
