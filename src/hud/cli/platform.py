"""`hud platform`: run the server, and look after what it keeps."""

from __future__ import annotations

from contextlib import closing
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hud.cli import streams
from hud.cli.boundary import AsJson, Verbosity, guarded

if TYPE_CHECKING:
    from hud.platform.config import PlatformConfig
    from hud.platform.services import Services

app = typer.Typer(
    help="Run the platform, and look after what it keeps.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

Home = Annotated[
    Path | None,
    typer.Option(
        "--home", help="Folder of the platform. Default: HUD_HOME, else ~/.hud.", show_default=False
    ),
]
Database = Annotated[
    str | None,
    typer.Option(
        "--database",
        envvar="HUD_DATABASE_URL",
        help="postgresql://… for a team. Default: a SQLite file in the home.",
        show_default=False,
        show_envvar=True,
    ),
]
Blobs = Annotated[
    str | None,
    typer.Option(
        "--blobs",
        envvar="HUD_BLOBS_URL",
        help="s3://bucket/prefix for a team. Default: a folder in the home.",
        show_default=False,
        show_envvar=True,
    ),
]

EnvironmentMemory = Annotated[
    int | None,
    typer.Option(
        "--environment-memory",
        min=64,
        metavar="MIB",
        help="The most memory an environment gets, and what it gets that asks for none.",
        show_default="half of this machine's",
    ),
]


class BuilderKind(StrEnum):
    """What environments are built as."""

    BUNDLE = "bundle"
    DOCKER = "docker"


@app.command("up")
@guarded
def up(
    host: Annotated[str, typer.Option(help="Interface to listen on.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option("--port", "-p", metavar="PORT", min=0, max=65535, help="0: any free one.")
    ] = 8420,
    home: Home = None,
    database: Database = None,
    blobs: Blobs = None,
    public_url: Annotated[
        str | None,
        typer.Option(
            "--public-url",
            help="The address people reach it at, behind a proxy.",
            show_default=False,
        ),
    ] = None,
    env_providers: Annotated[
        bool,
        typer.Option(
            "--env-providers",
            help="Serve models with the provider keys of this environment, to the local team.",
        ),
    ] = False,
    rollouts: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=0,
            max=10_000,
            help="Remote rollouts this process runs at a time; 0 leaves them to `hud platform "
            "worker`.",
            show_default="4 for each processor",
        ),
    ] = None,
    engine: Annotated[
        str, typer.Option(help="What runs remote rollouts: embedded, ray, or ray:HOST:PORT.")
    ] = "embedded",
    environment_memory: EnvironmentMemory = None,
    builder: Annotated[
        BuilderKind,
        typer.Option(
            "--builder", help="What deployed environments become; docker needs an engine here."
        ),
    ] = BuilderKind.BUNDLE,
    builds: Annotated[
        int,
        typer.Option(
            "--builds",
            metavar="N",
            min=0,
            max=64,
            help="Environments built together here; 0: none at all.",
        ),
    ] = 2,
    build_timeout: Annotated[
        float,
        typer.Option(min=1, metavar="SECONDS", help="How long one build may take."),
    ] = 1800.0,
    as_json: AsJson = False,
    verbose: Verbosity = 0,
) -> None:
    """Serve the API, live streams and the inference gateway until Ctrl-C or SIGTERM.

    Prints the address and a link that signs a browser in once, as soon as it answers.
    """
    from hud._core.garbage import without_collections

    with without_collections():
        from hud.platform.serving import Ready, serve

    config = configured(
        home,
        database,
        blobs,
        host=host,
        port=port,
        public_url=public_url,
        env_providers=env_providers,
        engine=engine,
        environment_memory_mb=environment_memory,
        builder=builder.value,
        builds_at_once=builds,
        build_timeout_s=build_timeout,
        **({} if rollouts is None else {"rollouts": rollouts}),
    )

    def say(ready: Ready) -> None:
        if as_json:
            streams.write_json({"url": ready.url, "sign_in_url": ready.sign_in_url})
            return
        streams.write(f"platform ready at {ready.url}")
        streams.write(f"sign in (once, within 15 minutes): {ready.sign_in_url}")
        if not config.is_loopback and not (public_url or "").startswith("https:"):
            streams.note("reachable from other machines without encryption: put TLS before it")
        streams.note("hud keys create NAME makes a key; Ctrl-C stops the platform")

    serve(config, say)


@app.command("worker")
@guarded
def worker(
    url: Annotated[
        str | None,
        typer.Option(
            help="Where the platform answers. Default: the one that runs on the same home.",
            show_default=False,
        ),
    ] = None,
    home: Home = None,
    database: Database = None,
    blobs: Blobs = None,
    rollouts: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            max=10_000,
            help="Rollouts at a time.",
            show_default="4 for each processor",
        ),
    ] = None,
    engine: Annotated[
        str, typer.Option(help="What runs them: embedded, ray, or ray:HOST:PORT.")
    ] = "embedded",
    environment_memory: EnvironmentMemory = None,
    verbose: Verbosity = 0,
) -> None:
    """Run remote rollouts of a platform, beside its server, until Ctrl-C or SIGTERM.

    Any number may work on one database, and any may die: what it had is run by another.
    """
    from hud._core.garbage import without_collections

    with without_collections():
        from hud.platform.working import work

    more = {} if rollouts is None else {"rollouts": rollouts}
    config = configured(
        home,
        database,
        blobs,
        engine=engine,
        environment_memory_mb=environment_memory,
        **more,
    )
    work(config, url, lambda where: streams.write(f"worker ready for {where}"))


@app.command("sign-in")
@guarded
def sign_in(
    home: Home = None, database: Database = None, as_json: AsJson = False, verbose: Verbosity = 0
) -> None:
    """Print a link that signs a browser in once, within 15 minutes."""
    from hud._core.errors import InputError
    from hud.platform.running import running_here
    from hud.platform.services import Services
    from hud.platform.serving import sign_in_link

    config = configured(home, database, None)
    found = running_here(config.home)
    if found is None:
        raise InputError("no platform runs here", hint="start one with: hud platform up")
    with closing(Services.open(config)) as services:
        link = sign_in_link(services, found["url"])
    if as_json:
        streams.write_json({"sign_in_url": link})
    else:
        streams.write(link)


@app.command("status")
@guarded
def status(
    wait: Annotated[
        float,
        typer.Option(
            metavar="SECONDS", min=0, max=3600, help="Seconds to wait until a platform answers."
        ),
    ] = 0.0,
    home: Home = None,
    as_json: AsJson = False,
    verbose: Verbosity = 0,
) -> None:
    """Say whether a platform runs here, and where. Exits 1 when none answers."""
    from hud.cli.tables import pairs
    from hud.platform.running import running_here

    found = running_here(configured(home, None, None).home, wait_s=wait)
    if as_json:
        streams.write_json({"running": found is not None, **(found or {})})
    elif found is not None:
        streams.write(pairs([(name, str(value)) for name, value in found.items()]))
    if found is None:
        streams.note("no platform runs here; start one with: hud platform up")
        raise typer.Exit(1)


def configured(
    home: Path | None, database: str | None, blobs: str | None, **more: Any
) -> PlatformConfig:
    """Return the configuration that options and variables ask for; makes the home.

    Raises:
        StoreError: when the home cannot be made.
        InputError: when an address makes no sense.
    """
    from hud._core.paths import hud_home, make_home
    from hud.platform.config import PlatformConfig

    where = make_home(home.expanduser().absolute()) if home is not None else hud_home()
    return PlatformConfig(home=where, database=database or None, blobs=blobs or None, **more)


def opened(home: Path | None, database: str | None) -> closing[Services]:
    """Return what a platform keeps, opened without a server; the block closes it.

    Raises:
        StoreError: when it cannot be opened.
        InputError: when an address makes no sense.
    """
    from hud.platform.services import Services

    return closing(Services.open(configured(home, database, None)))
