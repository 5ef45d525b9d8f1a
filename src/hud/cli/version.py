"""`hud version`."""

from __future__ import annotations

from hud._version import __version__
from hud.cli.boundary import AsJson, Verbosity, guarded
from hud.cli.streams import note, write, write_json


@guarded
def command(as_json: AsJson = False, verbose: Verbosity = 0) -> None:
    """Print the version."""
    import platform

    from hud.packaging.wheel import foreign_owner
    from hud.protocol.version import PROTOCOL_VERSION

    foreign = foreign_owner()
    if foreign is not None:
        note(f"warning: another project's hud is installed here: {foreign}")
        note("hint: pip uninstall hud hud-python, then install this one again")
    if as_json:
        version = {"version": __version__, "protocol": PROTOCOL_VERSION, "foreign": foreign}
        write_json({**version, "python": platform.python_version()})
    else:
        write(__version__)
