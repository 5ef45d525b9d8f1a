"""Engines by the names a command line gives them: `embedded`, or another with its address."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import cast

from hud._core.errors import InputError, bounded
from hud.platform.leases.places import Places
from hud.platform.rollouts.engine import EmbeddedEngine, Engine, FindBuilt

EMBEDDED = "embedded"

Make = Callable[[str, Places, FindBuilt, int], Engine]
"""Makes an engine from its whole name, where places and builds come from, and its width."""

_ENGINES: dict[str, str] = {"ray": "hud.platform.rollouts.ray_engine:make"}
"""Where each further engine is made, by its name or the scheme of its address: `module:attribute`.

What needs a heavy library is loaded when it is named.
"""


def make_engine(name: str, places: Places, find_built: FindBuilt, *, width: int) -> Engine:
    """Return the engine that `name` means.

    Raises:
        InputError: when there is none of that name.
    """
    if name == EMBEDDED:
        return EmbeddedEngine(places, find_built, width=width)
    kind = name.partition(":")[0]
    home = _ENGINES.get(kind)
    if home is None:
        raise InputError(
            f"there is no engine {bounded(name)!r}",
            hint=f"one of: {', '.join((EMBEDDED, *_ENGINES))}",
        )
    module, _, attribute = home.partition(":")
    make = cast("Make", getattr(importlib.import_module(module), attribute))
    return make(name, places, find_built, width)
