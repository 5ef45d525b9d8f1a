"""Build the image of an environment, and learn from it what its lock says."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from pydantic import ValidationError

from hud._core import json
from hud._core.errors import EnvironmentFault, InputError, RuntimeFault, bounded
from hud._core.ids import new_id
from hud._core.owner import OWNER_LABEL, own_label
from hud._core.redact import redact
from hud._version import __version__
from hud.packaging import archive, wheel
from hud.packaging.context import read_context
from hud.packaging.docker import recipe as recipes
from hud.packaging.docker.engine import Engine, Line, find_engine
from hud.packaging.docker.names import SOURCE_LABEL, VERSION_LABEL, image_name, is_image_name
from hud.packaging.docker.room import leaving_room
from hud.packaging.docker.values import argument_options
from hud.packaging.lock import Lock
from hud.packaging.variables import variables_of

BUILD_S = 3_600.0
_DESCRIBE_S = 180.0
_TAIL = 30
_CACHE_SCOPE = "BUILDKIT_CACHE_MOUNT_NS"
# What the classic builder advises against the variable that is set here, for want of BuildKit.
_OUR_CHOICE = (
    "BuildKit is currently disabled; enable it by removing the DOCKER_BUILDKIT=0",
    "environment-variable.",
)
_BUILDKIT_INSIDE = 23  # from this version on Docker's command line needs a plugin for it


@dataclass(frozen=True, slots=True)
class ImageAsk:
    """How an image is to be built; most as the option of the same name of `hud build`.

    Attributes:
        cache_scope: Builds of other scopes have cache mounts (`RUN --mount=type=cache`) of their
            own. None is the scope of whoever builds without any.
        leaves_room: Whether it is ended when it has nearly filled the engine's disk.
    """

    tag: str | None = None
    name: str | None = None
    build_args: Mapping[str, str] = field(default_factory=dict[str, str])
    secrets: Sequence[str] = field(default=(), repr=False)
    no_cache: bool = False
    platform: str | None = None
    cache_scope: str | None = None
    leaves_room: bool = False
    timeout_s: float = BUILD_S


@dataclass(frozen=True, slots=True)
class Image:
    """An image that was built.

    Attributes:
        tag: Its name.
        lock: With its id as the digest.
    """

    tag: str
    lock: Lock

    @property
    def uri(self) -> str:
        """How others name it."""
        return f"docker:{self.tag}"


async def build_image(folder: Path, ask: ImageAsk, *, on_line: Line) -> Image:
    """Build the image of the environment in a folder.

    Its source is loaded in a container of the new image, without a network, to learn its tasks.

    Raises:
        InputError: when the folder, its Dockerfile or the source in it cannot be used.
        EnvironmentFault: when the build or the source fails.
        RuntimeFault: when there is no engine, or it fails.
    """
    recipes.find_recipe(folder)
    if ask.tag is not None and not is_image_name(ask.tag):
        raise InputError(
            f"{bounded(ask.tag)!r} is no name of an image",
            hint="small letters, digits, '.', '_', '-' and '/', then perhaps :VERSION",
        )
    engine = find_engine()
    await engine.info()
    variables = await _builder(engine, ask)
    staging = Path(tempfile.mkdtemp(prefix="hud-build-"))
    try:
        staged = await asyncio.to_thread(_stage, folder, staging)
        identity = staging / "image-id"
        words = _words(ask, staged, identity, variables.get("DOCKER_BUILDKIT") == "1")
        async with leaving_room(engine) if ask.leaves_room else contextlib.nullcontext():
            await _run(engine, words, variables, ask, on_line)
        digest = identity.read_text("utf-8").strip()
        offer = await _describe(engine, digest, ask.name)
        lock = _lock(staged, offer, digest)
        tag = ask.tag or image_name(lock.name)
        await _name(engine, digest, tag)
    finally:
        await asyncio.shield(asyncio.to_thread(shutil.rmtree, staging, ignore_errors=True))
    on_line(f"built {tag}")
    return Image(tag, lock)


@dataclass(frozen=True, slots=True)
class _Staged:
    """The context of a build with what was added to it."""

    folder: Path
    source_hash: str
    hud_hash: str
    required: tuple[str, ...]
    optional: tuple[str, ...]


def _stage(folder: Path, staging: Path) -> _Staged:
    recipe = recipes.find_recipe(folder)
    context = read_context(folder)
    packed = archive.pack(context, staging / "context.tar.gz")
    root = staging / "context"
    archive.unpack(packed.path, root)
    packed.path.unlink()
    # What it leaves out is left out already.
    for name in (".dockerignore", f"{recipe.name}.dockerignore"):
        (root / name).unlink(missing_ok=True)
    added = root / recipes.ADDED
    if added.exists():
        raise InputError(f"{recipes.ADDED} is a name that builds use", hint="rename that folder")
    held = wheel.hold_names(added / "held")
    held.constraints.write_text(recipes.constraints(), "utf-8")
    (added / "Dockerfile").write_text(recipes.with_own_hud(recipe), "utf-8")
    for path in (added, added / "held"):
        path.chmod(0o755)
    found = variables_of(context)
    return _Staged(
        root,
        packed.source_hash,
        hashlib.sha256(held.wheel.read_bytes()).hexdigest(),
        found.required,
        found.optional,
    )


def _words(ask: ImageAsk, staged: _Staged, identity: Path, has_buildkit: bool) -> list[str]:
    words = ["build", "--file", str(staged.folder / recipes.ADDED / "Dockerfile")]
    words += ["--iidfile", str(identity)]
    words += ["--label", f"{VERSION_LABEL}={__version__}"]
    words += ["--label", f"{SOURCE_LABEL}={staged.source_hash}"]
    words += argument_options(_arguments(ask, has_buildkit))[0]
    for secret in ask.secrets:
        words += ["--secret", secret]
    if ask.no_cache:
        words.append("--no-cache")
    if not has_buildkit:
        words.append("--force-rm")
    if ask.platform is not None:
        words += ["--platform", ask.platform]
    return [*words, str(staged.folder)]


def _arguments(ask: ImageAsk, has_buildkit: bool) -> dict[str, str]:
    if ask.cache_scope is None or not has_buildkit:
        return {**ask.build_args}
    return {**ask.build_args, _CACHE_SCOPE: ask.cache_scope}


async def _builder(engine: Engine, ask: ImageAsk) -> dict[str, str]:
    """Return the command's variables: they choose the builder, BuildKit where there is one.

    Raises:
        InputError: when secrets are asked of the classic builder, which has none.
    """
    arguments = argument_options(ask.build_args)[1]
    if engine.kind == "podman":
        return arguments
    found = await has_buildkit(engine)
    if ask.secrets and not found:
        raise InputError(
            "build secrets need BuildKit, which this docker has not",
            hint="install its plugin: apt-get install docker-buildx",
        )
    return {**arguments, **builder_variables(found)}


async def has_buildkit(engine: Engine) -> bool:
    """Tell whether Docker's command line can build with BuildKit."""
    version = (await engine.run("version", "--format", "{{.Client.Version}}")).out.strip()
    major = version.partition(".")[0]
    if major.isdigit() and int(major) < _BUILDKIT_INSIDE:
        return True
    return (await engine.run("buildx", "version")).code == 0


def builder_variables(buildkit: bool) -> dict[str, str]:
    """Return the variables that choose Docker's builder."""
    return {"DOCKER_BUILDKIT": str(int(buildkit)), "BUILDKIT_PROGRESS": "plain"}


async def _run(
    engine: Engine, words: list[str], variables: dict[str, str], ask: ImageAsk, on_line: Line
) -> None:
    last: list[str] = []

    def hear(line: str) -> None:
        if line.strip() in _OUR_CHOICE:
            return
        last.append(line)
        del last[:-_TAIL]
        on_line(line)

    code = await engine.follow(*words, on_line=hear, variables=variables, timeout_s=ask.timeout_s)
    if code != 0:
        said = next((line for line in reversed(last) if line.strip()), f"exit code {code}")
        raise EnvironmentFault(
            f"the image cannot be built: {bounded(said, 600)}",
            hint="what the build printed is above; -v shows all of it",
        )


async def _describe(engine: Engine, image: str, name: str | None) -> dict[str, Any]:
    """Load the source in a container of the image; return what it offers."""
    target = await _served(engine, image)
    container = f"hud-describe-{new_id()}"
    words = [*("run", "--rm", "--network", "none", "--name", container, "--pids-limit", "1024")]
    words += ["--label", f"{OWNER_LABEL}={own_label()}", "--entrypoint", "python3", image]
    try:
        done = await engine.run(
            *(*words, "-m", "hud.packaging.docker.inventory", target, name or ""),
            timeout_s=_DESCRIBE_S,
        )
    except BaseException:
        # Ending the command has ended neither the container nor the stranger's code in it.
        await asyncio.shield(_remove(engine, container))
        raise
    try:
        said = json.decode(done.out.strip().splitlines()[-1])
    except (IndexError, ValueError):
        raise EnvironmentFault(
            f"the source in the image cannot be loaded: {redact(done.reason)}",
            hint="its folder has to be the image's WORKDIR",
        ) from None
    if not isinstance(said, dict):
        raise RuntimeFault("the image describes itself wrongly")
    offer = cast("dict[str, Any]", said)
    if "error" in offer:
        hint = offer.get("hint")
        raise InputError(
            f"in the image: {redact(bounded(str(offer['error']), 1_000))}",
            hint=str(hint) if hint else None,
        )
    return offer


async def _remove(engine: Engine, container: str) -> None:
    with contextlib.suppress(RuntimeFault):
        await engine.run("rm", "--force", "--volumes", container)


async def _served(engine: Engine, image: str) -> str:
    """Return what the image's command serves, as in `hud serve env.py`; its folder otherwise."""
    form = "{{json .Config.Entrypoint}}\n{{json .Config.Cmd}}"
    out = await engine.check("image", "inspect", "--format", form, image)
    words: list[str] = []
    for line in out.splitlines():
        found: Any = json.decode(line) if line.strip() else None
        for word in cast("list[str]", found or []):
            words += word.split()
    following = words[words.index("serve") + 1 :] if "serve" in words else []
    if following and not following[0].startswith("-"):
        return following[0]
    return "."


async def _name(engine: Engine, digest: str, tag: str) -> None:
    done = await engine.run("tag", digest, tag)
    if done.code != 0:
        raise InputError(f"the image cannot be named {bounded(tag)!r}: {done.reason}")


def _lock(staged: _Staged, offer: dict[str, Any], digest: str) -> Lock:
    attribute, source = offer.get("attribute"), offer.get("source")
    said = {name: offer.get(name) for name in ("name", "environments", "tasks", "capabilities")}
    try:
        return Lock.model_validate(
            {
                **said,
                "kind": "docker",
                "digest": digest,
                "source_hash": staged.source_hash,
                "source": f"{source}:{attribute}" if attribute else source,
                "hud": __version__,
                "hud_hash": staged.hud_hash,
                "python": str(offer.get("python") or ""),
                "variables": {"required": staged.required, "optional": staged.optional},
            }
        )
    except ValidationError as error:
        where = ".".join(str(part) for part in error.errors(include_url=False)[0]["loc"])
        raise RuntimeFault(f"the image describes itself wrongly: {bounded(where)}") from error
