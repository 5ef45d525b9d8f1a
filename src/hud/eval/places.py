"""The places a command line can name: `local`, `subprocess`, or the address of what serves."""

from __future__ import annotations

from pathlib import Path

from hud._core.errors import InputError, bounded
from hud.clients.connect import connect
from hud.clients.dial import check_url
from hud.environment.loader import resolve
from hud.runtimes.base import Provider, Runtime

LOCAL, SUBPROCESS = "local", "subprocess"
READY_TIMEOUT_S = 10.0

_SCHEMES = ("tcp://", "unix://")


def is_address(name: str) -> bool:
    """Tell whether a place is named by the address of an environment that serves already."""
    return name.startswith(_SCHEMES)


def place_at(name: str, source: Path | str | None, *, env: str | None = None) -> Provider:
    """Return the provider that `name` means.

    Args:
        name: `local`, `subprocess`, `tcp://host:port` or `unix:///path`.
        source: The Python file or folder the environment is in; an address needs none.
        env: Which environment, when the source has several; the task's own otherwise.

    Raises:
        InputError: for another name, or a place that needs a source and has none.
    """
    if is_address(name):
        check_url(name)
        return Runtime(name, params={"ready_timeout": READY_TIMEOUT_S})
    if name not in (LOCAL, SUBPROCESS):
        raise InputError(
            f"there is no runtime {bounded(name)!r}",
            hint="one of: local, subprocess, tcp://host:port, unix:///path",
        )
    if source is None:
        raise InputError(
            f"--runtime {name} needs the Python source of the environment",
            hint="name it with --source env.py, or give the address of a served one: "
            "--runtime tcp://host:port",
        )
    resolve(source)
    if name == LOCAL:
        from hud.runtimes.local import LocalRuntime

        return LocalRuntime(source, env=env)
    from hud.runtimes.subprocess import SubprocessRuntime

    return SubprocessRuntime(source, env=env)


async def check_place(provider: Provider) -> None:
    """Find out, before anything is recorded, whether a named address answers.

    Raises:
        RuntimeFault: when nothing answers within 10 seconds.
        EnvironmentFault: when what answers is no environment.
    """
    if isinstance(provider, Runtime):
        async with connect(provider):
            pass
