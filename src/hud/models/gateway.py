"""Which models a platform serves through its gateway, read from the platform's own catalog.

Nothing is asked unless HUD_API_URL names a platform. Calling a model there is the dialects' part;
where its gateway is decides `endpoint`.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from pydantic import Field

from hud._core.errors import InputError, bounded
from hud.api.place import PlatformPlace, configured_place
from hud.api.replies import Reply
from hud.models.catalog import AGENT_KINDS, AgentKind, ModelInfo, UnknownModel, load_catalog
from hud.models.provider import Dialect, ModelProvider

if TYPE_CHECKING:
    from hud._core.settings import Settings

_DIALECTS: dict[AgentKind, Dialect] = {kind: dialect for dialect, kind in AGENT_KINDS.items()}
# How platforms name providers, where the catalog here has another name.
_PROVIDERS = {"gemini": "google", "x-ai": "xai", "moonshotai": "moonshot"}


class GatewayProviderInfo(Reply):
    """Who stands behind a model of the platform."""

    name: str | None = None


class GatewayModelInfo(Reply):
    """A model the platform serves.

    Attributes:
        model_name: What its gateway is sent.
        sdk_agent_type: The agent that drives it; None is `openai_compatible`.
    """

    id: str
    name: str | None = None
    model_name: str
    sdk_agent_type: str | None = None
    is_trainable: bool = False
    provider: GatewayProviderInfo = Field(default_factory=GatewayProviderInfo)
    created_at: datetime | None = None
    released_at: datetime | None = None
    deprecated_at: datetime | None = None

    @property
    def agent_kind(self) -> AgentKind:
        """The agent that drives it, as the command line calls agents.

        Raises:
            InputError: when the platform names one there is not.
        """
        kind = self.sdk_agent_type or "openai_compatible"
        for known in _DIALECTS:
            if kind == known:
                return known
        raise InputError(
            f"the platform serves {bounded(self.model_name)!r} to agents of the type "
            f"{bounded(kind)!r}, which there is not",
            hint=f"known: {', '.join(_DIALECTS)}",
        )


_listed: dict[str, list[GatewayModelInfo]] = {}


def has_platform(settings: Settings | None = None) -> bool:
    """Tell whether a platform is configured: HUD_API_URL with HUD_API_KEY."""
    from hud._core.settings import read_settings

    settings = settings or read_settings()
    return bool(settings.hud_api_url and settings.api_key)


def list_gateway_models(*, fresh: bool = False) -> list[GatewayModelInfo]:
    """Return every model the configured platform serves; read once per process.

    Args:
        fresh: Ask again.

    Raises:
        InputError: when no platform is configured.
        PlatformError: when it cannot be asked, or answers something else.
    """
    place = configured_place()
    if place is None:
        raise InputError("no platform is configured", hint="set HUD_API_URL and HUD_API_KEY")
    if fresh or place.identity not in _listed:
        _listed[place.identity] = _read_all(place)
    return list(_listed[place.identity])


def resolve_gateway_model(model: str) -> GatewayModelInfo:
    """Return the platform's model of that id, name or slug, whatever the case of its letters.

    A slug's part before the last `/` may be left out.

    Raises:
        UnknownModel: when there is none, or several.
        InputError, PlatformError: as `list_gateway_models`.
    """
    rows = list_gateway_models()
    try:
        return _named(model, rows)
    except UnknownModel:
        again = list_gateway_models(fresh=True)
        if again == rows:
            raise
        return _named(model, again)


def find_model(name: str) -> ModelInfo:
    """Return what is known of a model: here, else by the platform when one is configured.

    A model that only the platform knows has `is_hosted`, and is asked for through its gateway.

    Raises:
        UnknownModel: when neither knows it.
        PlatformError: when it is unknown here and the platform cannot be asked.
        InputError: as `resolve_model`.
    """
    catalog = load_catalog()
    try:
        return catalog.resolve(name)
    except UnknownModel as unknown:
        if not has_platform():
            raise
        try:
            row = resolve_gateway_model(name)
        except UnknownModel as error:
            raise UnknownModel(
                f"{unknown.message}, neither here nor by the platform", hint=error.hint
            ) from error
        return as_model(row, asked=name)


def as_model(row: GatewayModelInfo, *, asked: str | None = None) -> ModelInfo:
    """Return a model of the platform as the catalog's models are.

    Raises:
        InputError: when no agent here drives it.
    """
    name = (row.provider.name or "").lower()
    provider = load_catalog().providers.get(_PROVIDERS.get(name, name))
    dialect = _DIALECTS[row.agent_kind]
    if provider is None:
        # Its address is the gateway's alone: `endpoint_for` never uses this one.
        label = f"the provider {name!r}" if name else "the platform"
        provider = ModelProvider(name or "platform", label, dialect, "http://platform.invalid")
    return ModelInfo(row.model_name, asked or row.model_name, dialect, provider, is_hosted=True)


def _named(model: str, rows: Sequence[GatewayModelInfo]) -> GatewayModelInfo:
    wanted = model.lower()
    for row in rows:
        if wanted in (row.id.lower(), row.model_name.lower(), (row.name or "").lower()):
            return row
    found = [row for row in rows if row.model_name.lower().rpartition("/")[2] == wanted]
    if len(found) == 1:
        return found[0]
    if found:
        raise UnknownModel(
            f"the platform serves several models {bounded(model)!r}",
            hint=f"say which: {', '.join(row.model_name for row in found[:10])}",
        )
    known = {name.lower(): name for row in rows for name in (row.model_name, row.name) if name}
    near = difflib.get_close_matches(wanted, known, n=3, cutoff=0.5)
    raise UnknownModel(
        f"the platform serves no model {bounded(model)!r}",
        hint=f"did you mean {' or '.join(known[match] for match in near)}?"
        if near
        else "hud models list --platform shows what it serves",
    )


def _read_all(place: PlatformPlace) -> list[GatewayModelInfo]:
    from hud.api.calls import Listing
    from hud.api.client import BlockingPlatformClient
    from hud.api.exchange import Patience

    # Somebody waits for the name of a model: a platform in trouble is said soon.
    with BlockingPlatformClient(place, patience=Patience((0.5,), (0.5,))) as client:
        return client.collect(Listing("/models", GatewayModelInfo))
