"""`hud deploy`: have an environment built by the platform, or go back to an earlier version."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hud.cli.boundary import AsJson, Verbosity, guarded


@guarded
def command(
    directory: Annotated[
        Path,
        typer.Argument(
            help="The environment's folder, or the file in it that declares it.", show_default=False
        ),
    ] = Path(),
    name: Annotated[
        str | None,
        typer.Option("--name", help="Which environment, where the code declares several."),
    ] = None,
    env: Annotated[
        list[str] | None,
        typer.Option(
            "--env", "-e", metavar="KEY=VALUE", help="A variable its rollouts get. Repeatable."
        ),
    ] = None,
    env_file: Annotated[
        Path | None,
        typer.Option("--env-file", help="Variables from this file; those it lacks are kept."),
    ] = None,
    no_env: Annotated[
        bool, typer.Option("--no-env", help="Do not take the variables of .env along.")
    ] = False,
    build_arg: Annotated[
        list[str] | None,
        typer.Option(
            "--build-arg", metavar="KEY=VALUE", help="A value the build may keep. Repeatable."
        ),
    ] = None,
    secret: Annotated[
        list[str] | None,
        typer.Option(
            "--secret",
            metavar="id=ID,env=NAME",
            help="A secret the build may use and not keep; or id=ID,src=FILE. Repeatable.",
        ),
    ] = None,
    no_cache: Annotated[
        bool, typer.Option("--no-cache", help="Use nothing of earlier builds.")
    ] = False,
    registry_id: Annotated[
        str | None, typer.Option("--registry-id", help="The environment by its id.", hidden=True)
    ] = None,
    project: Annotated[
        str | None, typer.Option("--project", help="The project it belongs to.")
    ] = None,
    runtime: Annotated[
        str | None, typer.Option("--runtime", help="Where the platform is to run it: hud.")
    ] = None,
    runtime_config: Annotated[
        Path | None,
        typer.Option("--runtime-config", help="A JSON file: what its rollouts need and may use."),
    ] = None,
    rollback: Annotated[
        int | None,
        typer.Option(
            "--rollback",
            min=1,
            metavar="VERSION",
            help="Build nothing: run this version, which was built before.",
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be sent, and send nothing.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: AsJson = False,
    verbose: Verbosity = 0,
) -> int:
    """Pack an environment, have it built by the platform, and wait until it is.

    The same name again is a new version. Ctrl-C stops the build too.
    """
    from hud.cli.deploying import DeployRequest, deploy
    from hud.cli.rolling_back import roll_back

    request = DeployRequest(
        source=directory,
        name=name,
        env=tuple(env or ()),
        env_file=env_file,
        no_env=no_env,
        build_args=tuple(build_arg or ()),
        secrets=tuple(secret or ()),
        no_cache=no_cache,
        registry_id=registry_id,
        project=project,
        runtime=runtime,
        runtime_config=runtime_config,
        dry_run=dry_run,
        yes=yes,
        as_json=as_json,
    )
    return deploy(request) if rollback is None else roll_back(request, rollback)
