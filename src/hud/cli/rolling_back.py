"""What `hud deploy --rollback` does: have an earlier version run again."""

from __future__ import annotations

from hud._core.errors import InputError, bounded
from hud.api import calls
from hud.api.client import BlockingPlatformClient
from hud.api.place import required_place
from hud.api.replies import RegistryEntry
from hud.cli import streams
from hud.cli.boundary import GRADED
from hud.cli.deploying import DeployRequest
from hud.cli.link import Link, read_link
from hud.cli.render import one_line


def roll_back(request: DeployRequest, version: int) -> int:
    """Make a version the one that is run, and return the exit code.

    Raises:
        InputError: when nothing says which environment.
        PlatformError: when there is no such environment or version.
    """
    folder = request.folder
    link = read_link(folder)
    place = required_place()
    with BlockingPlatformClient(place) as client:
        link.check(place, client.send(calls.me()), folder)
        entry = _environment(client, request, link)
        now = (entry.latest_build or {}).get("version")
        if request.dry_run:
            before = now if isinstance(now, int) else None
        else:
            before = client.send(calls.roll_back(entry.id, version)).before
    called = entry.name or entry.id
    if request.as_json:
        streams.write_json(
            {
                "action": "rollback",
                "dry_run": request.dry_run,
                "name": called,
                "registry_id": entry.id,
                "version": version,
                "before": before,
                "link": place.link(f"/environments/{entry.id}"),
            }
        )
        return GRADED
    was = f" (was {before})" if before is not None else ""
    verb = "would run" if request.dry_run else "runs"
    streams.note(f"{one_line(called)} {verb} version {version} from now on{was}")
    return GRADED


def _environment(
    client: BlockingPlatformClient, request: DeployRequest, link: Link
) -> RegistryEntry:
    wanted = request.registry_id or (None if request.name else link.registry_id)
    if wanted is not None:
        return client.send(calls.registry_entry(wanted))
    if request.name is None:
        raise InputError(
            "nothing says which environment is meant",
            hint="name it: hud deploy --rollback VERSION --name NAME",
        )
    page = client.send(calls.registry(request.name, limit=100))
    for entry in page.items:
        if entry.name == request.name:
            return entry
    raise InputError(f"there is no environment {bounded(request.name)!r} on the platform")
