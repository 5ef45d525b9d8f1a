"""What all model calls on one event loop share: throttles, caps, the response cache.

Settings are read at a loop's first call. Nothing here opens a connection.
"""

from __future__ import annotations

import asyncio
import os
import threading
from functools import cache
from urllib.parse import urlsplit
from weakref import WeakKeyDictionary

from hud.models.cache import VARIABLE as CACHE_VARIABLE
from hud.models.cache import ResponseCache, parse_cache_setting
from hud.models.endpoint import Endpoint
from hud.models.flights import Flights
from hud.models.limits import VARIABLE as LIMITS_VARIABLE
from hud.models.limits import ConcurrencyLimits, parse_limits
from hud.models.throttle import MAXIMUM, START, Cap, Throttle

_THROTTLES_AT_MOST = 1024
_FALLBACK_CONNECTIONS = 128


class SharedCalls:
    """The throttles of one event loop, and its cache.

    Args:
        limits: What the user allows at once.
        cache: Where replies are kept; None keeps none.
    """

    def __init__(
        self,
        limits: ConcurrencyLimits,
        cache: ResponseCache | None,
        flights: Flights | None = None,
    ) -> None:
        self.limits = limits
        self.cache = cache
        self.flights = flights or Flights()
        most = connection_limit()
        self._total = Cap(min(limits.total or most, most))
        self._named = {name: Cap(size) for name, size in limits.named.items()}
        self._throttles: dict[tuple[str, str], Throttle] = {}

    @property
    def throttles_held(self) -> int:
        """How many models are remembered."""
        return len(self._throttles)

    def throttle(self, endpoint: Endpoint, model: str) -> Throttle:
        """Return the throttle of a model behind an address, made at the first call.

        A provider is asked carefully at first. Another address, most often a server of one's
        own, takes what comes until it says otherwise.
        """
        throttle = self._throttles.get((endpoint.base_url, model))
        if throttle is None:
            if len(self._throttles) >= _THROTTLES_AT_MOST:
                self._throttles = {k: t for k, t in self._throttles.items() if not t.is_idle}
            start = MAXIMUM if endpoint.provider is None else START
            throttle = Throttle(start=start, caps=self._caps(endpoint, model))
            self._throttles[endpoint.base_url, model] = throttle
        return throttle

    def _caps(self, endpoint: Endpoint, model: str) -> list[Cap]:
        parts = urlsplit(endpoint.base_url)
        address = parts.netloc.rpartition("@")[2]
        names = {model, endpoint.provider or "", parts.hostname or "", address}
        return [self._total, *(cap for name, cap in self._named.items() if name in names)]


_of_loops: WeakKeyDictionary[asyncio.AbstractEventLoop, SharedCalls] = WeakKeyDictionary()
_lock = threading.Lock()


def shared_calls() -> SharedCalls:
    """Return what the calls of the running event loop share, made at the first call.

    Raises:
        InputError: when HUD_MODEL_CONCURRENCY or HUD_MODEL_CACHE has a value that means nothing.
    """
    loop = asyncio.get_running_loop()
    shared = _of_loops.get(loop)
    if shared is None:
        shared = _keep(loop, SharedCalls(configured_limits(), configured_cache()))
    return shared


def limit_concurrency(limits: ConcurrencyLimits | str | int | None) -> None:
    """Allow the calls of the running event loop so many at once, from the next one on.

    Goes before HUD_MODEL_CONCURRENCY. Calls that already wait keep to the limits they came under.

    Args:
        limits: As in the variable; None returns to what the variable says.

    Raises:
        InputError: when the text is no list of limits.
    """
    if limits is None:
        limits = configured_limits()
    elif not isinstance(limits, ConcurrencyLimits):
        limits = parse_limits(limits, source="model concurrency")
    loop = asyncio.get_running_loop()
    held = _of_loops.get(loop)
    if held is None:
        _keep(loop, SharedCalls(limits, configured_cache()))
    elif held.limits != limits:
        _keep(loop, SharedCalls(limits, held.cache, held.flights))


def configured_limits() -> ConcurrencyLimits:
    """Return what HUD_MODEL_CONCURRENCY says; call it to check the value before a job starts.

    Raises:
        InputError: when it is no list of limits.
    """
    return parse_limits(_variable(LIMITS_VARIABLE))


def configured_cache() -> ResponseCache | None:
    """Return the cache that HUD_MODEL_CACHE names; call it to check the value.

    Raises:
        InputError: when the value means nothing, or the folder cannot be written to.
    """
    return parse_cache_setting(_variable(CACHE_VARIABLE))


@cache
def connection_limit() -> int:
    """Return how many connections this process may open: half of its file descriptors."""
    try:
        import resource

        soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    except (ImportError, OSError):
        return _FALLBACK_CONNECTIONS
    return max(32, min(MAXIMUM, soft // 2)) if soft > 0 else MAXIMUM


def _keep(loop: asyncio.AbstractEventLoop, shared: SharedCalls) -> SharedCalls:
    with _lock:
        # A closed loop may be held by the timers and futures that its throttles hold.
        for other in list(_of_loops):
            if other.is_closed():
                del _of_loops[other]
        _of_loops[loop] = shared
    return shared


def _variable(name: str) -> str:
    if name in os.environ:
        return os.environ[name]
    from hud._core.settings import read_settings

    extra = read_settings().model_extra or {}
    held = extra.get(name.lower(), extra.get(name))
    return held if isinstance(held, str) else ""
