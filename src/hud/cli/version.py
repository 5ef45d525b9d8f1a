"""`hud version`."""

from __future__ import annotations

from hud._version import __version__
from hud.cli.boundary import AsJson, Verbosity, guarded
from hud.cli.streams import write, write_json


@guarded
def command(as_json: AsJson = False, verbose: Verbosity = 0) -> None:
    """Print the version."""
    import platform

    from hud.protocol.version import PROTOCOL_VERSION

    if as_json:
        version = {"version": __version__, "protocol": PROTOCOL_VERSION}
        write_json({**version, "python": platform.python_version()})
    else:
        write(__version__)
