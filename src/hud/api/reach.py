"""Whether a platform answers to a key, found out before anything is asked of it."""

from __future__ import annotations

from hud.api import calls
from hud.api.place import PlatformPlace


async def check_platform(place: PlatformPlace) -> None:
    """Ask a platform whose key this is.

    Raises:
        PlatformError: when it does not answer, or refuses the key.
    """
    from hud.api.client import PlatformClient  # takes an HTTP client along

    async with PlatformClient(place) as client:
        await client.send(calls.me())
