"""What `hud view` does: find the page to open, and serve it unless a platform does so already."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import webbrowser

from hud._core.errors import InputError, bounded
from hud._core.paths import hud_home, make_home
from hud.cli import streams
from hud.platform.config import PlatformConfig
from hud.platform.running import running_here
from hud.platform.services import Services
from hud.platform.serving import Ready, serve, sign_in_link
from hud.store import Store, open_store
from hud.store.database import FILE_NAME


def view(what: str | None, *, port: int, opens: bool, as_json: bool) -> None:
    """Print the link to a page, open it, and serve it until told to stop.

    Where a platform runs on this home already, its pages are the same: the link leads there.

    Raises:
        InputError: when nothing recorded is called `what`.
        StoreError: when the store cannot be used.
    """
    home = hud_home(create=False)
    page = "/" if what is None else _page_of(what)
    config = PlatformConfig(home=make_home(home), port=port)
    running = running_here(config.home)
    if running is not None:
        with contextlib.closing(Services.open(config)) as services:
            _show(sign_in_link(services, running["url"], page), opens=opens, as_json=as_json)
        return

    def ready(server: Ready) -> None:
        _show(server.sign_in_url, opens=opens, as_json=as_json)
        if not as_json:
            streams.note("Ctrl-C ends it")

    serve(config, ready, to=page)


def _show(link: str, *, opens: bool, as_json: bool) -> None:
    if as_json:
        streams.write_json({"sign_in_url": link})
    else:
        streams.write(link)
    if opens and _has_desktop():
        # Some browsers hold their caller until they are closed.
        threading.Thread(target=_open, args=(link,), daemon=True).start()


def _open(link: str) -> None:
    with contextlib.suppress(webbrowser.Error, OSError):
        webbrowser.open(link)


def _has_desktop() -> bool:
    """Tell whether a browser would open a window, rather than take this terminal over."""
    named = ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER")
    return sys.platform in ("darwin", "win32") or any(os.environ.get(name) for name in named)


def _page_of(what: str) -> str:
    home = hud_home(create=False)
    if not (home / FILE_NAME).exists():
        raise InputError(
            f"there is no job and no run {bounded(what)}: nothing has been recorded in "
            f"{bounded(str(home), 300)} yet",
            hint="record something with hud eval, or set HUD_HOME",
        )
    with contextlib.closing(open_store(home, create=False)) as store:
        return _found(store, what)


def _found(store: Store, what: str) -> str:
    with contextlib.suppress(InputError):
        return f"/jobs/{store.find_job(what).id}"
    with contextlib.suppress(InputError):
        return f"/trace/{store.find_run(what).id}"
    raise InputError(
        f"there is no job and no run {bounded(what)} here, or several begin like this",
        hint="hud jobs lists what there is",
    )
