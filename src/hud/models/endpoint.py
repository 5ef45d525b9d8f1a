"""Which address a model is asked at, with which key, decided before anything is sent.

Opening connections there belongs to the client of each dialect.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from hud._core.addresses import checked_key, checked_url, shown_url
from hud._core.errors import InputError, bounded
from hud.models.provider import ModelProvider

if TYPE_CHECKING:
    from hud._core.settings import Settings

NO_KEY = "unused"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An address and the key that goes to it; the gateway is told which trace a call belongs to.

    Attributes:
        provider: Who is behind it, as the catalog and prices call it; None where that is not known.
        key_variable: The variable its key belongs in, None where nothing says so.
    """

    base_url: str
    api_key: str = field(repr=False)
    is_gateway: bool = False
    provider: str | None = None
    key_variable: str | None = None

    @property
    def shown(self) -> str:
        """The address without user names, passwords and query, for messages."""
        return shown_url(self.base_url)


@dataclass(frozen=True, slots=True)
class HeldKey:
    """A key, and the variable it was found in."""

    variable: str
    value: str = field(repr=False)


def endpoint_for(
    provider: ModelProvider,
    *,
    base_url: str | None = None,
    api_key: str | None = None,
    gateway: bool | None = None,
) -> Endpoint:
    """Return where a provider's models are asked for.

    What is None falls back to the provider's variables, in the environment or a `.env` file; the
    user's catalog may say otherwise than `provider` which these are. A key only goes to the address
    it belongs to: the HUD key to the gateway, the provider's to the provider or the address that
    replaces it, or another provider's to that one where `base_url` is its address. Another address
    than a provider's own needs no key.

    Args:
        gateway: True asks the gateway; None does so where the provider needs a key, has none and no
            other address of its own, and a gateway is configured.

    Raises:
        InputError: when the address is no HTTP address, or the key is missing or malformed.
    """
    from hud._core.settings import read_settings
    from hud.models.catalog import load_catalog

    settings = read_settings()
    catalog = load_catalog()
    provider = catalog.providers.get(provider.name, provider)
    named = base_url or setting(settings, provider.url_variable)
    held = held_key(settings, provider)
    key = api_key or (held.value if held else None)
    if gateway is None and not named and not key and provider.needs_key:
        gateway = bool(settings.hud_gateway_url and settings.api_key)
    if gateway and base_url is None:
        named = settings.hud_gateway_url
        if not named:
            raise InputError("no gateway is configured", hint="set HUD_GATEWAY_URL and HUD_API_KEY")
    address = checked_url(named or provider.base_url)
    if is_gateway(address, settings):
        key = api_key or settings.api_key
        if not key:
            raise InputError(
                f"the gateway at {bounded(address)} needs a key", hint="set HUD_API_KEY"
            )
        return Endpoint(address, checked_key(key), True, provider.name, "HUD_API_KEY")
    behind = provider if _is_at(address, provider) else catalog.provider_at(address)
    if behind is not None and behind is not provider:
        held = held_key(settings, behind) or held
        key = api_key or (held.value if held else None)
    if not key:
        if behind is not None and behind.needs_key:
            raise _missing_key(behind)
        key = NO_KEY
    variable = held.variable if held else next(iter((behind or provider).key_variables), None)
    name = behind.name if behind is not None else None
    return Endpoint(address, checked_key(key), provider=name, key_variable=variable)


def held_key(settings: Settings, provider: ModelProvider) -> HeldKey | None:
    """Return the key of a provider from the environment or a `.env` file, None without one."""
    for variable in provider.key_variables:
        value = setting(settings, variable)
        if value:
            return HeldKey(variable, value)
    return None


def setting(settings: Settings, name: str | None) -> str | None:
    """Return a variable from wherever settings come from, also one that has no field of its own.

    Empty is not set, and hides what a file says.
    """
    import os

    if name is None:
        return None
    for field_name, known in type(settings).model_fields.items():
        if known.alias == name:
            value = getattr(settings, field_name)
            return value if isinstance(value, str) and value else None
    if name in os.environ:
        return os.environ[name] or None
    value = (settings.model_extra or {}).get(name.lower())
    return value if isinstance(value, str) and value else None


def is_gateway(address: str, settings: Settings) -> bool:
    """Tell whether an address is the configured gateway's, with or without `/v1`."""
    gateway = settings.hud_gateway_url
    return bool(gateway) and _bare(address) == _bare(gateway or "")


def _missing_key(provider: ModelProvider) -> InputError:
    if not provider.key_variables:
        return InputError(
            f"no key for {provider.label}",
            hint=f"the catalog names no variable for it: give providers.{provider.name} "
            "key_variables, or needs_key = false",
        )
    variable = provider.key_variables[0]
    others = "".join(f" or {name}" for name in provider.key_variables[1:])
    url = f"base_url or {provider.url_variable}" if provider.url_variable else "base_url"
    return InputError(
        f"no key for {provider.label}: {variable}{others} is not set",
        hint=f"export {variable}=…, or keep it with hud set {variable}=…, or ask through a gateway "
        f"(--gateway, with HUD_GATEWAY_URL and HUD_API_KEY), or name another endpoint ({url})",
    )


def _is_at(address: str, provider: ModelProvider) -> bool:
    return urlsplit(address).hostname == urlsplit(provider.base_url).hostname


def _bare(address: str) -> str:
    return address.rstrip("/").removesuffix("/v1")
