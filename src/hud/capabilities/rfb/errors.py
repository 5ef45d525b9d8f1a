"""What went wrong on a screen: the caller's mistake, which a model may be told, or a fault."""

from __future__ import annotations

from hud._core.errors import InputError


class RFBError(InputError):
    """An action that this screen cannot perform: a place outside it, a key nobody knows.

    No fault of the server: a harness hands its message back to the model.
    """

    code = "rfb"


class ServerError(Exception):
    """The server broke the protocol, refused, or hung up; mapped to a fault where it is caught."""
