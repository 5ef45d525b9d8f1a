"""Providers whose keys are in the environment, for the local team when it is told to use them.

`hud platform up --env-providers`: nothing is kept, and a provider that was added by that name goes
before it. Never without being asked: a key in a shell's environment is its owner's, and whoever has
a key of the platform could spend it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from hud._core.errors import InputError
from hud._core.settings import read_settings
from hud.models.catalog import load_catalog
from hud.models.endpoint import Endpoint, checked_key, checked_url, held_key, setting
from hud.models.provider import Dialect
from hud.platform.gateway.addresses import proxy_for
from hud.platform.gateway.providers import ProviderDialect
from hud.platform.gateway.served import OpenProvider
from hud.store import LOCAL_TEAM

_SPOKEN: dict[Dialect, ProviderDialect] = {
    Dialect.MESSAGES: "anthropic",
    Dialect.GEMINI: "gemini",
    Dialect.RESPONSES: "openai",
    Dialect.CHAT: "openai",
}


def env_providers(is_on: bool) -> Callable[[str], Sequence[OpenProvider]]:
    """Return what gives a team the providers of the environment: the local one, when asked to.

    Raises:
        InputError: when a key or an address in the environment cannot be used.
    """
    found = tuple(_found()) if is_on else ()
    return lambda team: found if team == LOCAL_TEAM else ()


def _found() -> list[OpenProvider]:
    settings = read_settings()
    found: list[OpenProvider] = []
    for row in load_catalog().providers.values():
        held = held_key(settings, row)
        if held is None:
            continue
        try:
            url = checked_url(setting(settings, row.url_variable) or row.base_url)
            key = checked_key(held.value)
        except InputError as error:
            raise InputError(f"{held.variable}: {error.message}", hint=error.hint) from error
        endpoint = Endpoint(url, key, provider=row.name, key_variable=held.variable)
        found.append(OpenProvider(row.name, _SPOKEN[row.dialect], endpoint, proxy=proxy_for(url)))
    return found
