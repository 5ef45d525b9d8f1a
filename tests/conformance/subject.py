"""What a conformance test of a capability client is given: the class, a daemon's row, what to do.

A module in `tests/conformance/daemons` makes one; see `test_capabilities`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from hud.capabilities import Capability, CapabilityClient

C = TypeVar("C", bound=CapabilityClient)


@dataclass(frozen=True)
class Subject(Generic[C]):
    """The arguments of `hud.testing.check_capability`, with its meanings."""

    client_class: type[C]
    capability: Capability
    use: Callable[[C], Awaitable[object]]
    kill: Callable[[], Awaitable[object] | None] | None = None
    prepare: Callable[[], Awaitable[Mapping[str, Any]]] | None = None
    parallel: int = 2
    connect_limit_s: float = 60.0
    impatient: Mapping[str, Any] | None = None
