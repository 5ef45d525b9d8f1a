"""The program that has a container engine build one image, apart from the server."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from hud._core.ids import new_id
from hud.packaging.docker.build import ImageAsk, build_image
from hud.packaging.docker.names import OF_PLATFORMS, image_name
from hud.platform.builds.program import Order, run, say


async def build(order: Order, source: Path) -> dict[str, Any]:
    """Build the image, under a name that no other build has."""
    ask = ImageAsk(
        tag=f"{OF_PLATFORMS}{image_name(order.name)}:{new_id()}",
        name=order.name,
        build_args=order.build_args,
        secrets=_secrets(order),
        no_cache=order.no_cache,
        cache_scope=order.team or None,
        leaves_room=True,
    )
    image = await build_image(source, ask, on_line=say)
    return {
        "uri": image.uri,
        "manifest": image.lock.manifest(),
        "lock": image.lock.model_dump(mode="json"),
        "image": image.tag,
    }


def _secrets(order: Order) -> list[str]:
    """Put each secret into a file for the engine to read, and return its options."""
    folder = Path(order.scratch) / "secrets"
    folder.mkdir(0o700)
    found: list[str] = []
    for number, (name, value) in enumerate(sorted(order.build_secrets.items())):
        path = folder / str(number)
        path.touch(0o600)
        path.write_text(value, encoding="utf-8")
        found.append(f"id={name},src={path}")
    return found


if __name__ == "__main__":
    sys.exit(run(build))
