"""Which models a platform serves through its gateway, read from the platform's own catalog.

Nothing is asked unless HUD_API_URL names a platform. Calling a model there is the dialects' part;
where its gateway is decides `endpoint`.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hud._core import json
from hud._core.addresses import checked_key, checked_url
from hud._core.errors import HudError, InputError, bounded
from hud.models.catalog import AGENT_KINDS, AgentKind, ModelInfo, UnknownModel, load_catalog
from hud.models.endpoint import Endpoint
from hud.models.provider import Dialect, ModelProvider

if TYPE_CHECKING:
    from hud._core.settings import Settings

_PAGE = 100
_PAGES_AT_MOST = 1_000
_BYTES_AT_MOST = 16 * 1024 * 1024
_TIMEOUT_S = 30.0
_DIALECTS: dict[AgentKind, Dialect] = {kind: dialect for dialect, kind in AGENT_KINDS.items()}
# How platforms name providers, where the catalog here has another name.
_PROVIDERS = {"gemini": "google", "x-ai": "xai", "moonshotai": "moonshot"}


class PlatformUnreachable(HudError):
    """The platform's catalog of models could not be read."""

    code: ClassVar[str] = "platform"


class _Reply(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, protected_namespaces=())


class GatewayProviderInfo(_Reply):
    """Who stands behind a model of the platform."""

    name: str | None = None


class GatewayModelInfo(_Reply):
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


class _Page(_Reply):
    items: list[GatewayModelInfo]
    total: int | None = None


_listed: dict[tuple[str, str], list[GatewayModelInfo]] = {}


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
        PlatformUnreachable: when it cannot be asked, or answers something else.
    """
    from hud._core.settings import read_settings

    settings = read_settings()
    if not settings.hud_api_url or not settings.api_key:
        raise InputError("no platform is configured", hint="set HUD_API_URL and HUD_API_KEY")
    url = checked_url(settings.hud_api_url, "HUD_API_URL").rstrip("/")
    key = (url, checked_key(settings.api_key))
    if fresh or key not in _listed:
        _listed[key] = _read_all(*key)
    return list(_listed[key])


def resolve_gateway_model(model: str) -> GatewayModelInfo:
    """Return the platform's model of that id, name or slug, whatever the case of its letters.

    A slug's part before the last `/` may be left out.

    Raises:
        UnknownModel: when there is none, or several.
        InputError, PlatformUnreachable: as `list_gateway_models`.
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
        PlatformUnreachable: when it is unknown here and the platform cannot be asked.
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


def _read_all(url: str, key: str) -> list[GatewayModelInfo]:
    import httpx

    models: list[GatewayModelInfo] = []
    headers = {"Authorization": f"Bearer {key}", "Accept": "application/json"}
    try:
        with httpx.Client(headers=headers, timeout=_TIMEOUT_S) as client:
            for page in _pages(client, f"{url}/v2/models"):
                models += page.items
                if page.total is None or len(models) >= page.total:
                    return models
                if not page.items:
                    raise _failure(url, f"listed {len(models)} models of {page.total}")
    except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:
        raise _failure(url, f"cannot be reached: {bounded(str(error) or repr(error), 200)}") from (
            error
        )
    raise _failure(url, f"lists more than {_PAGES_AT_MOST * _PAGE:,} models")


def _pages(client: Any, url: str) -> Iterator[_Page]:
    """Yield pages until nobody wants another; how many rows came says where the next begins."""
    offset = 0
    for _ in range(_PAGES_AT_MOST):
        page = _page(client, url, offset)
        yield page
        offset += len(page.items)


def _page(client: Any, url: str, offset: int) -> _Page:
    base = url.removesuffix("/v2/models")
    with client.stream("GET", url, params={"limit": _PAGE, "offset": offset}) as reply:
        data = bytearray()
        for chunk in reply.iter_bytes():
            data += chunk
            if len(data) > _BYTES_AT_MOST:
                raise _failure(base, "answers with more than 16 MiB")
        status = reply.status_code
    if status in (401, 403):
        raise _failure(base, f"refused the key (status {status})", hint="check HUD_API_KEY")
    if status != 200:
        raise _failure(base, f"answered status {status}", hint="check HUD_API_URL")
    try:
        return _Page.model_validate(json.decode(bytes(data)))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the reply"
        problem = f"does not answer as a platform does: {where}: {first['msg']}"
        raise _failure(base, problem, hint="check HUD_API_URL") from error
    except ValueError as error:
        raise _failure(base, "does not answer with JSON", hint="check HUD_API_URL") from error


def _failure(url: str, what: str, *, hint: str | None = None) -> PlatformUnreachable:
    shown = Endpoint(url, "").shown
    return PlatformUnreachable(
        f"the platform's models at {bounded(shown)} are not known: it {what}",
        hint=hint or "is it up? HUD_API_URL says where it is",
    )
