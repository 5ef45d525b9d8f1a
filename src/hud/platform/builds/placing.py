"""From a build to the provider that runs it: a bundle in a sandbox, an image in a container.

What was built is a stranger's code: nothing here runs it in the server's own process or as a plain
child of it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, and_, select

from hud._core import json, machine
from hud._core.errors import InputError, bounded
from hud.environment.runtime_config import RuntimeConfig, RuntimeResources
from hud.environment.task import Task
from hud.platform.database import Database
from hud.platform.errors import ApiError
from hud.platform.registry import tables
from hud.platform.registry.naming import slugged
from hud.platform.secrets import SecretBox
from hud.runtimes.base import Provider

_SHA256 = re.compile(r"[0-9a-f]{64}")
_environments, _builds = tables.environments, tables.builds
GONE_HINT = "hud deploy builds it anew"


@dataclass(frozen=True, slots=True)
class Built:
    """A build that can be run.

    Attributes:
        environment: Its name, as the registry has it.
        uri: `bundle:<sha256>` or `docker:<image>`.
        bundles: The folder of this platform's bundles.
        variables: What its environment is given as environment variables, decrypted.
        config: What every rollout of it is to have, as it was deployed with.
        memory_mb: The most memory an environment gets here, and what it gets that asks for none;
            None leaves it to what runs it.
    """

    team: str
    build_id: str
    environment: str
    uri: str
    bundles: Path
    variables: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    config: RuntimeConfig | None = None
    memory_mb: int | None = None


Make = Callable[[Built, str], Provider]


def _bundle(built: Built, sha256: str) -> Provider:
    from hud.runtimes.bundle import BundleRuntime

    if not _SHA256.fullmatch(sha256):
        raise InputError(f"{bounded(built.uri)!r} is the address of no bundle")
    return BundleRuntime(
        built.uri,
        env_vars=dict(built.variables),
        store=built.bundles,
        memory_ceiling_mb=built.memory_mb,
    )


def _docker(built: Built, image: str) -> Provider:
    from hud.runtimes.docker import DockerRuntime

    memory_mb = built.memory_mb or machine.fair_share_mb()
    return DockerRuntime(
        image,
        env_vars=dict(built.variables),
        runtime_config=RuntimeConfig(resources=RuntimeResources(memory_mb=memory_mb)),
    )


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


def as_deployed(built: Built, task: Task) -> Task:
    """Return a task with what its build was deployed with, under the row's own asks.

    An image that the row names says where it came from, and is not run: what else this machine's
    container engine holds is not a team's to choose.

    Raises:
        InputError: when the row asks for further containers, which the build does not have, or for
            more memory than an environment gets here.
    """
    config = task.runtime_config
    if config is None and built.config is None:
        return task
    if config is not None and config.compose is not None:
        raise InputError(
            f"task {bounded(task.slug)!r} asks for compose, and this platform runs what was "
            f"deployed as {built.environment!r} alone",
            hint="run it with --runtime docker, or remove compose from its runtime_config",
        )
    asked = (built.config or RuntimeConfig()).with_overrides(config)
    memory_mb = asked.resources.memory_mb if asked.resources else None
    if memory_mb is not None and built.memory_mb is not None and memory_mb > built.memory_mb:
        raise InputError(
            f"task {bounded(task.slug)!r} asks for {memory_mb} MiB of memory, and this platform "
            f"gives an environment at most {built.memory_mb}",
            hint="ask for less in its runtime_config, or have the platform started with more: "
            "hud platform up --environment-memory MIB",
        )
    kept = asked.model_dump(exclude_unset=True, exclude={"image"})
    own = RuntimeConfig.model_validate(kept) if kept else None
    return task.model_copy(update={"runtime_config": own})


def is_here(uri: str, bundles: Path) -> bool:
    """Tell whether what was built can be there: of a bundle the folder may be gone. Blocks."""
    kind, _, rest = uri.partition(":")
    return kind != "bundle" or not _SHA256.fullmatch(rest) or (bundles / rest).is_dir()


class Deployed:
    """Finds what the teams of a platform have deployed. From any thread; blocks."""

    def __init__(
        self,
        database: Database,
        secrets: SecretBox,
        home: Path,
        *,
        memory_mb: int | None = None,
    ) -> None:
        self._database = database
        self._secrets = secrets
        self._bundles = home / "bundles"
        self._memory_mb = memory_mb

    def find(self, team: str, name: str) -> Built:
        """Return the latest build of the team's environment of that name.

        Raises:
            ApiError: with status 404 when there is no such environment, 409 when it has no build.
            StoreError: when its variables cannot be decrypted.
        """
        with self._database.reading() as connection:
            found = _latest(connection, team, name)
        hint = "hud deploy builds and registers an environment"
        if found is None:
            message = f"there is no environment {bounded(name)!r} on this platform"
            raise ApiError(404, message, kind="not_found", hint=hint)
        if not found.build or not found.uri:
            message = f"environment {bounded(found.name)!r} has no build that can be run"
            raise ApiError(409, message, kind="not_built", hint=hint)
        if not is_here(found.uri, self._bundles):
            message = f"the build of environment {bounded(found.name)!r} is not here any more"
            raise ApiError(409, message, kind="not_built", hint=GONE_HINT)
        variables: dict[str, str] = {}
        if found.variables:
            variables = json.decode(self._secrets.decrypt(found.variables))
        config = _config(found.spec)
        return Built(
            *(team, found.build, found.name, found.uri, self._bundles),
            variables=variables,
            config=config,
            memory_mb=self._memory_mb,
        )


def _config(spec: str | None) -> RuntimeConfig | None:
    """Return what a build's places are to have; what was built itself says what runs in them."""
    held: dict[str, Any] = json.decode(spec) if spec else {}
    asked: dict[str, Any] = held.get("runtime_config") or {}
    kept = {name: value for name, value in asked.items() if name not in ("image", "compose")}
    return RuntimeConfig.model_validate(kept) if kept else None


def _latest(connection: Connection, team: str, name: str) -> Any:
    return connection.execute(
        select(
            *(_environments.c.name, _environments.c.variables),
            *(_builds.c.id.label("build"), _builds.c.uri, _builds.c.spec),
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
