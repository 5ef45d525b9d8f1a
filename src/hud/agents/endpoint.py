"""Which address a model is asked at, with which key, decided before anything is sent.

Opening connections there belongs to the client of each dialect.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

from hud._core.errors import InputError, bounded
from hud._core.redact import register_secret

if TYPE_CHECKING:
    from hud._core.settings import Settings

OPENAI_URL = "https://api.openai.com/v1"
NO_KEY = "unused"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An address and the key that goes to it; the gateway is told which trace a call belongs to."""

    base_url: str
    api_key: str = field(repr=False)
    is_gateway: bool = False

    @property
    def shown(self) -> str:
        """The address without user names, passwords and query, for messages."""
        parts = urlsplit(self.base_url)
        host = parts.netloc.rpartition("@")[2]
        return urlunsplit((parts.scheme, host, parts.path, "", ""))


def openai_endpoint(base_url: str | None, api_key: str | None) -> Endpoint:
    """Return where Chat Completions are asked for.

    What is None falls back to OPENAI_BASE_URL and OPENAI_API_KEY; the gateway's own address gets
    HUD_API_KEY. Another address than OpenAI's needs no key.

    Raises:
        InputError: when the address is no HTTP address, or the key is missing or malformed.
    """
    from hud._core.settings import read_settings

    settings = read_settings()
    address = _checked_url(base_url or settings.openai_base_url or OPENAI_URL)
    if is_gateway(address, settings):
        key = api_key or settings.api_key
        if not key:
            raise InputError(
                f"the gateway at {bounded(address)} needs a key", hint="set HUD_API_KEY"
            )
        return Endpoint(address, _checked_key(key), is_gateway=True)
    key = api_key or settings.openai_api_key
    if not key:
        if urlsplit(address).hostname == urlsplit(OPENAI_URL).hostname:
            raise InputError(
                "no key for the OpenAI API",
                hint="set OPENAI_API_KEY, or name another endpoint: base_url or OPENAI_BASE_URL",
            )
        key = NO_KEY
    return Endpoint(address, _checked_key(key))


def is_gateway(address: str, settings: Settings) -> bool:
    """Tell whether an address is the configured gateway's, with or without `/v1`."""
    gateway = settings.hud_gateway_url
    return bool(gateway) and _bare(address) == _bare(gateway or "")


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
