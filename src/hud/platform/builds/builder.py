"""What makes an environment of an uploaded context: the seam between the queue and the engines.

A builder is given a stranger's files. It runs whatever is in them behind a wall, and what it gives
back is checked as if the stranger had written it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol

from hud._core.errors import HudError

Say = Callable[[str], None]
"""Takes one line of a build's log, without its newline. For the event loop's thread only."""


class BuildFailed(HudError):
    """The context does not build, for a reason that its author can do something about."""

    code: ClassVar[str] = "build_failed"


class BuildTimedOut(BuildFailed):
    """It took longer than a build may."""

    code: ClassVar[str] = "build_timed_out"


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildAsk:
    """What one build was asked for.

    Attributes:
        name: The environment's name, as its code declares it.
        team: Whose build it is: nothing of it is kept for another's.
        build_args: Values by name that the build may use and keep.
        build_secrets: Values by id that the build may use and must not keep.
        variables: What its rollouts are given, and so the code when it is loaded; not to be kept.
        runtime_config: What its rollouts ask for (resources, limits, image or compose).
    """

    name: str
    team: str = ""
    no_cache: bool = False
    build_args: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    build_secrets: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    variables: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    runtime_config: Mapping[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True, slots=True)
class Built:
    """What came of a build.

    Attributes:
        uri: What is run: `bundle:<sha256>` or `docker:<image>`.
        manifest: Its tasks and capabilities, as the registry keeps them.
        lock: The whole lock document.
        image: How people call it, where it has such a name.
    """

    uri: str
    manifest: Mapping[str, Any]
    lock: Mapping[str, Any]
    image: str | None = None


class Builder(Protocol):
    """An engine that builds."""

    @property
    def name(self) -> str:
        """What it is called in logs."""
        ...

    async def build(self, context: Path, ask: BuildAsk, say: Say) -> Built:
        """Build what lies in the archive `context`; a cancelled build leaves nothing running.

        Raises:
            BuildFailed: when the context is refused or does not build.
            HudError: when it is this machine that cannot build.
        """
        ...
