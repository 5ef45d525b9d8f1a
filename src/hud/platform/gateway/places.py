"""How many calls each model of each team's provider takes at once, learnt from its refusals.

Keyed by team, since each team's own key is what a provider limits. HUD_MODEL_CONCURRENCY sets
limits by hand, as it does for an evaluation.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from hud.models.shared import configured_limits, connection_limit
from hud.models.throttle import MAXIMUM, Cap, Throttle
from hud.platform.gateway.served import Route

_AT_MOST = 4_096


class Places:
    """The throttles of this process. Belongs to one event loop."""

    def __init__(self) -> None:
        limits = configured_limits()
        most = connection_limit()
        self._total = Cap(min(limits.total or most, most))
        self._named = {name: Cap(size) for name, size in limits.named.items()}
        self._throttles: dict[tuple[str, str, str], Throttle] = {}

    def of(self, team: str, route: Route) -> Throttle:
        """Return the throttle of a model, made at its first call."""
        key = (team, route.provider.name, route.upstream)
        throttle = self._throttles.get(key)
        if throttle is None:
            if len(self._throttles) >= _AT_MOST:
                self._throttles = {k: t for k, t in self._throttles.items() if not t.is_idle}
            throttle = Throttle(start=MAXIMUM, caps=self._caps(route))
            self._throttles[key] = throttle
        return throttle

    def _caps(self, route: Route) -> list[Cap]:
        parts = urlsplit(route.provider.endpoint.base_url)
        names = {route.provider.name, route.upstream, parts.hostname or "", parts.netloc}
        return [self._total, *(cap for name, cap in self._named.items() if name in names)]
