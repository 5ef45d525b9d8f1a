"""The variables an environment is run with: encrypted as they are kept, never told again."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, cast

from sqlalchemy import Connection, select, update

from hud._core import json
from hud._core.errors import bounded
from hud.platform.errors import ApiError
from hud.platform.registry import tables
from hud.platform.secrets import SecretBox

VARIABLES_AT_MOST = 500
VALUE_AT_MOST = 64 * 1024
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,199}", re.ASCII)
_table = tables.environments


def checked(what: str, values: Mapping[str, str], *, is_variable: bool = True) -> dict[str, str]:
    """Return these values by name.

    Raises:
        ApiError: with status 400 for a name that no variable can have, or when it is too much.
    """
    if len(values) > VARIABLES_AT_MOST:
        raise _refused(f"{what}: more than {VARIABLES_AT_MOST}")
    for name, value in values.items():
        if is_variable and _NAME.fullmatch(name) is None:
            raise _refused(f"{what}: {bounded(name, 80)!r} cannot be the name of a variable")
        if len(value) > VALUE_AT_MOST or "\0" in value:
            raise _refused(f"{what}: the value of {name} is too long or holds a NUL")
    return dict(values)


def seal(box: SecretBox, values: Mapping[str, Any]) -> str | None:
    """Return values encrypted, None for none at all."""
    return box.encrypt(json.encode(dict(values)).decode()) if values else None


def unseal(box: SecretBox, text: str | None) -> dict[str, Any]:
    """Return what `seal` was given.

    Raises:
        StoreError: when it was encrypted with another key.
    """
    return {} if text is None else cast("dict[str, Any]", json.decode(box.decrypt(text)))


def variables_of(
    connection: Connection, box: SecretBox, team: str, environment_id: str
) -> dict[str, str]:
    """Return what an environment is run with, decrypted.

    Raises:
        StoreError: when it was encrypted with another key.
    """
    text = connection.execute(
        select(_table.c.variables).where(_table.c.team == team, _table.c.id == environment_id)
    ).scalar()
    return unseal(box, text)


def change_variables(
    connection: Connection,
    box: SecretBox,
    team: str,
    environment_id: str,
    *,
    given: Mapping[str, str],
    removed: tuple[str, ...] = (),
) -> list[str]:
    """Set some variables and take others away; return the names of all there are then.

    Raises:
        ApiError: with status 400, when there would be too many.
        StoreError: when those that are there were encrypted with another key.
    """
    held = variables_of(connection, box, team, environment_id)
    held |= given
    for name in removed:
        held.pop(name, None)
    if len(held) > VARIABLES_AT_MOST:
        raise _refused(f"an environment has at most {VARIABLES_AT_MOST} variables")
    connection.execute(
        update(_table)
        .where(_table.c.team == team, _table.c.id == environment_id)
        .values(variables=seal(box, held))
    )
    return sorted(held)


def _refused(message: str) -> ApiError:
    return ApiError(400, message, kind="bad_input")
