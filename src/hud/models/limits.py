"""How many model calls may be in flight at once, as users write it: `64`, `anthropic=20`.

What holds calls to it is `throttle`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from hud._core.errors import InputError, bounded

VARIABLE = "HUD_MODEL_CONCURRENCY"
_HINT = (
    "write a number for all calls together, or name=number for a provider, a model or a host, "
    "separated by commas: 64 or anthropic=20,gpt-5.6=50"
)


@dataclass(frozen=True, slots=True)
class ConcurrencyLimits:
    """Calls at once, over the whole job.

    Attributes:
        total: Of all calls together; None is as many as this process can open connections.
        named: Of one provider (all its models together), one model, or one `host[:port]`. A call
            keeps to every limit that names it.
    """

    total: int | None = None
    named: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))


def parse_limits(text: str | int, *, source: str = VARIABLE) -> ConcurrencyLimits:
    """Read limits as users write them; empty is none.

    Args:
        source: What the text came from, for messages.

    Raises:
        InputError: when it is no list of such limits.
    """
    total: int | None = None
    named: dict[str, int] = {}
    for part in str(text).split(",") if str(text).strip() else ():
        name, _, number = (piece.strip() for piece in part.rpartition("="))
        if (
            not (number.isascii() and number.isdigit())
            or int(number) < 1
            or ("=" in part) != bool(name)
        ):
            raise InputError(f"{source}: {bounded(part.strip())!r} is no limit", hint=_HINT)
        if name in named or (not name and total is not None):
            what = bounded(name) if name else "the total"
            raise InputError(f"{source}: {what} has two limits", hint=_HINT)
        if name:
            named[name] = int(number)
        else:
            total = int(number)
    return ConcurrencyLimits(total, MappingProxyType(named))
