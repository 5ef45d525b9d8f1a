"""Going back: making a version that was built before the one that is run."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection, select, update

from hud.platform.builds.placing import GONE_HINT, is_here
from hud.platform.builds.records import BuildStatus
from hud.platform.database import now_us
from hud.platform.errors import ApiError
from hud.platform.registry import tables
from hud.platform.registry.environments import find_environment

_builds, _environments = tables.builds, tables.environments
_KNOWN_SHOWN = 10


def roll_back(
    connection: Connection, team: str, environment_id: str, version: int, bundles: Path
) -> int | None:
    """Make `version` the one that is run, and return which one was before; None for none.

    The next build is a new version all the same: the numbers only grow. Variables stay as they are.

    Raises:
        ApiError: with status 404, when there is no such environment, or version of it; 409, when
            what was built is not in the folder `bundles` any more.
    """
    found = find_environment(connection, team, environment_id)
    versions = dict(
        connection.execute(
            select(_builds.c.version, _builds.c.uri)
            .where(
                _builds.c.team == team,
                _builds.c.environment_id == found.id,
                _builds.c.version.is_not(None),
                _builds.c.status == BuildStatus.SUCCEEDED,
            )
            .order_by(_builds.c.version.desc())
        )
        .tuples()
        .all()
    )
    if version not in versions:
        known = ", ".join(str(each) for each in list(versions)[:_KNOWN_SHOWN])
        more = ", …" if len(versions) > _KNOWN_SHOWN else ""
        raise ApiError(
            404,
            f"environment {found.name!r} has no version {version}",
            kind="not_found",
            hint=f"it has: {known}{more}" if versions else "it was never built",
        )
    if not is_here(versions[version] or "", bundles):
        message = f"version {version} of environment {found.name!r} is not here any more"
        raise ApiError(409, message, kind="gone", hint=GONE_HINT)
    before = connection.execute(
        select(_environments.c.latest_version).where(
            _environments.c.team == team, _environments.c.id == found.id
        )
    ).scalar()
    connection.execute(
        update(_environments)
        .where(_environments.c.team == team, _environments.c.id == found.id)
        .values(latest_version=version, updated_at=now_us())
    )
    return before
