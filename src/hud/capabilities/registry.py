"""Which client class drives which protocol: the built-in five, plugins, and classes of one's own.

A client is found by the row's full protocol id (`ssh/2`) before its family (`ssh`). Under equal
names a class given to `register` comes first, then a built-in one, then a plugin: installing a
package replaces nothing unless it names a full id that no built-in names. Connecting is the
class's own part, caching live clients that of `hud.clients`.

A plugin is a distribution with an entry point in the group `hud.capabilities`. Its name is a
protocol id or a family, its value the class:

    [project.entry-points."hud.capabilities"]
    line = "hud_line:LineClient"
"""

from __future__ import annotations

import functools
import importlib
import sys
from importlib.metadata import EntryPoint, entry_points
from typing import Any, TypeVar, cast

from hud._core.errors import InputError, bounded
from hud.capabilities.base import CapabilityClient
from hud.protocol import capability
from hud.protocol.capability import Capability

GROUP = "hud.capabilities"
"""Entry-point group in which plugins name their client classes."""

C = TypeVar("C", bound=type[CapabilityClient])

_HOMES = {
    capability.SSH: "hud.capabilities.ssh:SSHClient",
    capability.MCP: "hud.capabilities.mcp:MCPClient",
    capability.CDP: "hud.capabilities.cdp:CDPClient",
    capability.RFB: "hud.capabilities.rfb:RFBClient",
    capability.ROBOT: "hud.capabilities.robot:RobotClient",
}
_BUILT_IN = {**{_id.partition("/")[0]: home for _id, home in _HOMES.items()}, **_HOMES}

_registered: dict[str, type[CapabilityClient]] = {}


def register(cls: C) -> C:
    """Have `cls` drive its own `protocol` in this process, and return it (so it can decorate).

    For code that comes in no distribution of its own. A class registered later for the same
    protocol takes its place.

    Raises:
        TypeError: when it is no `CapabilityClient` class, or names no protocol.
    """
    _check(cls, "register")
    _registered[cls.protocol] = cls
    return cls


def client_class(cap: Capability) -> type[CapabilityClient]:
    """Return the class that drives a row's protocol.

    Raises:
        InputError: when no class does, or the one that should cannot be loaded.
    """
    for name in dict.fromkeys((cap.protocol, cap.family)):
        if (own := _registered.get(name)) is not None:
            return own
        if (home := _BUILT_IN.get(name)) is not None:
            module, _, attribute = home.partition(":")
            return getattr(importlib.import_module(module), attribute)
        if (found := _plugins(tuple(sys.path)).get(name)) is not None:
            return _load(name, found)
    raise InputError(
        f"no client drives capability {cap.name!r}: its protocol is {bounded(cap.protocol)!r}",
        hint=f"known protocols: {', '.join(known())}; install a plugin for it, or register a class",
    )


def known() -> list[str]:
    """Return the protocol ids and families that have a client, sorted; nothing is loaded."""
    return sorted({*_HOMES, *_registered, *_plugins(tuple(sys.path))})


@functools.lru_cache(maxsize=1)
def _plugins(path: tuple[str, ...]) -> dict[str, list[EntryPoint]]:
    """Return what installed distributions offer, by name; looked up again when `sys.path` is new.

    Reading the metadata of every distribution takes tens of milliseconds, so not once per row.
    """
    found: dict[str, list[EntryPoint]] = {}
    for point in entry_points(group=GROUP):
        held = found.setdefault(point.name, [])
        if point.value not in {other.value for other in held}:
            held.append(point)
    return found


def _load(name: str, points: list[EntryPoint]) -> type[CapabilityClient]:
    if len(points) > 1:
        raise InputError(
            f"{len(points)} plugins want to drive {name!r}: {', '.join(map(_describe, points))}",
            hint="uninstall all but one of them",
        )
    point = points[0]
    try:
        loaded: Any = point.load()
        _check(loaded, point.value)
    except Exception as error:
        raise InputError(
            f"the plugin that drives {name!r}, {_describe(point)}, cannot be used: "
            f"{type(error).__qualname__}: {error}",
            hint="update it, or uninstall it",
        ) from error
    return loaded


def _describe(point: EntryPoint) -> str:
    origin = f"{point.dist.name} {point.dist.version}" if point.dist else "a distribution"
    return f"{point.value} of {origin}"


def _check(cls: Any, where: str) -> None:
    is_client = isinstance(cls, type) and issubclass(cast("type[Any]", cls), CapabilityClient)
    if not is_client:
        raise TypeError(f"{where}: {bounded(cls)} is no subclass of CapabilityClient")
    protocol: Any = getattr(cls, "protocol", None)
    if not isinstance(protocol, str) or not protocol:
        raise TypeError(f"{where}: its protocol must be an id such as raw/1, not {protocol!r}")
