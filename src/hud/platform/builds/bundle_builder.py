"""Builds bundles: the engine that every platform has, because it needs no other.

The context is unpacked here, built behind a wall, and what comes out is taken over only once it
has been looked at: its address must be that of what it really holds.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any, cast

from hud._core import json
from hud._core.errors import InputError, bounded
from hud._core.paths import make_home
from hud.packaging.archive import unpack
from hud.packaging.bundle import adopt_bundle
from hud.packaging.context import Limits as ContextLimits
from hud.platform.builds import sources
from hud.platform.builds.builder import BuildAsk, BuildFailed, Built, Say
from hud.platform.builds.confined import GUEST, Confined, confined
from hud.sandbox import files, folders
from hud.sandbox.spec import Mount

_CONTEXT = ContextLimits(files=100_000, total_bytes=2 << 30)
_RESULT_BYTES = 1 << 20
_COMPOSE = "compose.yaml"


class BundleBuilder:
    """Builds bundles into `home/bundles`."""

    name = "bundle"

    def __init__(self, home: Path) -> None:
        self._home = home
        self._store = home / "bundles"

    async def build(self, context: Path, ask: BuildAsk, say: Say) -> Built:
        """Do what `Builder.build` says."""
        if ask.runtime_config.get("image") or ask.runtime_config.get("compose"):
            raise BuildFailed(
                "this platform builds bundles, which have no image and no Compose project",
                hint="leave image and compose out of --runtime-config",
            )
        folder = folders.make("build")
        try:
            source = folder / "work" / "source"
            source.parent.mkdir(0o755)
            try:
                await asyncio.to_thread(unpack, context, source, _CONTEXT)
            except InputError as error:
                raise BuildFailed(error.message, hint=error.hint) from error
            if (source / "Dockerfile.hud").exists() or (source / "Dockerfile").exists():
                say("the Dockerfile is not used: this platform builds bundles")
            for name in ("store", "tmp"):
                (folder / "work" / name).mkdir(0o755)
            digest = await self._built(folder, ask, say)
            return await asyncio.to_thread(self._taken_over, folder / "work" / "store", digest, ask)
        finally:
            await asyncio.shield(asyncio.to_thread(files.remove_tree, folder))

    async def _built(self, folder: Path, ask: BuildAsk, say: Say) -> str:
        secrets = await asyncio.to_thread(_secret_mounts, folder / "secrets", ask)
        mounts = (*sources.mounts(), *secrets)
        async with confined(folder / "work", mounts=mounts, private=(self._home,)) as inside:
            code = await self._run(inside, ask, say)
        return _digest(folder / "work", code)

    async def _run(self, inside: Confined, ask: BuildAsk, say: Say) -> int:
        argv = [sys.executable, "-m", "hud.platform.builds.bundle_child"]
        argv += [f"{GUEST}/source", f"{GUEST}/store", f"{GUEST}/result.json"]
        env = {
            **ask.build_args,
            **sources.variables(),
            "TMPDIR": f"{GUEST}/tmp",
            "HUD_HOME": f"{GUEST}/tmp/home",
            "PYTHONUNBUFFERED": "1",
            "PIP_NO_CACHE_DIR": "1",
        }
        return await inside.run(argv, env=env, say=say)

    def _taken_over(self, store: Path, digest: str, ask: BuildAsk) -> Built:
        make_home(self._store)
        try:
            bundle = adopt_bundle(store, digest, into=self._store)
        except InputError as error:
            raise BuildFailed(f"what was built cannot be used: {error.message}") from error
        lock = bundle.lock
        if ask.name not in (lock.name, *lock.environments):
            raise BuildFailed(
                f"the code declares the environment {bounded(lock.name)!r}, "
                f"and {bounded(ask.name)!r} was to be built",
                hint="deploy it by the name in its code",
            )
        return Built(
            uri=f"bundle:{bundle.digest}",
            manifest=lock.manifest(),
            lock=lock.model_dump(mode="json"),
        )


def _secret_mounts(folder: Path, ask: BuildAsk) -> tuple[Mount, ...]:
    """Write each secret to a file of its own, which is seen inside at /run/secrets."""
    if not ask.build_secrets:
        return ()
    folder.mkdir(0o711)
    found: list[Mount] = []
    for number, (name, value) in enumerate(sorted(ask.build_secrets.items())):
        path = folder / str(number)
        path.write_text(value, encoding="utf-8")
        path.chmod(0o444)
        found.append(Mount("ro", str(path), f"/run/secrets/{name}"))
    return tuple(found)


def _digest(work: Path, code: int) -> str:
    """Return the digest that the program inside claims.

    Raises:
        BuildFailed: when it failed, with what it says about that.
    """
    try:
        data: Any = json.decode(
            files.read_bytes(work, "result.json", max_bytes=_RESULT_BYTES, guest=GUEST)
        )
    except (OSError, ValueError, files.UnsafePath, files.TooLarge):
        data = None
    held = cast("dict[str, Any]", data) if isinstance(data, dict) else {}
    digest, error, hint = (held.get(name) for name in ("digest", "error", "hint"))
    if code == 0 and isinstance(digest, str):
        return digest
    if isinstance(error, str):
        raise BuildFailed(
            bounded(error, 1000), hint=bounded(hint, 300) if isinstance(hint, str) else None
        )
    why = f"signal {-code}" if code < 0 else f"exit code {code}"
    raise BuildFailed(f"the build ended with {why} and said no more", hint="its log may say why")
