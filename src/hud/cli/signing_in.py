"""The device grant of RFC 8628: a code is shown here and confirmed by a person in a browser."""

from __future__ import annotations

import contextlib
import os
import socket
import time
import webbrowser
from collections.abc import Callable

from hud._core.errors import HudError, InputError
from hud._core.redact import register_secret
from hud._core.settings import read_settings, save_setting
from hud._version import __version__
from hud.api import calls
from hud.api.client import BlockingPlatformClient
from hud.api.errors import PlatformError
from hud.api.place import PlatformPlace
from hud.api.replies import DeviceCode, SignedIn
from hud.cli import streams
from hud.cli.render import one_line

_SLOWER_S = 5


class NotSignedIn(HudError):
    """Nobody confirmed, or somebody refused."""

    code = "not_signed_in"


def sign_in(url: str | None, *, quiet: bool, as_json: bool) -> None:
    """Get a key and keep it.

    Raises:
        InputError: when nothing says where the platform is.
        NotSignedIn: when it was refused, or not confirmed in time.
        PlatformError: when the platform cannot be asked.
    """
    address = url or read_settings().hud_api_url
    if not address:
        raise InputError(
            "nothing says which platform to sign in to",
            hint="hud login --url http://host:port, or set HUD_API_URL",
        )
    place = PlatformPlace.at(address, name="--url" if url else "HUD_API_URL")
    with BlockingPlatformClient(place) as client:
        code = client.send(calls.device_code(socket.gethostname() or "hud", __version__))
        streams.note(f"open {one_line(code.link)}")
        streams.note(f"and confirm the code {one_line(code.user_code)}")
        if not quiet and code.link.startswith(("http://", "https://")):
            with contextlib.suppress(webbrowser.Error, OSError):
                webbrowser.open(code.link)
        signed = _wait(client, code)
    register_secret(signed.api_key)
    path = save_setting({"HUD_API_KEY": signed.api_key, "HUD_API_URL": place.api_url})
    for name in ("HUD_API_KEY", "HUD_API_URL"):
        if os.environ.get(name):
            streams.note(f"{name} is set in the environment as well, and wins over the file")
    user = signed.user.email or signed.user.name if signed.user else None
    team = signed.team.name if signed.team else None
    if as_json:
        streams.write_json({"platform": place.shown, "user": user, "team": team, "path": str(path)})
        return
    who = f" as {one_line(user)}" if user else ""
    of = f" of {one_line(team)}" if team else ""
    streams.note(f"signed in at {place.shown}{who}{of}; the key is kept in {path}")


def _wait(
    client: BlockingPlatformClient, code: DeviceCode, sleep: Callable[[float], None] = time.sleep
) -> SignedIn:
    """Ask until a person has answered."""
    interval = max(code.interval, 0)
    until = time.monotonic() + code.expires_in
    while time.monotonic() < until:
        sleep(interval)
        try:
            return client.send(calls.device_token(code.device_code))
        except PlatformError as error:
            match error.kind:
                case "authorization_pending":
                    continue
                case "slow_down":
                    interval += _SLOWER_S
                case "access_denied":
                    raise NotSignedIn("the sign-in was refused in the browser") from error
                case "expired_token":
                    break
                case _ if error.may_pass:
                    continue
                case _:
                    raise
    raise NotSignedIn("nobody confirmed the code in time", hint="hud login again")
