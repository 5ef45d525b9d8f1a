"""Which provider keeps a reply of the Responses API, for requests that name nothing but its id."""

from __future__ import annotations

from collections import OrderedDict

from hud.platform.gateway.served import OpenProvider, Served

_REMEMBERED = 50_000


class KeptReplies:
    """The replies that passed here. Another server's, or those before a start, are searched for."""

    def __init__(self) -> None:
        self._providers: OrderedDict[tuple[str, str], str] = OrderedDict()

    def note(self, team: str, reply_id: str, provider: str) -> None:
        """Remember who gave a reply."""
        self._providers[team, reply_id] = provider
        self._providers.move_to_end((team, reply_id))
        if len(self._providers) > _REMEMBERED:
            self._providers.popitem(last=False)

    def keepers(self, team: str, reply_id: str, served: Served) -> list[OpenProvider]:
        """Return the providers to ask, in this order, until one knows the reply."""
        known = served.providers.get(self._providers.get((team, reply_id), ""))
        if known is not None:
            return [known]
        return [
            provider
            for provider in served.providers.values()
            if provider.dialect == "openai" and provider.problem is None
        ]
