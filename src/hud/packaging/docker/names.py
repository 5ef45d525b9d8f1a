"""How images are called and marked."""

from __future__ import annotations

import re

VERSION_LABEL = "hud.version"
SOURCE_LABEL = "hud.source"
OF_PLATFORMS = "hud-builds/"
"""What the names of images begin with that platforms build."""


_PART = r"[a-z0-9]+(?:[._-]+[a-z0-9]+)*"
_IMAGE = re.compile(
    rf"(?:[A-Za-z0-9.-]+(?::[0-9]+)?/)?{_PART}(?:/{_PART})*(?::[A-Za-z0-9_][A-Za-z0-9_.-]{{0,127}})?"
)


def is_image_name(text: str) -> bool:
    """Tell whether an image can be called so: `[host[:port]/]path[:version]`."""
    return len(text) <= 512 and _IMAGE.fullmatch(text) is not None


def image_name(environment: str) -> str:
    """Return the name of the image of an environment: lower case, with what names may hold."""
    name = re.sub(r"[^a-z0-9]+", "-", environment.lower()).strip("-")
    return name or "environment"
