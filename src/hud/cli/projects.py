"""What `hud project` does, and which project an upload belongs to."""

from __future__ import annotations

from pathlib import Path

from hud._core.errors import InputError, bounded
from hud._core.settings import read_settings
from hud.api import calls
from hud.api.client import BlockingPlatformClient
from hud.api.place import required_place
from hud.api.replies import Project
from hud.cli import streams
from hud.cli.link import Link, read_link, write_link
from hud.cli.tables import table


def project_for(client: BlockingPlatformClient, named: str | None, link: Link) -> Project | None:
    """Return the project that is named, else the folder's, else that of HUD_DEFAULT_PROJECT.

    None leaves it to the platform.

    Raises:
        InputError: when there is no such project, or several.
        PlatformError: when the platform cannot be asked.
    """
    wanted = named or link.project_id or read_settings().default_project
    return _found(client, wanted) if wanted else None


def show_project(directory: str, *, as_json: bool) -> None:
    """Show the project of a folder."""
    folder = _folder(directory)
    link = read_link(folder)
    with BlockingPlatformClient(required_place()) as client:
        project = project_for(client, None, link)
        if project is None:
            every = client.collect(calls.projects())
            project = next((one for one in every if one.is_default), None)
    if as_json:
        streams.write_json({"project": None if project is None else _data(project)})
    elif project is None:
        streams.note("no project is chosen; hud project use NAME chooses one for this folder")
    else:
        streams.write(f"{project.name}  {project.id}")


def list_projects(*, quiet: bool, as_json: bool) -> None:
    """Show all projects."""
    with BlockingPlatformClient(required_place()) as client:
        every = client.collect(calls.projects())
    if as_json:
        streams.write_json({"projects": [_data(one) for one in every]})
    elif quiet:
        for one in every:
            streams.write(one.id)
    else:
        rows = [
            (one.name, "yes" if one.is_default else "", one.id, one.description or "")
            for one in every
        ]
        header = ("PROJECT", "DEFAULT", "ID", "DESCRIPTION")
        streams.write(table(header, rows, width=streams.stdout_width(), shrink=3))


def create_project(
    name: str,
    description: str | None,
    directory: str,
    *,
    use: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Make a project and, with `use`, choose it for a folder."""
    folder = _folder(directory)
    place = required_place()
    if dry_run:
        if as_json:
            streams.write_json({"dry_run": True, "name": name, "description": description})
        streams.note(f"{name} would be made at {place.shown}; nothing was done (--dry-run)")
        return
    with BlockingPlatformClient(place) as client:
        project = client.send(calls.create_project(name, description))
        if use:
            _choose(client, project, folder)
    if as_json:
        streams.write_json({"project": _data(project), "used": use})
    else:
        streams.write(project.id)
        streams.note(f"made {project.name}" + (f", chosen for {folder}" if use else ""))


def use_project(ref: str, directory: str, *, dry_run: bool, as_json: bool) -> None:
    """Choose a project for a folder."""
    folder = _folder(directory)
    with BlockingPlatformClient(required_place()) as client:
        project = _found(client, ref)
        if not dry_run:
            _choose(client, project, folder)
    if as_json:
        streams.write_json({"project": _data(project), "dry_run": dry_run})
    else:
        verb = "would be chosen" if dry_run else "is chosen"
        streams.note(f"{project.name} ({project.id}) {verb} for {folder}")


def _choose(client: BlockingPlatformClient, project: Project, folder: Path) -> None:
    me = client.send(calls.me())
    read_link(folder).check(client.place, me, folder)
    write_link(
        folder,
        origin=client.place.api_url,
        team_id=me.team_id,
        project_id=project.id,
        project_name=project.name,
    )


def _found(client: BlockingPlatformClient, ref: str) -> Project:
    every = client.collect(calls.projects())
    found = [one for one in every if one.id == ref] or [
        one for one in every if one.name.lower() == ref.lower()
    ]
    if len(found) == 1:
        return found[0]
    if found:
        raise InputError(
            f"several projects are called {bounded(ref)!r}",
            hint=f"give its id: {', '.join(one.id for one in found[:5])}",
        )
    known = ", ".join(one.name for one in every[:10])
    raise InputError(
        f"there is no project {bounded(ref)!r}",
        hint=f"there are: {known}" if known else "make one: hud project create NAME",
    )


def _folder(directory: str) -> Path:
    folder = Path(directory)
    if not folder.is_dir():
        raise InputError(f"{bounded(directory)} is no folder")
    return folder.resolve()


def _data(project: Project) -> dict[str, object]:
    return project.model_dump(mode="json")
