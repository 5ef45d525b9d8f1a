"""Images that were built here and that nobody needs any more: found, and untagged.

An image that a container uses stays: the engine refuses to remove it.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from hud._core import json
from hud.packaging.docker.engine import Engine
from hud.packaging.docker.names import VERSION_LABEL

_ASKED_TOGETHER = 100
_REMOVE_S = 300.0


@dataclass(frozen=True, slots=True)
class UnusedImage:
    """An image all of whose names could go.

    Attributes:
        size_bytes: Of all its layers, also those that other images share.
    """

    tags: tuple[str, ...]
    size_bytes: int


async def find_unused_images(
    engine: Engine, prefix: str, *, before_s: float, needed: Collection[str]
) -> list[UnusedImage]:
    """Return the images named `prefix…` that were made before a time and are not needed.

    An image with any name that begins otherwise is somebody's own, and stays.

    Args:
        before_s: The time, in seconds since 1970.
        needed: Names of images that stay, however old.

    Raises:
        RuntimeFault: when the engine does not answer.
    """
    form = "{{.ID}} {{.Repository}}:{{.Tag}}"
    marked = f"label={VERSION_LABEL}"
    out = await engine.check("images", "--no-trunc", "--filter", marked, "--format", form)
    tags: dict[str, list[str]] = {}
    for line in out.splitlines():
        image, _, tag = line.strip().partition(" ")
        tags.setdefault(image, []).append(tag.removeprefix("localhost/"))
    mine = [
        image
        for image, names in tags.items()
        if all(name.startswith(prefix) and name not in needed for name in names)
    ]
    found: list[UnusedImage] = []
    for start in range(0, len(mine), _ASKED_TOGETHER):
        some = mine[start : start + _ASKED_TOGETHER]
        form = "{{json .Created}} {{.Size}}"
        said = await engine.check("image", "inspect", "--format", form, *some)
        for image, line in zip(some, said.splitlines(), strict=True):
            made, _, size = line.rpartition(" ")
            if datetime.fromisoformat(json.decode(made)).timestamp() < before_s:
                found.append(UnusedImage(tuple(tags[image]), int(size)))
    return found


async def remove_images(engine: Engine, unused: Collection[UnusedImage]) -> list[UnusedImage]:
    """Remove images; return those that are gone.

    Raises:
        RuntimeFault: when the engine does not answer.
    """
    gone: list[UnusedImage] = []
    for image in unused:
        done = await engine.run("rmi", *image.tags, timeout_s=_REMOVE_S)
        if done.code == 0:
            gone.append(image)
    return gone
