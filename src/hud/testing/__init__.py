"""Public doubles and conformance checks, for the tests of whoever builds on this package."""

from hud.testing.check_agent import check_agent
from hud.testing.check_capability import check_capability
from hud.testing.check_provider import check_provider, check_runtime
from hud.testing.check_sink import check_sink
from hud.testing.check_store import check_store

__all__ = [
    "check_agent",
    "check_capability",
    "check_provider",
    "check_runtime",
    "check_sink",
    "check_store",
]
