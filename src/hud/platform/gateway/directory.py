"""What each team's providers serve, read from the database and remembered for a moment.

A call finds it in memory. It is read anew behind a call once it is a second old, before a call when
it is older than that, and at once after a change made through this server.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace

from hud._core.errors import HudError
from hud.models.catalog import Catalog, load_catalog
from hud.models.endpoint import NO_KEY, Endpoint, checked_key
from hud.platform.database import Database
from hud.platform.gateway.addresses import proxy_for
from hud.platform.gateway.providers import ModelRow, Provider, read_models, read_providers
from hud.platform.gateway.served import OpenProvider, Served, knows_models
from hud.platform.secrets import SecretBox

logger = logging.getLogger(__name__)

FRESH_S = 1.0
STALE_S = 5.0
_MOMENT_S = 0.1
_TEAMS_AT_MOST = 10_000

Extra = Callable[[str], Sequence[OpenProvider]]
"""Further providers of a team, beside those that are kept."""


@dataclass(slots=True)
class _Seen:
    served: Served
    at: float


class Directory:
    """Finds what a team's providers serve. Belongs to one event loop.

    Args:
        extra: Providers that are in no database; kept ones of the same name hide them.
        offers: Asks the server of a provider which names it has.
    """

    def __init__(
        self,
        database: Database,
        box: SecretBox,
        *,
        extra: Extra = lambda team: (),
        offers: Callable[[OpenProvider], Awaitable[tuple[str, ...]]],
    ) -> None:
        self._database = database
        self._box = box
        self._extra = extra
        self._offers = offers
        self._seen: dict[str, _Seen] = {}
        self._reading: dict[str, asyncio.Task[Served]] = {}

    async def served(self, team: str, *, newest: bool = False) -> Served:
        """Return what is served to a team now.

        Args:
            newest: Read it unless that was done this very moment.

        Raises:
            StoreError: when the database cannot be read and nothing is remembered.
        """
        seen = self._seen.get(team)
        age = time.monotonic() - seen.at if seen is not None else STALE_S
        if seen is not None and age < (_MOMENT_S if newest else FRESH_S):
            return seen.served
        task = self._reading.get(team)
        if task is None:
            task = self._reading[team] = asyncio.ensure_future(self._read(team))
            task.add_done_callback(lambda done: self._over(team, done))
        if seen is not None and age < STALE_S and not newest:
            return seen.served
        return await asyncio.shield(task)

    def forget(self, team: str) -> None:
        """Read a team's providers anew at the next call: they changed."""
        self._seen.pop(team, None)
        self._reading.pop(team, None)

    async def aclose(self) -> None:
        """Wait for what is being read."""
        await asyncio.gather(*self._reading.values(), return_exceptions=True)

    async def _read(self, team: str) -> Served:
        rows, models = await asyncio.to_thread(self._kept, team)
        catalog = load_catalog()
        found = {row.name: self._opened(row, catalog) for row in rows}
        for provider in self._extra(team):
            found.setdefault(provider.name, provider)
        listing = {model.provider for model in models}
        asked = [one for one in found.values() if one.name not in listing]
        asked = [one for one in asked if not knows_models(catalog, one)]
        said = await asyncio.gather(*(self._offers(one) for one in asked))
        for provider, names in zip(asked, said, strict=True):
            found[provider.name] = replace(provider, offers=names)
        served = Served(list(found.values()), models, catalog)
        if self._reading.get(team) is asyncio.current_task():
            if len(self._seen) >= _TEAMS_AT_MOST:
                self._seen.clear()
            self._seen[team] = _Seen(served, time.monotonic())
        return served

    def _kept(self, team: str) -> tuple[list[Provider], list[ModelRow]]:
        with self._database.reading() as connection:
            return read_providers(connection, team), read_models(connection, team)

    def _over(self, team: str, done: asyncio.Task[Served]) -> None:
        if self._reading.get(team) is done:
            del self._reading[team]
        if not done.cancelled() and (error := done.exception()) is not None:
            logger.warning("the providers of team %s could not be read: %s", team, error)

    def _opened(self, row: Provider, catalog: Catalog) -> OpenProvider:
        problem = None
        key = NO_KEY
        if row.secret is not None:
            try:
                key = checked_key(self._box.decrypt(row.secret))
            except HudError as error:
                problem = f"the key of the provider {row.name!r} cannot be used: {error.message}"
        known = catalog.provider_at(row.base_url)
        name = known.name if known is not None else None
        if name is None and row.name in catalog.providers:
            name = row.name
        return OpenProvider(
            row.name,
            row.dialect,
            Endpoint(row.base_url, key, provider=name or row.name),
            row.created_at,
            problem,
            proxy=proxy_for(row.base_url),
        )
