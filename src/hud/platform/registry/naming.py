"""What things of the registry may be called, and how a name is told from an id."""

from __future__ import annotations

import re
import unicodedata
from uuid import UUID

from hud._core.errors import bounded
from hud._core.ids import is_id, normal_id
from hud.platform.errors import ApiError, not_found

LONGEST_NAME = 200
LONGEST_SLUG = 500
_NOT_IN_A_SLUG = re.compile(r"[^a-z0-9-]")
_DASHES = re.compile(r"-{2,}")


def plain_name(noun: str, text: str) -> str:
    """Return `text` as the name of a `noun`, without the space around it.

    Raises:
        ApiError: with status 400, when it is empty, too long, looks like an id, or holds
            characters that cannot be shown.
    """
    name = text.strip()
    # A client's library takes the last two out of an address.
    if not name or len(name) > LONGEST_NAME or not is_printable(name) or name in (".", ".."):
        raise ApiError(
            400,
            f"{bounded(text)!r} cannot be the name of a {noun}",
            kind="bad_input",
            hint=f"1 to {LONGEST_NAME} characters that can be shown",
        )
    if is_id(normal_id(name)):
        raise ApiError(
            400,
            f"{name!r} looks like an id, so it cannot be the name of a {noun}",
            kind="bad_input",
        )
    return name


def stored_id(noun: str, text: str) -> str:
    """Return an id as it is stored, whether it is given dashed or plain.

    Raises:
        ApiError: with status 404, when `text` is no id, so that no `noun` can have it.
    """
    plain = normal_id(text)
    if not is_id(plain):
        not_found(noun, text)
    return plain


def slugged(text: str) -> str:
    """Return a name as environments and projects are called: `My Env` is `my-env`.

    Lower case, spaces and underscores become dashes, runs of them one, other characters go.
    """
    lowered = text.strip().lower().replace(" ", "-").replace("_", "-")
    return _DASHES.sub("-", _NOT_IN_A_SLUG.sub("", lowered)).strip("-")


def is_printable(text: str) -> bool:
    """Tell whether `text` holds no control characters and nothing that is no character."""
    return not any(unicodedata.category(character) in ("Cc", "Cs") for character in text)


def as_uuid(stored: str) -> UUID:
    """Return a stored id as clients parse it."""
    return UUID(hex=stored)


def optional_uuid(stored: str | None) -> UUID | None:
    """Return a stored id as clients parse it, None for none."""
    return None if stored is None else UUID(hex=stored)
