"""What the builds of a platform left that nobody runs any more: bundles, and images of its engine.

An environment's current version stays, so does what is lent or may be under way, and so does
everything that was used, built or current within the time that is given.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, select

from hud._core.errors import InputError, RuntimeFault
from hud.packaging import disposal
from hud.packaging.bundle import PREFIX
from hud.packaging.docker.disposal import find_unused_images, remove_images
from hud.packaging.docker.engine import find_engine
from hud.packaging.docker.names import OF_PLATFORMS
from hud.platform.database import Database
from hud.platform.registry import tables
from hud.platform.rollouts.engine import LONGEST_S
from hud.store.schema import metadata

_builds, _environments = tables.builds, tables.environments
_leases, _queue = metadata.tables["leases"], metadata.tables["rollout_queue"]
_IMAGE = "docker:"
DAY_S = 86_400.0


@dataclass(frozen=True, slots=True)
class Collected:
    """What was removed, or could be.

    Attributes:
        image_bytes: Of all layers, also those that other images share.
        engine_says: Why there was no look at images that environments have.
    """

    bundles: int
    bundle_bytes: int
    images: int
    image_bytes: int
    engine_says: str | None


async def collect_builds(
    database: Database, home: Path, *, unused_s: float, dry_run: bool
) -> Collected:
    """Remove what was not used for `unused_s` seconds and is not needed.

    Args:
        unused_s: At least a day, so that what is under way is never among it.

    Raises:
        ValueError: when it is less.
        StoreError: when the database cannot be used.
    """
    if unused_s < DAY_S:
        raise ValueError(f"collect_builds: unused_s must be at least {DAY_S:g}, not {unused_s:g}")
    before_s = time.time() - unused_s
    needed = await asyncio.to_thread(_needed, database, before_s)
    store = home / "bundles"
    addresses = {one.removeprefix(PREFIX) for one in needed if one.startswith(PREFIX)}
    bundles = await asyncio.to_thread(
        disposal.find_unused, store, before_s=before_s, needed=addresses
    )
    if not dry_run:
        await asyncio.to_thread(disposal.remove, store, bundles)
    images, image_bytes, says = await _images(needed, before_s, dry_run=dry_run)
    return Collected(
        len(bundles), sum(one.size_bytes for one in bundles), images, image_bytes, says
    )


async def _images(
    needed: Iterable[str], before_s: float, *, dry_run: bool
) -> tuple[int, int, str | None]:
    names = {one.removeprefix(_IMAGE) for one in needed if one.startswith(_IMAGE)}
    try:
        engine = find_engine()
        unused = await find_unused_images(engine, OF_PLATFORMS, before_s=before_s, needed=names)
        gone = unused if dry_run else await remove_images(engine, unused)
    except (InputError, RuntimeFault) as error:
        # Where no environment is an image, nobody wonders about the engine.
        return 0, 0, error.message if names else None
    return len(gone), sum(one.size_bytes for one in gone), None


def _needed(database: Database, before_s: float) -> set[str]:
    """Return the addresses of builds that stay, however long they were not used."""
    with database.reading() as connection:
        versions = _versions(connection)
        lent = set(
            connection.execute(select(_leases.c.build_id).where(_leases.c.state != "ended"))
            .scalars()
            .all()
        )
        busy = set(
            connection.execute(select(_queue.c.team).where(_queue.c.state == "leased").distinct())
            .scalars()
            .all()
        )
    under_way_s = time.time() - LONGEST_S
    needed: set[str] = set()
    for place, one in enumerate(versions):
        newer = versions[place - 1] if place else None
        is_newest = newer is None or newer.environment_id != one.environment_id
        # When it was superseded; one that is the newest was rolled back from.
        left_s = (one.updated_at if is_newest or newer is None else newer.ended_at or 0) / 1e6
        has_changed = one.team in busy and one.updated_at / 1e6 > under_way_s
        if one.is_current or one.id in lent or left_s >= before_s or has_changed:
            needed.add(one.uri)
    return needed


def _versions(connection: Connection) -> list[Any]:
    """Return the versions of all environments, of each the newest first."""
    is_current = _builds.c.version == _environments.c.latest_version
    return list(
        connection.execute(
            select(
                *(_builds.c.id, _builds.c.team, _builds.c.environment_id, _builds.c.uri),
                *(_builds.c.ended_at, _environments.c.updated_at),
                is_current.label("is_current"),
            )
            .join(
                _environments,
                (_environments.c.team == _builds.c.team)
                & (_environments.c.id == _builds.c.environment_id),
            )
            .where(_builds.c.uri.is_not(None), _builds.c.version.is_not(None))
            .order_by(_builds.c.team, _builds.c.environment_id, _builds.c.version.desc())
        )
    )
