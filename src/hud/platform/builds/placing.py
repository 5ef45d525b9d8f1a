"""From a build to the provider that runs it: a bundle in a sandbox, an image in a container.

What was built is a stranger's code: nothing here runs it in the server's own process or as a plain
child of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from sqlalchemy import Connection, and_, select

from hud._core import json
from hud._core.errors import InputError, bounded
from hud.platform.errors import ApiError
from hud.platform.registry import tables
from hud.platform.registry.naming import slugged
from hud.platform.secrets import SecretBox
from hud.runtimes.base import Provider

_environments, _builds = tables.environments, tables.builds


@dataclass(frozen=True, slots=True)
class Built:
    """A build that can be run.

    Attributes:
        environment: Its name, as the registry has it.
        uri: `bundle:<sha256>` or `docker:<image>`.
        variables: What its environment is given as environment variables, decrypted.
    """

    team: str
    build_id: str
    environment: str
    uri: str
    variables: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)


Make = Callable[[Built, str], Provider]


def _bundle(built: Built, sha256: str) -> Provider:
    from hud.runtimes.bundle import BundleRuntime

    return BundleRuntime(sha256, variables=dict(built.variables))


def _docker(built: Built, image: str) -> Provider:
    from hud.runtimes.docker import DockerRuntime

    return DockerRuntime(image, env_vars=dict(built.variables))


KINDS: dict[str, Make] = {"bundle": _bundle, "docker": _docker}
"""What runs a build, by the part of its `uri` before the colon."""


def provider_of(built: Built) -> Provider:
    """Return what makes places of a build.

    Raises:
        InputError: when it was built for something this platform does not run.
    """
    kind, _, rest = built.uri.partition(":")
    make = KINDS.get(kind)
    if make is None or not rest:
        raise InputError(
            f"environment {built.environment!r} was built as {bounded(built.uri)!r}, which this "
            "platform does not run",
            hint="deploy it again: hud deploy",
        )
    return make(built, rest)


def find_built(connection: Connection, secrets: SecretBox, team: str, name: str) -> Built:
    """Return the latest build of the team's environment of that name.

    Raises:
        ApiError: with status 404 when there is no such environment, 409 when it has no build.
        StoreError: when its variables cannot be decrypted.
    """
    found = connection.execute(
        select(
            *(_environments.c.name, _environments.c.variables),
            *(_builds.c.id.label("build"), _builds.c.uri),
        )
        .outerjoin(
            _builds,
            and_(
                _builds.c.team == _environments.c.team,
                _builds.c.environment_id == _environments.c.id,
                _builds.c.version == _environments.c.latest_version,
            ),
        )
        .where(_environments.c.team == team, _environments.c.name == slugged(name))
    ).one_or_none()
    hint = "hud deploy builds and registers an environment"
    if found is None:
        message = f"there is no environment {bounded(name)!r} on this platform"
        raise ApiError(404, message, kind="not_found", hint=hint)
    if not found.build or not found.uri:
        message = f"environment {bounded(found.name)!r} has no build that can be run"
        raise ApiError(409, message, kind="not_built", hint=hint)
    sealed: str | None = found.variables
    variables: dict[str, str] = {} if not sealed else json.decode(secrets.decrypt(sealed))
    return Built(team, found.build, found.name, found.uri, variables)
