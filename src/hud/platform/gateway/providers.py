"""The providers of a team as they are kept: address, dialect, an encrypted key, models by name.

Which of them a model's name means is `served`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from sqlalchemy import Connection, delete, insert, select

from hud._core.errors import InputError, bounded
from hud._core.ids import new_id
from hud.models.endpoint import checked_key, checked_url
from hud.platform.database import now_us
from hud.platform.gateway.addresses import is_forbidden_host
from hud.platform.gateway.tables import models, providers
from hud.platform.secrets import SecretBox

ProviderDialect = Literal["openai", "anthropic", "gemini"]
"""What a provider speaks: Chat Completions and Responses, Messages, or Gemini's API."""

DIALECTS: tuple[ProviderDialect, ...] = get_args(ProviderDialect)
MODELS_AT_MOST = 10_000
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9])?")
_LONGEST_MODEL = 256


@dataclass(frozen=True, slots=True)
class Provider:
    """One provider. `secret` is its key, encrypted; None for one that takes none."""

    name: str
    dialect: ProviderDialect
    base_url: str
    secret: str | None = field(repr=False)
    created_at: int
    updated_at: int


@dataclass(frozen=True, slots=True)
class ModelRow:
    """A model by the name clients ask for, and what its provider is asked for in its place."""

    id: str
    name: str
    provider: str
    upstream: str
    is_trainable: bool
    created_at: int


@dataclass(frozen=True, slots=True)
class ModelWanted:
    """A model to list."""

    name: str
    upstream: str


def model_wanted(text: str) -> ModelWanted:
    """Read `ID` or `ID=UPSTREAM`.

    Raises:
        InputError: when either cannot be a model's name.
    """
    name, equals, upstream = text.partition("=")
    for part in (name, upstream) if equals else (name,):
        if not part or len(part) > _LONGEST_MODEL or not part.isprintable() or " " in part:
            raise InputError(
                f"{bounded(text)!r} names no model", hint="write --model ID or --model ID=UPSTREAM"
            )
    return ModelWanted(name, upstream or name)


def put_provider(
    connection: Connection,
    box: SecretBox,
    team: str,
    *,
    name: str,
    dialect: str,
    base_url: str,
    key: str | None,
    wanted: Sequence[ModelWanted] = (),
) -> bool:
    """Keep a provider; one of that name is replaced, its models and key included.

    Returns:
        Whether it is new.

    Raises:
        InputError: when a name, the address or the key cannot be used.
    """
    if not _NAME.fullmatch(name):
        raise InputError(
            f"{bounded(name)!r} cannot be the name of a provider",
            hint="lower-case letters, digits, dots, dashes and underscores, at most 64",
        )
    if dialect not in DIALECTS:
        raise InputError(
            f"there is no dialect {bounded(dialect)!r}", hint=f"known: {', '.join(DIALECTS)}"
        )
    base_url = checked_url(base_url)
    if is_forbidden_host(base_url):
        raise InputError(f"{bounded(base_url)} is a link-local address, where no model is served")
    if "@" in base_url.partition("//")[2].partition("/")[0]:
        raise InputError("the address holds a user name or a password", hint="give the key alone")
    if len(wanted) > MODELS_AT_MOST:
        raise InputError(f"more than {MODELS_AT_MOST} models")
    secret = box.encrypt(checked_key(key)) if key else None
    now = now_us()
    created = connection.execute(
        select(providers.c.created_at).where(providers.c.team == team, providers.c.name == name)
    ).scalar()
    remove_provider(connection, team, name)
    connection.execute(
        insert(providers).values(
            team=team,
            name=name,
            dialect=dialect,
            base_url=base_url,
            secret=secret,
            created_at=created or now,
            updated_at=now,
        )
    )
    _list_models(connection, team, name, wanted, now)
    return created is None


def _list_models(
    connection: Connection, team: str, provider: str, wanted: Sequence[ModelWanted], now: int
) -> None:
    held = {row.name: row.provider for row in read_models(connection, team)}
    rows: dict[str, dict[str, object]] = {}
    for place, model in enumerate(wanted):
        if (other := held.get(model.name)) is not None:
            raise InputError(
                f"the model {bounded(model.name)!r} is served by the provider {other!r} already",
                hint=f"give it another name here: --model NAME={model.name}",
            )
        rows[model.name] = {
            "team": team,
            "id": new_id(),
            "name": model.name,
            "provider": provider,
            "upstream": model.upstream,
            "is_trainable": 0,
            "created_at": now + place,
        }
    if rows:
        connection.execute(insert(models), list(rows.values()))


def remove_provider(connection: Connection, team: str, name: str) -> bool:
    """Forget a provider with its models; return whether there was one."""
    connection.execute(delete(models).where(models.c.team == team, models.c.provider == name))
    gone = connection.execute(
        delete(providers).where(providers.c.team == team, providers.c.name == name)
    )
    return bool(gone.rowcount)


def read_providers(connection: Connection, team: str) -> list[Provider]:
    """Return the providers of a team, oldest first."""
    columns = ("name", "dialect", "base_url", "secret", "created_at", "updated_at")
    rows = connection.execute(
        select(*(providers.c[column] for column in columns))
        .where(providers.c.team == team)
        .order_by(providers.c.created_at, providers.c.name)
    )
    return [Provider(*row) for row in rows]


def read_models(connection: Connection, team: str) -> list[ModelRow]:
    """Return the models that the providers of a team list, oldest first."""
    columns = ("id", "name", "provider", "upstream", "is_trainable", "created_at")
    rows = connection.execute(
        select(*(models.c[column] for column in columns))
        .where(models.c.team == team)
        .order_by(models.c.created_at, models.c.name)
    )
    return [_model(row) for row in rows]


def _model(row: Any) -> ModelRow:
    trains = bool(row.is_trainable)
    return ModelRow(row.id, row.name, row.provider, row.upstream, trains, row.created_at)
