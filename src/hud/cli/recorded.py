"""The store that a command looks things up in: the one under HUD_HOME, never made for looking."""

from __future__ import annotations

from hud._core.errors import NotFound, bounded
from hud._core.paths import hud_home, make_home
from hud.store import Store, open_store
from hud.store.database import FILE_NAME


def recorded_store() -> Store | None:
    """Return the store, None when nothing was ever recorded."""
    home = hud_home(create=False)
    if (home / FILE_NAME).exists():
        return open_store(home, create=False)
    if home.exists():
        make_home(home)  # says what is wrong when it is no folder
    return None


def required_store(text: str, noun: str) -> Store:
    """Return the store in which `text`, a `noun`, is looked up.

    Raises:
        NotFound: when nothing was ever recorded.
    """
    store = recorded_store()
    if store is None:
        raise NotFound(
            f"there is no {noun} {bounded(text)}: nothing has been recorded in "
            f"{bounded(str(hud_home(create=False)), 300)} yet",
            hint="record something with hud eval, or set HUD_HOME",
        )
    return store
