"""Where this installation keeps its things: the folder `HUD_HOME` names.

What lies inside the folder belongs to whoever puts it there.
"""

from __future__ import annotations

import os
from pathlib import Path

from hud._core.errors import StoreError, bounded


def hud_home(*, create: bool = True) -> Path:
    """Return the folder that `HUD_HOME` names, `~/.hud` when it is unset; read at every call.

    Args:
        create: Make the folder, readable by its owner only, when it does not exist.

    Raises:
        StoreError: when the path is not a folder or cannot be made.
    """
    named = os.environ.get("HUD_HOME", "").strip()
    home = (Path(named) if named else Path("~/.hud")).expanduser().absolute()
    return make_home(home) if create else home


def shown_folder(folder: Path) -> str:
    """Return how messages call a folder: the one the user is in needs no name."""
    return "this folder" if folder.resolve() == Path.cwd() else bounded(str(folder), 300)


def make_home(home: Path) -> Path:
    """Make `home` (mode 0700 when new) unless it exists, and return it.

    Raises:
        StoreError: when the path is not a folder or cannot be made.
    """
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise StoreError(
            f"{bounded(str(home), 300)} is not a folder",
            hint="set HUD_HOME to a folder this user can write to",
        ) from error
    except OSError as error:
        raise StoreError(
            f"the folder {bounded(str(home), 300)} cannot be made: {error.strerror}",
            hint="set HUD_HOME to a folder this user can write to",
        ) from error
    return home
