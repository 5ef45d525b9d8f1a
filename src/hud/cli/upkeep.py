"""`hud platform backup|restore|migrate|gc`: looking after what a platform keeps."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hud.cli import streams
from hud.cli.boundary import AsJson, Verbosity, guarded
from hud.cli.platform import Blobs, Database, Home, configured

if TYPE_CHECKING:
    from hud.store.upkeep import Backup

_DAMAGED_NAMED = 5


@guarded
def backup(
    folder: Annotated[Path, typer.Argument(help="Where the backup goes; used again, it grows.")],
    home: Home = None,
    database: Database = None,
    blobs: Blobs = None,
    as_json: AsJson = False,
    verbose: Verbosity = 0,
) -> int:
    """Copy everything that is kept, while others go on recording.

    The key that encrypts provider keys is not part of it. PostgreSQL has its own tools for this.
    """
    from hud.cli.counting import counting
    from hud.store import open_store
    from hud.store.upkeep import back_up

    config = configured(home, database, blobs)
    store = open_store(config.home, create=False, database=config.database, blobs=config.blobs)
    try:
        with counting("blobs") as told:
            made = back_up(store, folder.expanduser().absolute(), progress=_by_steps(told))
    finally:
        store.close()
    return _say(made, folder, "backed up to", as_json=as_json)


@guarded
def restore(
    folder: Annotated[Path, typer.Argument(help="The backup.")],
    home: Home = None,
    blobs: Blobs = None,
    as_json: AsJson = False,
    verbose: Verbosity = 0,
) -> int:
    """Make a store of a backup, in a home that has none."""
    from hud.cli.counting import counting
    from hud.store.opening import open_blobs
    from hud.store.upkeep import restore as restore_store

    config = configured(home, None, blobs)
    target = open_blobs(config.home, config.blobs) if config.blobs else None
    with counting("blobs") as told:
        made = restore_store(
            folder.expanduser().absolute(), config.home, blobs=target, progress=_by_steps(told)
        )
    return _say(made, config.home, "restored into", as_json=as_json)


@guarded
def migrate(
    home: Home = None, database: Database = None, as_json: AsJson = False, verbose: Verbosity = 0
) -> None:
    """Bring an older store up to date. `hud platform up` does it too."""
    from hud.store.upkeep import migrate as migrate_store

    config = configured(home, database, None)
    before, now = migrate_store(config.home, database=config.database)
    if as_json:
        streams.write_json({"before": before, "now": now})
    elif before == now:
        streams.note(f"up to date: revision {now}")
    else:
        streams.note(f"revision {before or 'none'} is now {now}")


@guarded
def gc(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count.")] = False,
    grace_hours: Annotated[
        float,
        typer.Option(metavar="HOURS", min=1.0, help="What was stored within so many hours stays."),
    ] = 24.0,
    keep_days: Annotated[
        float,
        typer.Option(
            metavar="DAYS", min=1.0, help="Builds that were used within so many days stay."
        ),
    ] = 30.0,
    home: Home = None,
    database: Database = None,
    blobs: Blobs = None,
    as_json: AsJson = False,
    verbose: Verbosity = 0,
) -> None:
    """Delete what nobody needs any more: blobs that nothing refers to, and old builds.

    Builds are bundles under this home, also those that `hud build --bundle` made, and images that
    this platform built. The version that an environment runs stays, and what is lent.
    """
    import asyncio

    from hud.cli.counting import counting
    from hud.platform.builds.collecting import DAY_S, collect_builds
    from hud.platform.database import Database as Tables
    from hud.store import open_store
    from hud.store.upkeep import collect_garbage

    config = configured(home, database, blobs)
    store = open_store(config.home, create=False, database=config.database, blobs=config.blobs)
    try:
        with counting("blobs") as told:
            found = collect_garbage(
                store, grace_s=grace_hours * 3600, dry_run=dry_run, progress=_by_steps(told)
            )
    finally:
        store.close()
    with contextlib.closing(Tables(config.home, config.database)) as tables:
        built = asyncio.run(
            collect_builds(tables, config.home, unused_s=keep_days * DAY_S, dry_run=dry_run)
        )
    if built.engine_says is not None:
        streams.note(f"images stay as they are: {built.engine_says}")
    if as_json:
        streams.write_json(
            {
                "blobs": found.files,
                "size_bytes": found.size_bytes,
                "bundles": built.bundles,
                "bundle_bytes": built.bundle_bytes,
                "images": built.images,
                "image_bytes": built.image_bytes,
                "dry_run": dry_run,
            }
        )
        return
    done = "could be deleted" if dry_run else "deleted"
    for count, noun, size in (
        (found.files, "blobs", found.size_bytes),
        (built.bundles, "bundles", built.bundle_bytes),
        (built.images, "images", built.image_bytes),
    ):
        streams.note(f"{count:,} {noun} {done}, {size / 2**20:,.1f} MiB")


def _by_steps(told: Callable[[int], None]) -> Callable[[int, int], None]:
    """Return what takes how many are done of how many, and tells how many more those are."""
    before = 0

    def progress(done: int, total: int) -> None:
        nonlocal before
        told(done - before)
        before = done

    return progress


def _say(made: Backup, folder: Path, done: str, *, as_json: bool) -> int:
    if as_json:
        streams.write_json(
            {
                "folder": str(folder),
                "size_bytes": made.size_bytes,
                "blobs": made.blobs,
                "copied": made.copied,
                "damaged": list(made.damaged),
            }
        )
    else:
        streams.note(
            f"{done} {folder}: {made.size_bytes / 2**20:,.1f} MiB and {made.blobs:,} blobs, "
            f"{made.copied:,} of them new"
        )
    if made.damaged:
        named = ", ".join(made.damaged[:_DAMAGED_NAMED])
        streams.note(f"left out, missing or damaged: {len(made.damaged):,} blobs ({named})")
        return 1
    return 0


COMMANDS = {"backup": backup, "restore": restore, "migrate": migrate, "gc": gc}
"""The commands by name; `hud platform` takes them in."""
