"""What `hud build` does: an image or a bundle, its lock, and what to type next."""

from __future__ import annotations

import asyncio
import shlex
from pathlib import Path

from hud._core.errors import bounded
from hud.cli import streams
from hud.cli.boundary import usage_error
from hud.cli.render import count, one_line
from hud.packaging.docker.build import ImageAsk, build_image
from hud.packaging.docker.engine import find_engine
from hud.packaging.lock import Lock, write_lock


def build(folder: Path, ask: ImageAsk, *, bundle: bool, as_json: bool) -> None:
    """Build what is in a folder and say what came of it."""
    if bundle and (ask.tag or ask.build_args or ask.secrets or ask.platform):
        usage_error("--bundle takes no --tag, --build-arg, --secret and --platform")
    if folder.is_file() and not bundle:
        usage_error(
            f"an image is built of a folder, and {bounded(str(folder), 300)} is a file",
            hint=f"hud build {folder.parent}; what it serves is in its Dockerfile.hud",
        )
    if not folder.exists():
        usage_error(f"{bounded(str(folder), 300)} does not exist", hint="hud init NAME makes one")
    name, uri, lock = asyncio.run(_built(folder, ask, bundle=bundle))
    written = write_lock(lock, folder.parent if folder.is_file() else folder)
    if as_json:
        streams.write_json({"uri": uri, "lock": str(written), **lock.model_dump(mode="json")})
        return
    streams.write(name)
    streams.note(f"{count(len(lock.tasks), 'template')}; {written} says what is in it")
    streams.note("next:")
    tasks = shlex.quote(str(written.parent / "tasks.py"))
    streams.note(f"  hud eval {tasks} oracle --all --runtime {uri}")
    if not bundle:
        engine = find_engine().kind
        task = lock.tasks[0].id if lock.tasks else "TASK"
        streams.note(f"  {engine} run -d --name run1 {name}")
        streams.note(f"  {engine} exec run1 hud task start {task}{_arguments(lock)}")
        streams.note(f"  {engine} exec run1 hud task grade {task} --answer …")


def _arguments(lock: Lock) -> str:
    """Return `--args` with the arguments that the first template cannot do without, to fill in."""
    needed = lock.tasks[0].args.get("required") if lock.tasks else None
    if not needed:
        return ""
    blanks = ", ".join(f'"{name}": …' for name in needed)
    return f" --args {shlex.quote(one_line(f'{{{blanks}}}'))}"


async def _built(folder: Path, ask: ImageAsk, *, bundle: bool) -> tuple[str, str, Lock]:
    def tell(line: str) -> None:
        streams.note(one_line(line))

    if bundle:
        from hud.packaging.bundle import build_bundle

        made = await build_bundle(folder, env=ask.name, no_cache=ask.no_cache, on_line=tell)
        return made.uri, made.uri, made.lock
    image = await build_image(folder, ask, on_line=tell)
    return image.tag, image.uri, image.lock
