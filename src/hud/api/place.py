"""Where a platform is and which key it is asked with, from the settings."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

from hud._core.addresses import checked_key, checked_url, shown_url
from hud._core.errors import InputError


@dataclass(frozen=True, slots=True)
class PlatformPlace:
    """One platform, seen with one key.

    Attributes:
        api_url: Its origin; calls go to `/v2` below it.
        telemetry_url: Where spans go, the path prefix included.
        web_url: Where a person looks at it.
        api_key: None only for signing in.
    """

    api_url: str
    telemetry_url: str
    web_url: str
    api_key: str | None = field(default=None, repr=False)

    @classmethod
    def at(cls, url: str, api_key: str | None = None, *, name: str = "--url") -> PlatformPlace:
        """Return the platform that has everything at one origin.

        Raises:
            InputError: for what is no HTTP address, or no key; `name` is what is said of the first.
        """
        origin = checked_url(url, name).rstrip("/")
        key = checked_key(api_key) if api_key else None
        return cls(origin, f"{origin}/telemetry/v3/api", origin, key)

    @property
    def shown(self) -> str:
        """Its address, for messages."""
        return shown_url(self.api_url)

    @property
    def identity(self) -> str:
        """Names this place and key, and does not give the key away."""
        digest = hashlib.sha256((self.api_key or "").encode()).hexdigest()[:16]
        return f"{self.api_url.lower()}#{digest}"

    def link(self, path: str) -> str:
        """Return the address of a page: `/jobs/ID`, `/trace/ID`, `/tasksets/ID`."""
        return f"{shown_url(self.web_url).rstrip('/')}{path}"


def configured_place() -> PlatformPlace | None:
    """Return the platform the settings name; None without HUD_API_URL or HUD_API_KEY.

    Raises:
        InputError: when a setting cannot be used.
    """
    from hud._core.settings import read_settings

    settings = read_settings()
    if not settings.hud_api_url or not settings.api_key:
        return None
    api_url = checked_url(settings.hud_api_url, "HUD_API_URL").rstrip("/")
    telemetry = settings.hud_telemetry_url or f"{api_url}/telemetry/v3/api"
    return PlatformPlace(
        api_url,
        checked_url(telemetry, "HUD_TELEMETRY_URL").rstrip("/"),
        checked_url(settings.hud_web_url or api_url, "HUD_WEB_URL").rstrip("/"),
        checked_key(settings.api_key),
    )


def required_place(url: str | None = None) -> PlatformPlace:
    """Return the platform the settings name, or the one at `url` with the key of the settings.

    Raises:
        InputError: when nothing names one, or there is no key.
    """
    from hud._core.settings import read_settings

    if url is None:
        place = configured_place()
        if place is not None:
            return place
    settings = read_settings()
    if url is not None and settings.api_key:
        return PlatformPlace.at(url, settings.api_key)
    needed = {"HUD_API_URL": url or settings.hud_api_url, "HUD_API_KEY": settings.api_key}
    missing = [name for name, value in needed.items() if not value]
    verb = "is" if len(missing) == 1 else "are"
    raise InputError(
        f"no platform is configured: {' and '.join(missing)} {verb} not set",
        hint="hud login --url http://host:port, or hud set HUD_API_URL=… HUD_API_KEY=…",
    )
