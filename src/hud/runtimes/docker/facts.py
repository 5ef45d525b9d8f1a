"""What an image's configuration says of how it serves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

from hud._core import json
from hud.packaging.docker.names import VERSION_LABEL

_SERVE = ("hud", "serve")
_OPTIONS = ("--port", "-p", "--host")


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """What was read.

    Attributes:
        is_ours: Whether `hud build` made it.
        command: What to run in place of its command: the same, without loading the command line,
            which is a quarter of the start. Empty for its own.
        user: Who it runs as; empty for root.
    """

    is_ours: bool = False
    command: tuple[str, ...] = ()
    user: str = ""


def read_facts(text: str) -> ImageFacts:
    """Read the configuration that `image inspect` prints."""
    try:
        found: Any = json.decode(text)
    except ValueError:
        return ImageFacts()
    if not isinstance(found, dict):
        return ImageFacts()
    config = cast("dict[str, Any]", found)
    labels = cast("dict[str, str]", config.get("Labels") or {})
    user = str(config.get("User") or "")
    if VERSION_LABEL not in labels:
        return ImageFacts(user=user)
    words = cast("list[str]", config.get("Cmd") or [])
    return ImageFacts(True, () if config.get("Entrypoint") else _shortened(words), user)


def _shortened(words: list[str]) -> tuple[str, ...]:
    """Return the module's command line for a plain `hud serve TARGET`, nothing for any other."""
    if tuple(words[:2]) != _SERVE or len(words) < 3 or words[2].startswith("-"):
        return ()
    options = words[3:]
    if len(options) % 2 or any(name not in _OPTIONS for name in options[::2]):
        return ()
    options = ["--port" if word == "-p" else word for word in options]
    return ("python3", "-m", "hud.environment.server", words[2], *options)
