"""The places a command line can name: `NAME[:ARGUMENT]`, or the address of what serves already.

A runtime's module offers itself with `named(argument, source, env)`; other packages add theirs as
entry points of the group `hud.runtimes`.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import cast

from hud._core.errors import InputError, bounded
from hud.clients.connect import connect
from hud.clients.dial import check_url
from hud.runtimes.base import Checked, Provider, Runtime
from hud.runtimes.hosted import HostedRuntime

Named = Callable[[str | None, Path | str | None, str | None], Provider | HostedRuntime]

ENTRY_POINTS = "hud.runtimes"
LOCAL, SUBPROCESS, BUNDLE, HOSTED = "local", "subprocess", "bundle", "hosted"
READY_TIMEOUT_S = 10.0

# What makes each from its argument, the Python source and the environment's name.
_NAMED = {
    LOCAL: "hud.runtimes.local:named",
    SUBPROCESS: "hud.runtimes.subprocess:named",
    BUNDLE: "hud.runtimes.bundle:named",
    "docker": "hud.runtimes.docker:named",
    "hud": "hud.runtimes.leased:named",
    HOSTED: "hud.runtimes.hosted:named",
    "ray": "hud.runtimes.ray:named",
    "kubernetes": "hud.runtimes.kubernetes:named",
    "modal": "hud.runtimes.modal:named",
    "daytona": "hud.runtimes.daytona:named",
    "e2b": "hud.runtimes.e2b:named",
}
# Those that run the Python source of this machine; all others bring the environment with them.
_NEED_SOURCE = (LOCAL, SUBPROCESS, "ray")
_SCHEMES = ("tcp://", "unix://")


def is_address(name: str) -> bool:
    """Tell whether a place is named by the address of an environment that serves already."""
    return name.startswith(_SCHEMES)


def needs_source(name: str) -> bool:
    """Tell whether a place runs the Python source of this machine, rather than what it holds."""
    # A bundle that is not named is built of the source at hand.
    return not is_address(name) and (name == BUNDLE or name.partition(":")[0] in _NEED_SOURCE)


def known_places() -> list[str]:
    """Return the names a place can have, those other packages offer included."""
    return [*_NAMED, *sorted({point.name for point in _offered()} - _NAMED.keys())]


def place_at(name: str, source: Path | str | None, *, env: str | None = None) -> Provider:
    """Return the provider that `name` means.

    Raises:
        InputError: for a place where only whole rollouts are run; and as `runtime_at`.
    """
    found = runtime_at(name, source, env=env)
    if isinstance(found, HostedRuntime):
        raise InputError(
            f"--runtime {name} runs whole rollouts of agents it knows",
            hint="--runtime hud lends the same environments to an agent that is here",
        )
    return found


def runtime_at(
    name: str, source: Path | str | None, *, env: str | None = None
) -> Provider | HostedRuntime:
    """Return what `name` means.

    Args:
        name: A runtime's name, with its argument after a colon; or `tcp://host:port` or
            `unix:///path`.
        source: The Python file or folder the environment is in, for a runtime that runs it.
        env: Which environment, when the source has several; the task's own otherwise.

    Raises:
        InputError: for another name, or a place that needs a source and has none.
    """
    if is_address(name):
        check_url(name)
        return Runtime(name, params={"ready_timeout": READY_TIMEOUT_S})
    kind, _, argument = name.partition(":")
    make = _maker(kind)
    if kind in _NEED_SOURCE and source is None:
        raise InputError(
            f"--runtime {kind} needs the Python source of the environment",
            hint="name it with --source env.py, or give the address of a served one: "
            "--runtime tcp://host:port",
        )
    return make(argument or None, source, env)


def _maker(kind: str) -> Named:
    if kind in _NAMED:
        module, _, attribute = _NAMED[kind].partition(":")
        return cast("Named", getattr(importlib.import_module(module), attribute))
    for point in _offered():
        if point.name == kind:
            try:
                return cast("Named", point.load())
            except Exception as error:
                raise InputError(
                    f"runtime {kind} ({point.value}) cannot be loaded: "
                    f"{type(error).__qualname__}: {bounded(str(error), 300)}"
                ) from error
    raise InputError(
        f"there is no runtime {bounded(kind)!r}",
        hint=f"one of: {', '.join(known_places())}, tcp://host:port, unix:///path",
    )


def _offered() -> list[EntryPoint]:
    return list(entry_points(group=ENTRY_POINTS))


async def check_place(provider: Provider | HostedRuntime) -> None:
    """Find out, before anything is recorded, whether there is anything to run on.

    An address is dialled; a provider with a coroutine `check` is asked through it.

    Raises:
        RuntimeFault: when nothing answers within 10 seconds.
        EnvironmentFault: when what answers is no environment.
        HudError: what a provider's `check` raises.
    """
    if isinstance(provider, Runtime):
        async with connect(provider):
            pass
    elif isinstance(provider, Checked):
        await provider.check()
