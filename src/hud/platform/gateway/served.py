"""What a team's providers serve, and which of them a model's name means.

A name is, in this order: one that a provider lists, `PROVIDER/NAME`, an alias such as `claude`, or
one that the catalog knows to be a provider's. A provider that lists models serves those alone. Rows
are read by `directory`.
"""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hud._core.errors import bounded
from hud.models.asgi import Refusal
from hud.models.catalog import AGENT_KINDS, AgentKind, Catalog, ModelInfo, UnknownModel
from hud.models.endpoint import Endpoint
from hud.models.provider import ANTHROPIC, GOOGLE, Dialect
from hud.platform.gateway.providers import ModelRow, ProviderDialect

_KINDS: dict[AgentKind, ProviderDialect] = {
    "claude": "anthropic",
    "openai": "openai",
    "gemini": "gemini",
    "openai_compatible": "openai",
}
_SAME_DIALECT: dict[ProviderDialect, str] = {"anthropic": ANTHROPIC.name, "gemini": GOOGLE.name}
_SPOKEN: dict[ProviderDialect, Dialect] = {
    "anthropic": Dialect.MESSAGES,
    "gemini": Dialect.GEMINI,
    "openai": Dialect.CHAT,
}
_REMEMBERED = 10_000


@dataclass(frozen=True, slots=True)
class OpenProvider:
    """A provider that can be asked.

    Attributes:
        endpoint: With its key; its `provider` is how prices and the catalog call it.
        problem: Why it cannot be asked after all.
        offers: Names its server says it has, where no row lists any.
        proxy: The proxy that lies before it.
    """

    name: str
    dialect: ProviderDialect
    endpoint: Endpoint
    created_at: int = 0
    problem: str | None = None
    offers: tuple[str, ...] = ()
    proxy: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Route:
    """Where a model is asked for. `model` is its name here, `upstream` its name there."""

    model: str
    upstream: str
    provider: OpenProvider


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A model as lists show it; `info` is what the catalog knows of it."""

    id: str
    name: str
    provider: OpenProvider
    upstream: str
    is_trainable: bool
    created_at: int
    info: ModelInfo | None

    @property
    def agent_kind(self) -> AgentKind:
        """The agent that drives it."""
        if self.provider.dialect == "openai":
            knows = self.info is not None and self.info.dialect is Dialect.RESPONSES
            return "openai" if knows else "openai_compatible"
        return AGENT_KINDS[_SPOKEN[self.provider.dialect]]


def knows_models(catalog: Catalog, provider: OpenProvider) -> bool:
    """Tell whether the catalog names models of a provider, one by one."""
    if provider.dialect in _SAME_DIALECT:
        return True
    for name in catalog.names:
        try:
            if catalog.resolve(name).provider.name == provider.endpoint.provider:
                return True
        except UnknownModel:
            continue
    return False


class Served:
    """One team's providers and models at one moment."""

    def __init__(
        self, providers: Sequence[OpenProvider], rows: Sequence[ModelRow], catalog: Catalog
    ) -> None:
        self.providers = {provider.name: provider for provider in providers}
        self._catalog = catalog
        self._rows = {row.name: row for row in rows if row.provider in self.providers}
        listing = {row.provider for row in self._rows.values()}
        self._open = [provider for provider in providers if provider.name not in listing]
        self._routes: dict[str, Route] = {}

    def resolve(self, name: str) -> Route:
        """Return where a model is asked for.

        Raises:
            Refusal: with status 404 and names like it, when nobody serves it; with 503 when who
                serves it cannot be asked.
        """
        route = self._routes.get(name)
        if route is None:
            route = self._resolved(name)
            if len(self._routes) < _REMEMBERED:
                self._routes[name] = route
        if route.provider.problem is not None:
            raise Refusal(503, "provider_unusable", route.provider.problem)
        return route

    def models(self) -> list[ServedModel]:
        """Return every model that can be named: listed ones first, then what is known of others."""
        found = [
            ServedModel(
                row.id,
                row.name,
                self.providers[row.provider],
                row.upstream,
                row.is_trainable,
                row.created_at,
                self._info(self.providers[row.provider], row.upstream),
            )
            for row in self._rows.values()
        ]
        names = set(self._rows)
        for provider in self._open:
            for name, upstream in self._known_of(provider):
                if name in names:
                    continue
                names.add(name)
                found.append(self.described(Route(name, upstream, provider)))
        return found

    def described(self, route: Route) -> ServedModel:
        """Return a model that no row lists as lists show it; its id follows from its names."""
        provider = route.provider
        text = f"model\0{provider.name}\0{route.model}"
        return ServedModel(
            id=hashlib.sha256(text.encode()).hexdigest()[:32],
            name=route.model,
            provider=provider,
            upstream=route.upstream,
            is_trainable=False,
            created_at=provider.created_at,
            info=self._info(provider, route.upstream),
        )

    def _resolved(self, name: str) -> Route:
        row = self._rows.get(name)
        if row is not None:
            return Route(name, row.upstream, self.providers[row.provider])
        prefix, slash, rest = name.partition("/")
        provider = self.providers.get(prefix)
        if slash and rest and provider is not None:
            return self._of_provider(name, provider, rest)
        for provider in self._open:
            if name in provider.offers:
                return Route(name, name, provider)
        route = self._alias(name) or self._by_catalog(name)
        if route is None:
            raise self._unknown(name)
        return route

    def _of_provider(self, name: str, provider: OpenProvider, rest: str) -> Route:
        if provider in self._open:
            return Route(name, rest, provider)
        for row in self._rows.values():
            if row.provider == provider.name and rest in (row.name, row.upstream):
                return Route(row.name, row.upstream, provider)
        raise self._unknown(name)

    def _alias(self, name: str) -> Route | None:
        wanted = self._catalog.aliases.get(name)
        if wanted is not None:
            row = self._rows.get(wanted)
            if row is not None:
                return Route(wanted, row.upstream, self.providers[row.provider])
            if (route := self._by_catalog(wanted)) is not None:
                return route
        for kind in _KINDS:
            if kind == name:
                return self._first_of(kind)
        return None

    def _first_of(self, kind: AgentKind) -> Route | None:
        """Return the model listed first that an agent of that kind drives."""
        same = [model for model in self.models() if model.provider.dialect == _KINDS[kind]]
        exact = [model for model in same if model.agent_kind == kind]
        chosen = next(iter(exact or same), None)
        return None if chosen is None else Route(chosen.name, chosen.upstream, chosen.provider)

    def _by_catalog(self, name: str) -> Route | None:
        try:
            info = self._catalog.resolve(name)
        except UnknownModel:
            return None
        served_by = info.provider.name
        for provider in self._open:
            if provider.endpoint.provider == served_by:
                return Route(info.name, info.name, provider)
        for provider in self._open:
            if _SAME_DIALECT.get(provider.dialect) == served_by:
                return Route(info.name, info.name, provider)
        return None

    def _known_of(self, provider: OpenProvider) -> list[tuple[str, str]]:
        if provider.offers:
            return [(name, name) for name in provider.offers]
        mine = {provider.endpoint.provider, _SAME_DIALECT.get(provider.dialect)}
        return [
            (name, name)
            for name in self._catalog.names
            if (info := self._quietly(name)) is not None and info.provider.name in mine
        ]

    def _info(self, provider: OpenProvider, upstream: str) -> ModelInfo | None:
        behind = provider.endpoint.provider or _SAME_DIALECT.get(provider.dialect)
        return (self._quietly(f"{behind}/{upstream}") if behind else None) or self._quietly(
            upstream
        )

    def _quietly(self, name: str) -> ModelInfo | None:
        try:
            return self._catalog.resolve(name)
        except UnknownModel:
            return None

    def _unknown(self, name: str) -> Refusal:
        if not self.providers:
            message = (
                f"no model {bounded(name)!r}: this platform has no provider yet; "
                "add one with hud providers add"
            )
            return Refusal(404, "model_not_found", message)
        known: Mapping[str, Any] = {model.name.lower(): model.name for model in self.models()}
        near = difflib.get_close_matches(name.lower(), known, n=3, cutoff=0.5)
        tails = [whole for low, whole in known.items() if low.rpartition("/")[2] == name.lower()]
        meant = list(dict.fromkeys([*tails, *(known[match] for match in near)]))[:3]
        hint = f"did you mean {' or '.join(meant)}?" if meant else "GET /models lists what there is"
        opened = ", ".join(f"{provider.name}/NAME" for provider in self._open[:5])
        more = f" Any model of a provider is {opened}" if opened else ""
        return Refusal(
            404, "model_not_found", f"no model {bounded(name)!r} is served here; {hint}{more}"
        )
