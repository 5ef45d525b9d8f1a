"""Keys of runs: what an agent on a worker asks models with, in the name of who asked for the run.

Such a key is kept nowhere: it says itself, sealed with the platform's own key, whose it is and how
long it is good. Any server of the platform can read it. It is good for asking models only.
"""

from __future__ import annotations

from dataclasses import dataclass

from hud._core import json
from hud._core.errors import HudError
from hud.platform.database import now_us
from hud.platform.secrets import SecretBox

PREFIX = "hudrun_"
LONGEST = 1024


@dataclass(frozen=True, slots=True)
class Grant:
    """Whose models may be asked, and until when."""

    team: str
    user_id: str
    key_id: str | None
    expires_at: int


def seal(secrets: SecretBox, grant: Grant) -> str:
    """Return a key that says `grant`.

    Raises:
        StoreError: when the platform has no key of its own and none can be made.
    """
    said = [grant.team, grant.user_id, grant.key_id, grant.expires_at]
    return PREFIX + secrets.encrypt(json.encode(said).decode())


def unseal(secrets: SecretBox, key: str) -> Grant | None:
    """Return what a key of a run says, None when it was not made here or is over."""
    try:
        said = json.decode(secrets.decrypt(key.removeprefix(PREFIX)))
        grant = Grant(*said)
    except (HudError, ValueError, TypeError):
        return None
    return grant if grant.expires_at > now_us() else None
