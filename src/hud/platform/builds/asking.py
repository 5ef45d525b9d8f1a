"""Asking for a build of a context that was uploaded: what is checked, and what is remembered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, func, insert, select, update

from hud._core import json
from hud._core.errors import bounded
from hud._core.ids import new_id
from hud.environment.compose import FOREIGN
from hud.environment.runtime_config import RuntimeConfig
from hud.platform.builds.builder import BuildAsk
from hud.platform.builds.records import ENDED, BuildRecord, BuildStatus, find_build
from hud.platform.builds.variables import checked, seal, unseal, variables_of
from hud.platform.database import now_us
from hud.platform.errors import ApiError
from hud.platform.registry import tables
from hud.platform.registry.environments import find_environment
from hud.platform.registry.naming import LONGEST_NAME, slugged
from hud.platform.registry.projects import default_project, find_project
from hud.platform.secrets import SecretBox

QUEUED_AT_MOST = 100
"""Builds of one team that may wait or be under way."""

_builds, _environments = tables.builds, tables.environments


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a client asks to be built."""

    build_id: str
    name: str
    registry_id: str | None = None
    project_id: str | None = None
    no_cache: bool = False
    runtime_provider: str | None = None
    runtime_config: Mapping[str, Any] | None = None
    environment_variables: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    build_args: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    build_secrets: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)


def trigger(
    connection: Connection, box: SecretBox, team: str, actor: str, wanted: Wanted
) -> BuildRecord:
    """Put a build into the queue, and make its environment when it is new.

    Asking again for a build that is in the queue, or was, gives the same again.

    Raises:
        ApiError: with status 400, 404, 409 or 429, when it cannot be built as it is asked for.
    """
    record = find_build(connection, team, wanted.build_id)
    if record.status is not BuildStatus.UPLOADING:
        if record.environment_id is None:
            raise _conflict("this build was cancelled before it was triggered")
        return record
    if record.size_bytes is None:
        raise _conflict("the context of this build was not uploaded yet")
    _check_room(connection, team)
    spec, sealed = _checked(wanted)
    environment_id = _environment(connection, team, wanted)
    connection.execute(
        update(_builds)
        .where(_builds.c.team == team, _builds.c.id == record.id)
        .values(
            environment_id=environment_id,
            status=BuildStatus.QUEUED.value,
            spec=json.encode(spec).decode(),
            sealed=seal(box, sealed),
            actor=actor,
            triggered_at=now_us(),
        )
    )
    return find_build(connection, team, record.id)


def opened(
    connection: Connection, box: SecretBox, record: BuildRecord
) -> tuple[BuildAsk, dict[str, str]]:
    """Return what a build was asked for, decrypted, and the variables it brings along.

    The code sees those that its environment has already too.

    Raises:
        StoreError: when it was encrypted with another key.
    """
    text = connection.execute(
        select(_builds.c.sealed).where(_builds.c.team == record.team, _builds.c.id == record.id)
    ).scalar()
    sealed = unseal(box, text)
    given: dict[str, str] = sealed.get("environment_variables") or {}
    assert record.environment_id is not None
    held = variables_of(connection, box, record.team, record.environment_id)
    ask = BuildAsk(
        name=str(record.spec.get("name", "")),
        team=record.team,
        no_cache=bool(record.spec.get("no_cache")),
        build_args=sealed.get("build_args") or {},
        build_secrets=sealed.get("build_secrets") or {},
        variables=held | given,
        runtime_config=record.spec.get("runtime_config") or {},
    )
    return ask, given


def _checked(wanted: Wanted) -> tuple[dict[str, Any], dict[str, Any]]:
    if wanted.runtime_provider not in (None, "hud"):
        raise ApiError(
            400,
            f"this platform runs environments itself, not on {bounded(wanted.runtime_provider)!r}",
            kind="bad_input",
            hint="leave --runtime out",
        )
    if wanted.runtime_config:
        try:
            RuntimeConfig.model_validate(dict(wanted.runtime_config), context={FOREIGN: True})
        except ValueError as error:
            first = str(error).splitlines()
            raise ApiError(
                400, f"runtime_config: {bounded(' '.join(first), 300)}", kind="bad_input"
            ) from error
    sealed = {
        "environment_variables": checked("environment_variables", wanted.environment_variables),
        "build_args": checked("build_args", wanted.build_args),
        "build_secrets": checked("build_secrets", wanted.build_secrets, is_variable=False),
    }
    for name in wanted.build_secrets:
        if not name or len(name) > 200 or not all(c.isalnum() or c in "._-" for c in name):
            raise ApiError(400, f"build_secrets: {bounded(name, 80)!r} is no id", kind="bad_input")
    spec = {
        "name": wanted.name,
        "no_cache": wanted.no_cache,
        "runtime_provider": wanted.runtime_provider,
        "runtime_config": dict(wanted.runtime_config) if wanted.runtime_config else None,
        **{name: sorted(values) for name, values in sealed.items()},
    }
    held = {name: value for name, value in spec.items() if value}
    return held, {name: values for name, values in sealed.items() if values}


def _environment(connection: Connection, team: str, wanted: Wanted) -> str:
    """Return the environment that is to be built, made when there is none of its name."""
    called = slugged(wanted.name)
    if not called or len(called) > LONGEST_NAME:
        raise ApiError(
            400,
            f"{bounded(wanted.name)!r} cannot be the name of an environment",
            kind="bad_input",
            hint="letters, digits and dashes",
        )
    project_id = None
    if wanted.project_id:
        project_id = find_project(connection, team, wanted.project_id).id
    if wanted.registry_id:
        found = find_environment(connection, team, wanted.registry_id)
        if found.name != called:
            raise ApiError(
                400,
                f"the environment in the code is {called!r}, the one to build is {found.name!r}",
                kind="bad_input",
                hint="rename it in the code, or deploy by name",
            )
        environment_id = found.id
    else:
        row = connection.execute(
            select(_environments.c.id).where(
                _environments.c.team == team, _environments.c.name == called
            )
        ).one_or_none()
        environment_id = None if row is None else str(row.id)
    now = now_us()
    if environment_id is None:
        environment_id = new_id()
        connection.execute(
            insert(_environments).values(
                team=team,
                id=environment_id,
                name=called,
                project_id=project_id or default_project(connection, team).id,
                created_at=now,
                updated_at=now,
            )
        )
    elif project_id is not None:
        connection.execute(
            update(_environments)
            .where(_environments.c.team == team, _environments.c.id == environment_id)
            .values(project_id=project_id, updated_at=now)
        )
    return environment_id


def _check_room(connection: Connection, team: str) -> None:
    waiting = connection.execute(
        select(func.count())
        .select_from(_builds)
        .where(
            _builds.c.team == team,
            _builds.c.triggered_at.is_not(None),
            _builds.c.status.not_in([status.value for status in ENDED]),
        )
    ).scalar()
    if int(waiting or 0) >= QUEUED_AT_MOST:
        raise ApiError(
            429,
            f"{QUEUED_AT_MOST} builds of this team wait already",
            kind="busy",
            hint="cancel some, or wait",
        )


def _conflict(message: str) -> ApiError:
    return ApiError(409, message, kind="conflict", hint="upload again, then trigger")
