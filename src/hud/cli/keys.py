"""`hud keys`: API keys of the platform on this machine, made without a server running."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from hud.cli import streams
from hud.cli.boundary import AsJson, Verbosity, guarded
from hud.cli.platform import Database, Home, opened

if TYPE_CHECKING:
    from hud.platform.accounts.keys import ApiKey, Scope

app = typer.Typer(
    help="Make, list and revoke API keys of the platform on this machine.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

Team = Annotated[str, typer.Option("--team", help="The team whose things the key opens.")]


@app.command("create")
@guarded
def create(
    name: Annotated[str, typer.Argument(help="What the key is for.")],
    team: Team = "local",
    scope: Annotated[
        list[str] | None,
        typer.Option(
            help="read, write, inference or admin. Repeatable. Default: the first three.",
            show_default=False,
        ),
    ] = None,
    expires_in_days: Annotated[
        int | None,
        typer.Option(metavar="DAYS", min=1, max=3650, help="Default: never.", show_default=False),
    ] = None,
    new_team: Annotated[
        bool, typer.Option("--new-team", help="Make the team when there is none of that name.")
    ] = False,
    home: Home = None,
    database: Database = None,
    as_json: AsJson = False,
    verbose: Verbosity = 0,
) -> None:
    """Make a key and print it, just the key, on stdout. It is shown this once."""
    from hud.platform.accounts import audit, keys, teams
    from hud.platform.times import micros_in

    with opened(home, database) as services, services.database.writing() as connection:
        if new_team and teams.make_team(connection, team):
            teams.set_role(connection, team, services.owner_id, "owner")
        teams.require_team(connection, team)
        key, secret = keys.create_key(
            connection,
            team=team,
            user_id=services.owner_id,
            name=name,
            # create_key says which there are
            scopes=cast("list[Scope]", scope) if scope else keys.DEFAULT_SCOPES,
            expires_at=None if expires_in_days is None else micros_in(expires_in_days * 86_400),
        )
        audit.note(connection, team, "terminal", "key.create", key.id, name=key.name)
    if as_json:
        streams.write_json({"api_key": secret, **_data(key)})
    else:
        streams.write(secret)


@app.command("list")
@guarded
def list_(
    team: Team = "local",
    home: Home = None,
    database: Database = None,
    as_json: AsJson = False,
    verbose: Verbosity = 0,
) -> None:
    """List the keys of a team, newest first."""
    from hud.cli.render import clock
    from hud.cli.tables import table
    from hud.platform.accounts import keys, teams

    with opened(home, database) as services, services.database.reading() as connection:
        teams.require_team(connection, team)
        found = keys.list_keys(connection, team)
    if as_json:
        streams.write_json({"keys": [_data(key) for key in found]})
        return
    if not found:
        streams.note("there is no key yet; make one with: hud keys create NAME")
        return
    rows = [
        (
            key.id,
            key.name,
            key.shown,
            " ".join(key.scopes),
            clock(key.created_at),
            clock(key.used_at) if key.used_at else "never",
            _state(key),
        )
        for key in found
    ]
    header = ("ID", "NAME", "KEY", "SCOPES", "CREATED", "USED", "STATE")
    streams.write(table(header, rows, width=streams.stdout_width(), shrink=1))


@app.command("revoke")
@guarded
def revoke(
    key_id: Annotated[str, typer.Argument(metavar="ID", help="The id of a key.")],
    team: Team = "local",
    home: Home = None,
    database: Database = None,
    as_json: AsJson = False,
    verbose: Verbosity = 0,
) -> None:
    """End a key for good."""
    from hud.platform.accounts import audit, keys

    with opened(home, database) as services, services.database.writing() as connection:
        key = keys.revoke_key(connection, team, key_id)
        audit.note(connection, team, "terminal", "key.revoke", key.id)
    if as_json:
        streams.write_json({"id": key.id, "revoked": True})
    else:
        streams.note(f"revoked {key.name} ({key.shown})")


def _state(key: ApiKey) -> str:
    from hud.platform.database import now_us

    if key.revoked_at is not None:
        return "revoked"
    if key.expires_at is not None and key.expires_at <= now_us():
        return "expired"
    return "good"


def _data(key: ApiKey) -> dict[str, Any]:
    from hud.platform.times import iso

    return {
        "id": key.id,
        "name": key.name,
        "team": key.team,
        "shown": key.shown,
        "scopes": list(key.scopes),
        "state": _state(key),
        "created_at": iso(key.created_at),
        "expires_at": iso(key.expires_at),
        "revoked_at": iso(key.revoked_at),
        "used_at": iso(key.used_at),
    }
