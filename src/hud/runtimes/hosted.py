"""The whole rollout on a platform: the agent too runs there, and this process only waits.

No provider: there is no place to dial. `hud.eval.hosting` does the asking and waiting.
"""

from __future__ import annotations

import math
from pathlib import Path

from hud.api.place import required_place
from hud.api.reach import check_platform
from hud.runtimes.base import no_argument

DEFAULT_POLL_S = 5.0


class HostedRuntime:
    """Run whole rollouts on the platform that the settings name.

    Agents are those of this package that drive a model, which the platform's gateway serves, and
    `noop`. Environments are those deployed there. The record is the platform's.

    Attributes:
        poll_interval: Seconds between two looks at a run, at most; a platform that tells news
            (as this package's does) is listened to besides.
        run_timeout: Seconds for one rollout, where the run itself is given no `rollout_timeout`.
    """

    def __init__(
        self, *, poll_interval: float = DEFAULT_POLL_S, run_timeout: float | None = None
    ) -> None:
        """Choose how to wait; nothing is asked yet.

        Raises:
            ValueError: when a number is not positive.
        """
        for name, value in (("poll_interval", poll_interval), ("run_timeout", run_timeout)):
            if value is not None and not 0 < value < math.inf:
                raise ValueError(f"HostedRuntime: {name} must be positive, not {value}")
        self.poll_interval = poll_interval
        self.run_timeout = run_timeout

    async def check(self) -> None:
        """Ask the platform whose key this is.

        Raises:
            InputError: when no platform is configured.
            PlatformError: when it does not answer, or refuses the key.
        """
        await check_platform(required_place())

    def __repr__(self) -> str:
        return "HostedRuntime()"


def named(argument: str | None, source: str | Path | None, env: str | None) -> HostedRuntime:
    """Return what `--runtime hosted` means."""
    no_argument("hosted", argument)
    return HostedRuntime()
