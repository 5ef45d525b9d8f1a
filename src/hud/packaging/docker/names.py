"""How images are called and marked."""

from __future__ import annotations

import re

VERSION_LABEL = "hud.version"
SOURCE_LABEL = "hud.source"
OF_PLATFORMS = "hud-builds/"
"""What the names of images begin with that platforms build."""


def image_name(environment: str) -> str:
    """Return the name of the image of an environment: lower case, with what names may hold."""
    name = re.sub(r"[^a-z0-9]+", "-", environment.lower()).strip("-")
    return name or "environment"
