"""The version of the wire protocol this package speaks."""

PROTOCOL_VERSION = "hud/1.0"
