"""`hud build`: its options. What it does is `building`."""

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
            help="The environment's folder; for a bundle also the file that declares it.",
            show_default=False,
        ),
    ] = Path(),
    tag: Annotated[
        str | None,
        typer.Option("--tag", "-t", help="Name of the image. Default: the environment's."),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option("--name", help="Which environment, where the code declares several."),
    ] = None,
    bundle: Annotated[
        bool, typer.Option("--bundle", help="Make a bundle, which needs no container engine.")
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
    platform: Annotated[
        str | None,
        typer.Option("--platform", help="System and processor to build for, as in linux/amd64."),
    ] = None,
    as_json: AsJson = False,
    verbose: Verbosity = 0,
) -> None:
    """Build an environment into an image, or a bundle, and write what it is to hud.lock."""
    from hud.cli.building import build
    from hud.packaging.docker.build import ImageAsk

    args: dict[str, str] = {}
    for item in build_arg or ():
        key, equals, value = item.partition("=")
        if not equals or not key:
            raise typer.BadParameter(f"{key!r} says no value", param_hint="--build-arg")
        args[key] = value
    ask = ImageAsk(
        tag=tag,
        name=name,
        build_args=args,
        secrets=tuple(secret or ()),
        no_cache=no_cache,
        platform=platform,
    )
    build(directory, ask, bundle=bundle, as_json=as_json)
