"""`hud providers`: who serves models through the platform on this machine, and with which key."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hud.cli import streams
from hud.cli.boundary import AsJson, Verbosity, guarded
from hud.cli.platform import Database, Home, opened

if TYPE_CHECKING:
    from hud.platform.gateway.providers import ModelRow, Provider

app = typer.Typer(
    help="Say who serves models through the platform on this machine, and with which key.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

Team = Annotated[str, typer.Option("--team", help="The team that may call its models.")]
Name = Annotated[str, typer.Argument(help="What the provider is called here.")]
_LONGEST_KEY = 8_192


@app.command("add")
@guarded
def add(
    name: Name,
    base_url: Annotated[
        str, typer.Option("--base-url", help="Its address, for example http://127.0.0.1:8000/v1.")
    ],
    dialect: Annotated[
        str, typer.Option("--dialect", help="openai, anthropic or gemini.")
    ] = "openai",
    key_stdin: Annotated[
        bool, typer.Option("--key-stdin", help="Read its key from stdin. Default: it takes none.")
    ] = False,
    model: Annotated[
        list[str] | None,
        typer.Option(
            help="A model it serves: NAME, or NAME=WHAT-THE-PROVIDER-CALLS-IT. Repeatable. "
            "Default: any of its own.",
            show_default=False,
        ),
    ] = None,
    team: Team = "local",
    home: Home = None,
    database: Database = None,
    as_json: AsJson = False,
    verbose: Verbosity = 0,
) -> None:
    """Add a provider, or replace the one of that name with its key and models.

    The key is kept encrypted and is never shown again. A running platform serves the models from
    the next moment on.
    """
    from hud.platform.accounts import audit, teams
    from hud.platform.gateway.providers import model_wanted, put_provider

    key = _key_from_stdin() if key_stdin else None
    wanted = [model_wanted(text) for text in model or ()]
    with opened(home, database) as services, services.database.writing() as connection:
        teams.require_team(connection, team)
        is_new = put_provider(
            connection,
            services.secrets,
            team,
            name=name,
            dialect=dialect,
            base_url=base_url,
            key=key,
            wanted=wanted,
        )
        audit.note(connection, team, "terminal", "provider.put", name)
    if as_json:
        names = [each.name for each in wanted]
        streams.write_json({"name": name, "added": is_new, "models": names})
    else:
        done = "added" if is_new else "replaced"
        streams.note(f"{done} {name}; try it: hud providers test {name}")


@app.command("list")
@guarded
def list_(
    team: Team = "local",
    home: Home = None,
    database: Database = None,
    as_json: AsJson = False,
    verbose: Verbosity = 0,
) -> None:
    """List the providers of a team, oldest first."""
    from hud.cli.tables import table
    from hud.platform.accounts import teams
    from hud.platform.gateway.providers import read_models, read_providers

    with opened(home, database) as services, services.database.reading() as connection:
        teams.require_team(connection, team)
        found = read_providers(connection, team)
        models = read_models(connection, team)
    if as_json:
        streams.write_json({"providers": [_data(row, models) for row in found]})
        return
    if not found:
        streams.note("there is no provider yet; add one with: hud providers add NAME --base-url …")
        return
    rows = [
        (
            row.name,
            row.dialect,
            row.base_url,
            "set" if row.secret is not None else "none",
            " ".join(each.name for each in models if each.provider == row.name) or "any of its own",
        )
        for row in found
    ]
    header = ("NAME", "DIALECT", "ADDRESS", "KEY", "MODELS")
    streams.write(table(header, rows, width=streams.stdout_width(), shrink=4))


@app.command("remove")
@guarded
def remove(
    name: Name,
    team: Team = "local",
    home: Home = None,
    database: Database = None,
    as_json: AsJson = False,
    verbose: Verbosity = 0,
) -> None:
    """Remove a provider with its key and its models."""
    from hud._core.errors import InputError, bounded
    from hud.platform.accounts import audit
    from hud.platform.gateway.providers import remove_provider

    with opened(home, database) as services, services.database.writing() as connection:
        if not remove_provider(connection, team, name):
            raise InputError(
                f"there is no provider {bounded(name)!r}", hint="hud providers list shows them"
            )
        audit.note(connection, team, "terminal", "provider.remove", name)
    if as_json:
        streams.write_json({"name": name, "removed": True})
    else:
        streams.note(f"removed {name}")


@app.command("test")
@guarded
def try_(
    name: Name,
    team: Team = "local",
    home: Home = None,
    database: Database = None,
    as_json: AsJson = False,
    verbose: Verbosity = 0,
) -> int:
    """Ask a provider for its models with the key that is kept; it costs nothing."""
    import asyncio

    from hud.platform.gateway.probe import probe_kept

    with opened(home, database) as services:
        tried = asyncio.run(probe_kept(services.database, services.secrets, team, name))
    if as_json:
        streams.write_json(
            {
                "name": name,
                "ok": tried.ok,
                "status": tried.status,
                "models": tried.models,
                "detail": tried.detail,
            }
        )
    else:
        streams.write(f"{name}: {tried.detail}")
    return 0 if tried.ok else 1


def _key_from_stdin() -> str:
    from hud._core.errors import InputError

    key = sys.stdin.read(_LONGEST_KEY).strip()
    if not key:
        hint = 'printf %s "$OPENAI_API_KEY" | hud providers add … --key-stdin'
        raise InputError("stdin holds no key", hint=hint)
    return key


def _data(row: Provider, models: list[ModelRow]) -> dict[str, Any]:
    from hud.platform.times import iso

    return {
        "name": row.name,
        "dialect": row.dialect,
        "base_url": row.base_url,
        "has_key": row.secret is not None,
        "models": [
            {"id": each.id, "name": each.name, "upstream": each.upstream}
            for each in models
            if each.provider == row.name
        ],
        "created_at": iso(row.created_at),
        "updated_at": iso(row.updated_at),
    }
