"""Which address a model is asked at, with which key, decided before anything is sent.

Opening connections there belongs to the client of each dialect.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

from hud._core.errors import InputError, bounded
from hud._core.redact import register_secret
from hud.models.provider import ModelProvider

if TYPE_CHECKING:
    from hud._core.settings import Settings

NO_KEY = "unused"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An address and the key that goes to it; the gateway is told which trace a call belongs to.

    Attributes:
        provider: Who is behind it, as prices call it; None where that is not known.
    """

    base_url: str
    api_key: str = field(repr=False)
    is_gateway: bool = False
    provider: str | None = None

    @property
    def shown(self) -> str:
        """The address without user names, passwords and query, for messages."""
        parts = urlsplit(self.base_url)
        host = parts.netloc.rpartition("@")[2]
        return urlunsplit((parts.scheme, host, parts.path, "", ""))


def endpoint_for(
    provider: ModelProvider,
    *,
    base_url: str | None = None,
    api_key: str | None = None,
    gateway: bool | None = None,
) -> Endpoint:
    """Return where a provider's models are asked for.

    What is None falls back to the provider's variables, in the environment or a `.env` file. A key
    only goes to the address it belongs to: the HUD key to the gateway, the provider's to the
    provider or the address that replaces it. Another address than the provider's own needs no key.

    Args:
        gateway: True asks the gateway; None does so where the provider has no key and no other
            address of its own, and a gateway is configured.

    Raises:
        InputError: when the address is no HTTP address, or the key is missing or malformed.
    """
    from hud._core.settings import read_settings

    settings = read_settings()
    named = base_url or _variable(settings, provider.url_variable)
    key = api_key or next(
        (held for name in provider.key_variables if (held := _variable(settings, name))), None
    )
    if gateway is None and not named and not key:
        gateway = bool(settings.hud_gateway_url and settings.api_key)
    if gateway and base_url is None:
        named = settings.hud_gateway_url
        if not named:
            raise InputError("no gateway is configured", hint="set HUD_GATEWAY_URL and HUD_API_KEY")
    address = _checked_url(named or provider.base_url)
    if is_gateway(address, settings):
        key = api_key or settings.api_key
        if not key:
            raise InputError(
                f"the gateway at {bounded(address)} needs a key", hint="set HUD_API_KEY"
            )
        return Endpoint(address, _checked_key(key), is_gateway=True, provider=provider.name)
    is_own = urlsplit(address).hostname == urlsplit(provider.base_url).hostname
    if not key:
        if is_own:
            raise _missing_key(provider)
        key = NO_KEY
    return Endpoint(address, _checked_key(key), provider=provider.name if is_own else None)


def is_gateway(address: str, settings: Settings) -> bool:
    """Tell whether an address is the configured gateway's, with or without `/v1`."""
    gateway = settings.hud_gateway_url
    return bool(gateway) and _bare(address) == _bare(gateway or "")


def _missing_key(provider: ModelProvider) -> InputError:
    variable = provider.key_variables[0] if provider.key_variables else "HUD_API_KEY"
    another = (
        f", or name another endpoint: {provider.url_variable}" if provider.url_variable else ""
    )
    if provider.name == "openai":
        another = ", or name another endpoint: base_url or OPENAI_BASE_URL"
    return InputError(
        f"no key for {provider.label}",
        hint=f"set {variable} (hud set {variable}=… keeps it){another}",
    )


def _variable(settings: Settings, name: str | None) -> str | None:
    """Return a variable from wherever settings come from, also one that has no field of its own."""
    import os

    if name is None:
        return None
    for held in (getattr(settings, name.lower(), None), (settings.model_extra or {}).get(name)):
        if isinstance(held, str) and held:
            return held
    extra = (settings.model_extra or {}).get(name.lower())
    if isinstance(extra, str) and extra:
        return extra
    return os.environ.get(name) or None


def _bare(address: str) -> str:
    return address.rstrip("/").removesuffix("/v1")


def _checked_url(text: str) -> str:
    text = text.strip()
    try:
        parts = urlsplit(text)
        valid = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        valid = valid and text.isprintable() and " " not in text
    except ValueError:
        valid = False
    if not valid:
        raise InputError(
            f"base_url {bounded(text)!r} is not an HTTP address",
            hint="write it whole: http://host:port/v1",
        )
    return text


def _checked_key(key: str) -> str:
    key = key.strip()
    if not key.isascii() or not key.isprintable() or " " in key:
        raise InputError(
            "the API key has characters no key has (a space, a line break or a letter beyond ASCII)"
        )
    if key != NO_KEY:
        register_secret(key)
    return key
